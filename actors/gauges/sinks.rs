//! What observers see of completeness and of the sinks of events.

use tidegate_catalogue::SinkRow;
use tokio::sync::watch;

use super::observer::Observer;
use crate::catalogue::state::CompletedState;
use crate::node::phase::Phase;
use crate::sinks::SinkState;
use crate::sources::SourceFigures;

impl Observer {
    /// The sinks that the catalogue knows, and what they are owed. None without a catalogue.
    pub fn event_queues(&self) -> Vec<SinkRow> {
        self.0.catalogue.as_ref().map_or_else(Vec::new, |catalogue| catalogue.sinks())
    }

    /// What the sinks of the configuration are doing.
    pub fn event_sinks(&self) -> Vec<SinkState> {
        self.0.event_sinks.states()
    }

    /// What came of the questions to sources, by AE title: of those that are asked by the configuration, and have been.
    pub fn sources(&self) -> Vec<(String, SourceFigures)> {
        self.0.sources.figures(&self.0.live.get())
    }

    /// The `source` of the events of this node.
    pub fn event_source(&self) -> String {
        self.0.live.get().events.source.clone()
    }

    /// Ticks after each transaction that has added or changed events; `None` without a catalogue.
    pub fn events_changed(&self) -> Option<watch::Receiver<u64>> {
        self.0.catalogue.as_ref().map(|catalogue| catalogue.events_changed())
    }

    /// The phase of the node, as it changes.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// What was completed since the start; `None` without a catalogue.
    pub fn completed(&self) -> Option<CompletedState> {
        self.0.catalogue.as_ref().map(|catalogue| catalogue.completed())
    }
}
