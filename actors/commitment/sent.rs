//! How C-STOREs ended, until the child notes it: of an instance from an AE title, the last counts.

use std::collections::HashMap;

use tidegate_commitment::{PackedUid, Sent};

/// Instances that were stored. One that is not noted stays refused to its sender, if it was: the safe side.
const MAX_STORED: usize = 4096;
/// Instances that were refused, about 15 MB. Only an instance that is stored is refused so, and each counts once, however often it is sent: as many
/// wait only if the record cannot be written for hours.
const MAX_REFUSED: usize = 100_000;

/// See the module.
#[derive(Default)]
pub(super) struct SentNotes {
    /// By AE title and instance: whether it was refused.
    notes: HashMap<(String, PackedUid), bool>,
    refused: usize,
}

impl SentNotes {
    pub(super) fn note(&mut self, sent: Sent) {
        let Sent { calling, sop_instance, is_refused } = sent;
        let key = (calling, sop_instance);
        let before = self.notes.remove(&key);
        self.refused -= usize::from(before == Some(true));
        let is_full = match is_refused {
            true => self.refused >= MAX_REFUSED,
            false => self.notes.len() - self.refused >= MAX_STORED,
        };
        if !is_full {
            self.refused += usize::from(is_refused);
            self.notes.insert(key, is_refused);
        }
    }

    /// Takes all, for the record.
    pub(super) fn take(&mut self) -> Vec<Sent> {
        self.refused = 0;
        let taken = std::mem::take(&mut self.notes).into_iter();
        taken.map(|((calling, sop_instance), is_refused)| Sent { calling, sop_instance, is_refused }).collect()
    }

    /// Puts back what could not be recorded. What came meanwhile counts.
    pub(super) fn put_back(&mut self, sent: Vec<Sent>) {
        let later = self.take();
        for sent in sent.into_iter().chain(later) {
            self.note(sent);
        }
    }

    pub(super) fn has_refused(&self) -> bool {
        self.refused > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: usize, is_refused: bool) -> Sent {
        Sent { calling: "CT1".to_owned(), sop_instance: format!("1.2.{number}").parse().unwrap(), is_refused }
    }

    #[test]
    fn a_refusal_is_not_dropped_for_what_was_stored_and_the_last_of_an_instance_counts() {
        let mut notes = SentNotes::default();
        for number in 0..3 * MAX_STORED {
            notes.note(sent(number, false));
        }
        for number in 0..2 * MAX_STORED {
            notes.note(sent(number, true));
        }
        let (first, later) = (notes.take(), sent(7, false));
        assert_eq!(first.iter().filter(|sent| sent.is_refused).count(), 2 * MAX_STORED);
        assert!(!notes.has_refused());
        notes.note(later.clone());
        notes.put_back(first);
        let again = notes.take();
        assert_eq!(again.iter().filter(|sent| sent.is_refused).count(), 2 * MAX_STORED - 1);
        assert!(again.contains(&later));
        for number in 0..MAX_REFUSED + 10 {
            notes.note(sent(number, true));
        }
        assert_eq!(notes.take().len(), MAX_REFUSED);
    }
}
