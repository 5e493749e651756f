//! The sink of the catalogue.

use std::sync::Arc;

use super::queue::Entry;
use super::record::Noted;
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
        let entry = Noted::of(event).map_or_else(|| Entry::Stored(event.stored.path.clone()), Entry::Noted);
        if !self.0.queue.push(entry) {
            self.0.figures.missed.increment();
        }
    }
}
