//! The subscriber of the catalogue.

use std::sync::Arc;

use tidegate_catalogue::Again;

use super::queue::Entry;
use super::record::Noted;
use super::shared::Shared;
use crate::committed::{Committed, Subscriber, clock_ms};

/// Queues a record of each committed instance.
pub(crate) struct CatalogueSubscriber(Arc<Shared>);

impl CatalogueSubscriber {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Subscriber for CatalogueSubscriber {
    fn committed(&self, event: &Committed<'_>) {
        let again = || Again { path: event.stored.path.clone(), origin: event.origin.catalogued(), at_ms: clock_ms() };
        let entry = Noted::of(event).map_or_else(|| Entry::Stored(again()), Entry::Noted);
        if !self.0.queue.push(entry) {
            self.0.figures.missed.increment();
        }
    }
}
