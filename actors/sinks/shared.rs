//! The figures of sinks: written by their children, read by operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::gauges::counters::Counter;
use crate::node::live::Live;

/// What the children of the sinks and the observers share.
pub(crate) struct Shared {
    live: Arc<Live>,
    /// By name. Those of a sink outlive its child.
    figures: Mutex<BTreeMap<String, Arc<Figures>>>,
}

/// The figures of a sink.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) published: Counter,
    pub(super) retried: Counter,
    pub(super) dead: Counter,
    pub(super) seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) phase: SinkPhase,
    pub(super) last_error: Option<(SystemTime, String)>,
    pub(super) last_success: Option<SystemTime>,
    pub(super) next_attempt: Option<SystemTime>,
}

/// What a sink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SinkPhase {
    /// Nothing is due.
    #[default]
    Idle,
    /// Events are being published.
    Publishing,
    /// It does not answer; one event at a time asks whether it is back.
    Down,
    /// It has said that it wants no events any more.
    Gone,
    /// The catalogue cannot be read at the moment.
    Unavailable,
}

impl SinkPhase {
    /// Every phase, in the order of the metric.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Publishing, Self::Down, Self::Gone, Self::Unavailable];

    /// The name in metrics, lists and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Publishing => "publishing",
            Self::Down => "down",
            Self::Gone => "gone",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The state of a sink at one moment. Counts are since the start of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkState {
    /// Its name in the configuration.
    pub name: String,
    /// Its address, without path.
    pub peer: String,
    /// What it is doing.
    pub phase: SinkPhase,
    /// Events that it has taken.
    pub published: u64,
    /// Attempts after which an event is tried again.
    pub retried: u64,
    /// Events that were given up.
    pub dead: u64,
    /// The last failure, and when.
    pub last_error: Option<(SystemTime, String)>,
    /// When it took an event last.
    pub last_success: Option<SystemTime>,
    /// When it is asked again; `None`: it is not down.
    pub next_attempt: Option<SystemTime>,
}

impl Shared {
    pub(crate) fn new(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self { live, figures: Mutex::default() })
    }

    /// The names of the sinks in the settings of this moment.
    pub(crate) fn names(&self) -> Vec<String> {
        self.live.get().events.sinks.iter().map(|sink| sink.name.clone()).collect()
    }

    pub(super) fn figures(&self, name: &str) -> Arc<Figures> {
        self.figures.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The states of the sinks in the settings, in their order.
    pub(crate) fn states(&self) -> Vec<SinkState> {
        let live = self.live.get();
        let state = |sink: &crate::node::settings::SinkSettings| {
            let figures = self.figures(&sink.name);
            let seen = figures.seen.lock();
            SinkState {
                name: sink.name.clone(),
                peer: sink.peer(),
                phase: seen.phase,
                published: figures.published.get(),
                retried: figures.retried.get(),
                dead: figures.dead.get(),
                last_error: seen.last_error.clone(),
                last_success: seen.last_success,
                next_attempt: seen.next_attempt,
            }
        };
        live.events.sinks.iter().map(state).collect()
    }
}
