//! The sink of the catalogue.

use std::sync::Arc;

use super::record;
use super::shared::Shared;
use crate::committed::{Committed, Sink};

/// Queues a record of each committed instance.
pub(crate) struct CatalogueSink(Arc<Shared>);

impl CatalogueSink {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Sink for CatalogueSink {
    fn committed(&self, event: &Committed<'_>) {
        let is_queued = record::of_event(event).is_some_and(|record| self.0.queue.push(record));
        if !is_queued {
            self.0.figures.missed.increment();
        }
    }
}
