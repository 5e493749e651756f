//! Events: what the node tells other systems, as rows of the transaction of what they tell.
//!
//! An event is one row, and a row more for each sink that it is owed to. A sink is sent the events of a study in their order: one that fails holds back the
//! later ones of its study, and no other.

pub(crate) mod deliveries;
mod entering;
pub(crate) mod notes;
pub(crate) mod outbox;

use crate::delivery::Generation;
use crate::record::StudyValues;

/// What an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// All of a study seems to have come.
    StudyComplete,
    /// New content has come of a study that was complete.
    StudyReopened,
    /// All of a series seems to have come.
    SeriesComplete,
    /// A file is stored.
    InstanceStored,
    /// A destination has all of a study that is complete.
    DeliveryDone,
    /// A delivery of a study was given up.
    DeliveryDead,
    /// A request for storage commitment was reported.
    CommitmentReported,
    /// The node accepts no associations any more.
    NodeDraining,
}

impl EventKind {
    /// Every kind, by its number in a row.
    pub const ALL: [Self; 8] = [
        Self::StudyComplete,
        Self::StudyReopened,
        Self::SeriesComplete,
        Self::InstanceStored,
        Self::DeliveryDone,
        Self::DeliveryDead,
        Self::CommitmentReported,
        Self::NodeDraining,
    ];

    /// The name in the configuration, and the `type` of the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::StudyComplete => "study.complete",
            Self::StudyReopened => "study.reopened",
            Self::SeriesComplete => "series.complete",
            Self::InstanceStored => "instance.stored",
            Self::DeliveryDone => "delivery.done",
            Self::DeliveryDead => "delivery.dead",
            Self::CommitmentReported => "commitment.reported",
            Self::NodeDraining => "node.draining",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// A sink, as far as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRow {
    /// Its number.
    pub id: i64,
    /// Its name in the configuration.
    pub name: String,
    /// When it has said that it wants no events any more.
    pub gone_ms: Option<i64>,
    /// When an operator wanted everything tried again.
    pub asked_ms: Option<i64>,
    /// Events that it is owed.
    pub waiting: i64,
    /// Events that were given up.
    pub dead: i64,
    /// Events that it has had.
    pub published: i64,
    /// When the next event is tried; `None`: nothing waits.
    pub due_ms: Option<i64>,
    /// Since when the oldest event waits.
    pub since_ms: Option<i64>,
}

/// An event, as it is owed to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedEvent {
    /// The sink.
    pub sink: i64,
    /// Its number: ascending, and never used again.
    pub event: i64,
    /// What it tells.
    pub kind: EventKind,
    /// What it is about: its study, or what else its kind has.
    pub subject: String,
    /// When it came about, in milliseconds since 1970.
    pub at_ms: i64,
    /// A JSON object.
    pub data: String,
    /// Since when it is owed.
    pub owed_ms: i64,
    /// Failed attempts so far.
    pub attempts: u32,
    /// The study whose events are published in their order, as this catalogue numbers it.
    pub study_id: Option<i64>,
    /// The study that it is about, as the catalogue knows it now; nothing if it is about none.
    pub study: StudyValues,
}

/// What another part of the node tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it tells.
    pub kind: EventKind,
    /// What it is told of: the same is one event, however often it is told within a day.
    pub origin: String,
    /// What it is about.
    pub subject: String,
    /// When it came about, in milliseconds since 1970. What is older than the catalogue is no event.
    pub at_ms: i64,
    /// A JSON object.
    pub data: String,
}

/// The outcome of an attempt to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// The sink has it.
    Published,
    /// It is tried again.
    Retry {
        /// When.
        due_ms: i64,
        /// What failed.
        why: String,
    },
    /// It is not tried again unless an operator wants it.
    Dead {
        /// What failed.
        why: String,
    },
    /// The sink wants no events any more: nothing is sent to it until an operator resumes it.
    Gone {
        /// What it has answered.
        why: String,
    },
}

/// The outcome for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// The catalogue that the event was read from.
    pub generation: Generation,
    /// The sink.
    pub sink: i64,
    /// The event.
    pub event: i64,
    /// What became of it.
    pub outcome: EventOutcome,
    /// When.
    pub at_ms: i64,
}

/// What an operator has done to the events of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventChange {
    /// Dead events wait again, and waiting ones are tried now; a sink that was gone is sent events again.
    Retry,
    /// They are not owed any more.
    Drop,
}
