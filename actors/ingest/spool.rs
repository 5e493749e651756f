//! Spooling: the parts of a dataset go to its spool file through the writers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::context::Ingest;
use super::handoff::{Handoff, Reply};
use crate::gauges::counters::Counters;
use crate::mailbox::job::SpoolPart;
use crate::mailbox::open_spool::OpenSpool;
use crate::refusal::Refusal;

/// Most parts in flight to the spool file while the next is received. With one, receiver and writer would wait for each other in turns.
pub(crate) const MAX_PARTS_UNDER_WAY: usize = 2;

/// The spool file of a dataset, and its parts in flight.
#[derive(Default)]
pub(super) struct Spool {
    /// Known once the first part is written.
    pub(super) file: Option<Arc<OpenSpool>>,
    /// Parts in flight, the oldest first.
    under_way: VecDeque<Appending>,
}

/// A part in flight to the spool file.
struct Appending {
    handoff: Handoff<Arc<SpoolPart>>,
    reply: Reply<Arc<OpenSpool>>,
}

impl Spool {
    pub(super) fn is_used(&self) -> bool {
        self.file.is_some() || !self.under_way.is_empty()
    }

    /// Whether any part was sent.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Sends a part to the writers.
    pub(super) async fn send(&mut self, part: SpoolPart, ingest: &Ingest) -> Result<(), Refusal> {
        let mut handoff = Handoff::new(Arc::new(part), ingest);
        match handoff.submit(ingest).await {
            Ok(reply) => self.under_way.push_back(Appending { handoff, reply }),
            Err(outcome) => self.file = Some(outcome?),
        }
        Ok(())
    }

    /// Waits until the file exists and at most `most` parts are in flight, or no part is.
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

/// Bytes of this dataset in its spool file, counted in the gauge while it arrives.
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
