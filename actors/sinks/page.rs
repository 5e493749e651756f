//! The events of a sink that are in memory: those that were read, and those that were begun. Of a study, one is at the sink at a time, and its next one
//! follows when it was taken, whether or not that is durable yet.

use std::collections::{HashMap, HashSet, VecDeque};

use tidegate_catalogue::{Error, EventNote, EventOutcome, Generation, OwedEvent, Reader};

/// Events that are read at a time.
const PAGE: u32 = 256;
/// Events that may be begun, and not noted: after a crash, they are published again.
const MOST_BEGUN: usize = 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Page {
    /// Those that were not begun; those of a study in their order.
    events: VecDeque<OwedEvent>,
    /// Those under way, or whose outcome is not durable yet, with the study of each.
    begun: HashMap<(Generation, i64), Option<i64>>,
    /// Studies of which an event is under way, or has failed and that is not durable yet: none may overtake it.
    held: HashSet<(Generation, i64)>,
}

impl Page {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether another read may find something to begin: all that is here is behind what is under way.
    pub(super) fn wants_more(&self, generation: Option<Generation>) -> bool {
        self.begun.len() < MOST_BEGUN
            && generation.is_none_or(|generation| !self.events.iter().any(|event| self.may_begin(generation, event)))
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
    }

    /// Reads what is due in this catalogue, and behind it of each study as much as there is room for.
    pub(super) fn read(
        &mut self,
        reader: &mut Reader,
        generation: Generation,
        (sink, until_ms): (i64, i64),
    ) -> Result<(), Error> {
        // Those that are begun are due in the file until their outcome is noted.
        let limit = PAGE + u32::try_from(self.begun.len()).unwrap_or(0);
        let due = reader.due_events(sink, until_ms, limit)?;
        let number = u32::try_from(due.len()).unwrap_or(limit);
        let (share, mut left) = (limit / number.max(1), limit - number);
        let mut events = VecDeque::new();
        for event in due {
            let behind = match event.study_id.filter(|_| left > 0) {
                Some(study) => reader.events_behind(sink, study, event.event, left.min(share))?,
                None => Vec::new(),
            };
            left -= u32::try_from(behind.len()).unwrap_or(left);
            events.push_back(event);
            events.extend(behind);
        }
        events.retain(|event| !self.begun.contains_key(&(generation, event.event)));
        self.events = events;
        Ok(())
    }

    /// Takes the next event that may begin.
    pub(super) fn begin(&mut self, generation: Generation) -> Option<OwedEvent> {
        if self.begun.len() >= MOST_BEGUN {
            return None;
        }
        let at = self.events.iter().position(|event| self.may_begin(generation, event))?;
        let event = self.events.remove(at)?;
        self.begun.insert((generation, event.event), event.study_id);
        self.held.extend(event.study_id.map(|study| (generation, study)));
        Some(event)
    }

    fn may_begin(&self, generation: Generation, event: &OwedEvent) -> bool {
        event.study_id.is_none_or(|study| !self.held.contains(&(generation, study)))
    }

    /// An attempt has ended. What is behind an event that was not published is read again.
    pub(super) fn ended(&mut self, generation: Generation, event: &OwedEvent, outcome: &EventOutcome) {
        let Some(study) = event.study_id else { return };
        if *outcome == EventOutcome::Published {
            self.held.remove(&(generation, study));
        } else {
            self.forget(study);
        }
    }

    /// An outcome is durable.
    pub(super) fn noted(&mut self, note: &EventNote) {
        let study = self.begun.remove(&(note.generation, note.event)).flatten();
        if let Some(study) = study.filter(|_| note.outcome != EventOutcome::Published) {
            self.held.remove(&(note.generation, study));
            self.forget(study);
        }
    }

    fn forget(&mut self, study: i64) {
        self.events.retain(|event| event.study_id != Some(study));
    }
}
