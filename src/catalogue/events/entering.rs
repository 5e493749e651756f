//! The outcomes of events within a transaction.

use rusqlite::Result;

use super::{EventNote, Told, notes};
use crate::batch::Batch;
use crate::delivery::notes::generation;

impl Batch<'_> {
    /// Enters what other parts of the node tell.
    pub(crate) fn tell(&mut self, told: &[&Told]) -> Result<()> {
        let since_ms = self.followed_since_ms;
        told.iter().filter(|told| told.at_ms >= since_ms).try_for_each(|told| self.outbox.tell(told))
    }

    /// Notes the outcomes of events. How many were about events that are still owed.
    pub(crate) fn note_events(&mut self, notes: &[&EventNote]) -> Result<u64> {
        if notes.is_empty() {
            return Ok(0);
        }
        let (generation, mut noted) = (generation(self.db)?, 0);
        for note in notes.iter().filter(|note| note.generation == generation) {
            noted += u64::from(notes::enter(self.db, note)?);
        }
        self.outbox.has_changed |= noted > 0;
        Ok(noted)
    }
}
