//! A dataset on its way to a spool file, part by part, by way of the writers.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_storage::StoreError;
use tokio::sync::oneshot;

use crate::mailbox::HandoffTimeout;
use crate::mailbox::job::{AppendJob, Job, SpoolPart};
use crate::mailbox::open_spool::OpenSpool;
use crate::node::settings::WriterSettings;
use crate::node::shared::Shared;
use crate::patience::Patience;
use crate::refusal::Refusal;

/// Parts on their way to the spool file while the next is received. With one alone, receiver and writer wait for each other in turns.
pub(super) const MAX_PARTS_UNDER_WAY: usize = 2;
/// How often an instance, or part of one, is submitted to another writer because its writer died or hung.
pub(super) const MAX_RETRIES: u32 = 3;

/// Where a dataset is that is too large for memory.
#[derive(Default)]
pub(super) struct Spool {
    /// Known when the first part is in it.
    pub(super) file: Option<Arc<OpenSpool>>,
    /// Parts on their way to it, the oldest first.
    under_way: VecDeque<Appending>,
}

/// A part on its way to the spool file.
struct Appending {
    part: Arc<SpoolPart>,
    reply: oneshot::Receiver<Result<Arc<OpenSpool>, StoreError>>,
    /// Until it is given up, however many writers lose it.
    patience: Patience,
}

impl Spool {
    pub(super) fn is_used(&self) -> bool {
        self.file.is_some() || !self.under_way.is_empty()
    }

    /// Whether any of it is on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Sends a part on its way.
    pub(super) async fn send(
        &mut self,
        part: SpoolPart,
        shared: &Shared,
        writers: &WriterSettings,
    ) -> Result<(), Refusal> {
        let patience = Patience::new(writers.commit_timeout);
        self.under_way.push_back(Appending::send(Arc::new(part), patience, shared, writers).await?);
        Ok(())
    }

    /// Waits until at most so many parts are under way, and none before there is a file.
    pub(super) async fn settle(
        &mut self,
        most: usize,
        shared: &Shared,
        writers: &WriterSettings,
    ) -> Result<(), Refusal> {
        while (self.file.is_none() || self.under_way.len() > most)
            && let Some(oldest) = self.under_way.front_mut()
        {
            self.file = Some(oldest.finish(shared, writers).await?);
            self.under_way.pop_front();
        }
        Ok(())
    }
}

impl Appending {
    async fn send(
        part: Arc<SpoolPart>,
        mut patience: Patience,
        shared: &Shared,
        writers: &WriterSettings,
    ) -> Result<Self, HandoffTimeout> {
        let (reply, appended) = oneshot::channel();
        let mut handoff = patience.for_step(writers.handoff_timeout);
        let job = part.clone();
        shared.mailbox.submit(&mut handoff, || Job::Append(AppendJob { part: job, reply })).await?;
        patience.spend(handoff.spent());
        Ok(Self { part, reply: appended, patience })
    }

    /// Waits until the part is written, by one writer or, if that dies or hangs over it, by another.
    async fn finish(&mut self, shared: &Shared, writers: &WriterSettings) -> Result<Arc<OpenSpool>, Refusal> {
        for _ in 0..=MAX_RETRIES {
            match self.patience.wait(&mut self.reply).await {
                Ok(Ok(Err(StoreError::Contended)) | Err(_)) => {
                    shared.counters.handed_over_again.increment();
                    *self = Self::send(self.part.clone(), self.patience, shared, writers).await?;
                }
                Ok(Ok(appended)) => return Ok(appended?),
                Err(_) => {
                    shared.counters.commits_timed_out.increment();
                    return Err(Refusal::CommitTimeout);
                }
            }
        }
        Err(Refusal::WriterLost)
    }
}

/// Bytes of this dataset in spool files, counted as long as it is arriving.
pub(super) struct SpoolGauge {
    shared: Arc<Shared>,
    bytes: u64,
}

impl SpoolGauge {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.shared.counters.spool_bytes.add(bytes);
    }
}

impl Drop for SpoolGauge {
    fn drop(&mut self) {
        self.shared.counters.spool_bytes.subtract(self.bytes);
    }
}
