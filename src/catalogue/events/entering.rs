//! The outcomes of events within a transaction.

use rusqlite::Result;

use super::{EventNote, notes};
use crate::batch::Batch;
use crate::delivery::notes::generation;

impl Batch<'_> {
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
