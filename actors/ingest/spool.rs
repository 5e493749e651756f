//! A dataset on its way to a spool file, part by part, by way of the writers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::context::Ingest;
use super::handoff::{Handoff, Reply};
use crate::gauges::counters::Counters;
use crate::mailbox::job::SpoolPart;
use crate::mailbox::open_spool::OpenSpool;
use crate::refusal::Refusal;

/// Parts on their way to the spool file while the next is received. With one alone, receiver and writer wait for each other in turns.
pub(crate) const MAX_PARTS_UNDER_WAY: usize = 2;

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
    handoff: Handoff<Arc<SpoolPart>>,
    reply: Reply<Arc<OpenSpool>>,
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
    pub(super) async fn send(&mut self, part: SpoolPart, ingest: &Ingest) -> Result<(), Refusal> {
        let mut handoff = Handoff::new(Arc::new(part), ingest);
        match handoff.submit(ingest).await {
            Ok(reply) => self.under_way.push_back(Appending { handoff, reply }),
            Err(outcome) => self.file = Some(outcome?),
        }
        Ok(())
    }

    /// Waits until at most so many parts are under way, and none before there is a file.
    pub(super) async fn settle(&mut self, most: usize, ingest: &Ingest) -> Result<(), Refusal> {
        while (self.file.is_none() || self.under_way.len() > most)
            && let Some(Appending { handoff, reply }) = self.under_way.front_mut()
        {
            self.file = Some(handoff.finish(reply, ingest).await?);
            self.under_way.pop_front();
        }
        Ok(())
    }
}

/// Bytes of this dataset in spool files, counted as long as it is arriving.
pub(super) struct SpoolGauge {
    counters: Arc<Counters>,
    bytes: u64,
}

impl SpoolGauge {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.counters.spool_bytes.add(bytes);
    }
}

impl Drop for SpoolGauge {
    fn drop(&mut self) {
        self.counters.spool_bytes.subtract(self.bytes);
    }
}
