//! What observers see of completeness and of the sinks of events.

use tidegate_catalogue::SinkRow;

use super::observer::Observer;
use crate::catalogue::state::CompletedState;
use crate::sinks::SinkState;

impl Observer {
    /// The sinks that the catalogue knows, and what they are owed. None without a catalogue.
    pub fn event_queues(&self) -> Vec<SinkRow> {
        self.0.catalogue.as_ref().map_or_else(Vec::new, |catalogue| catalogue.sinks())
    }

    /// What the sinks of the configuration are doing.
    pub fn event_sinks(&self) -> Vec<SinkState> {
        self.0.event_sinks.states()
    }

    /// What was completed since the start; `None` without a catalogue.
    pub fn completed(&self) -> Option<CompletedState> {
        self.0.catalogue.as_ref().map(|catalogue| catalogue.completed())
    }
}
