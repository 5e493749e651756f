//! The answers. `openapi.json` describes each field.

use serde::{Deserialize, Serialize};
use tidegate_actors::{CloudEvent, SinkState, event_id};
use tidegate_catalogue::{EventRow, Generation, PastEvent, SinkRow};

use crate::admin::outbox::model::count;
use crate::admin::time::{at, rfc3339};

/// Events of a page that is asked for without a number.
pub(crate) const DEFAULT_LIMIT: u32 = 50;
/// Events of a page at most.
pub(crate) const MAX_LIMIT: u32 = 500;

/// The sinks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sinks {
    /// By name.
    pub(crate) sinks: Vec<Sink>,
}

/// A sink of events, and what it is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sink {
    pub(crate) name: String,
    /// Its address without path; absent if it is not configured, or no node was asked.
    pub(crate) peer: Option<String>,
    /// What the node is doing about it; absent if it is not configured, or no node was asked.
    pub(crate) phase: Option<String>,
    /// Since when it wants no events any more; absent if it does.
    pub(crate) gone: Option<String>,
    /// Events that it is owed.
    pub(crate) waiting: u64,
    /// Events that were given up.
    pub(crate) dead: u64,
    /// Events that it has had.
    pub(crate) published: u64,
    /// When an event is tried next of those that have failed; absent if none has.
    pub(crate) next_attempt: Option<String>,
    /// Since when the event waits that has waited longest; absent if none does.
    pub(crate) waiting_since: Option<String>,
    /// The last failure since the start of the node; absent if there was none.
    pub(crate) last_error: Option<String>,
    /// When that was.
    pub(crate) last_error_at: Option<String>,
    /// When it took an event last, since the start of the node; absent if it has taken none.
    pub(crate) last_success: Option<String>,
}

/// A page of events that are owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwedEvents {
    /// The oldest first.
    pub(crate) events: Vec<OwedEventLine>,
    /// The value of `after` for the next page, if there is one.
    pub(crate) next: Option<i64>,
}

/// An event that is owed to a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwedEventLine {
    /// Its number: ascending.
    pub(crate) event: i64,
    pub(crate) sink: String,
    /// Its type.
    pub(crate) kind: String,
    /// What it is about: a Study Instance UID, or what else its type has.
    pub(crate) subject: String,
    /// When it came about.
    pub(crate) time: String,
    /// Whether it was given up.
    pub(crate) is_dead: bool,
    /// Failed attempts.
    pub(crate) attempts: u32,
    /// When it is tried next; absent if it is dead, or behind an earlier one of its study.
    pub(crate) next_attempt: Option<String>,
    /// Why it failed last.
    pub(crate) last_error: Option<String>,
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PastEvents {
    /// The oldest first.
    pub(crate) events: Vec<PastEventLine>,
    /// The `id` of the last event that was looked at, to read on from.
    pub(crate) last: String,
    /// Events behind `after` that are not kept any more.
    pub(crate) missed: u64,
    /// Whether the event in `after` is of another catalogue, which this one has replaced. The page is of its first events then.
    pub(crate) is_anew: bool,
    /// The number of the last event, if the one in `after` would be a later one, and there is none. The page is of the first events then.
    pub(crate) beyond: Option<i64>,
    /// Whether there are more.
    pub(crate) has_more: bool,
    /// The `source` of the events: this node; absent if no node was asked.
    pub(crate) source: Option<String>,
}

/// An event, whether it is owed or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PastEventLine {
    /// Its number: ascending.
    pub(crate) event: i64,
    /// Its `id` at every sink.
    pub(crate) id: String,
    /// Its type.
    pub(crate) kind: String,
    /// What it is about: a Study Instance UID, or what else its type has.
    pub(crate) subject: String,
    /// When it came about.
    pub(crate) time: String,
    /// Its data: a JSON object.
    pub(crate) data: String,
    /// Sinks to which it is owed.
    pub(crate) owed: u64,
}

/// What is to be done to the events of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventOrder {
    /// `retry` or `drop`.
    pub(crate) action: String,
    /// Only this event.
    #[serde(default)]
    pub(crate) event: Option<i64>,
    /// Only dead ones.
    #[serde(default)]
    pub(crate) dead: bool,
    /// All of them; required for `drop` where nothing else chooses any.
    #[serde(default)]
    pub(crate) all: bool,
}

/// What an order has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsChanged {
    pub(crate) sink: String,
    /// Events changed so far.
    pub(crate) changed: u64,
    /// False: there are many, and the node continues.
    pub(crate) is_done: bool,
}

impl From<SinkRow> for Sink {
    fn from(row: SinkRow) -> Self {
        Self {
            name: row.name,
            peer: None,
            phase: None,
            gone: row.gone_ms.map(rfc3339),
            waiting: count(row.waiting),
            dead: count(row.dead),
            published: count(row.published),
            next_attempt: row.due_ms.filter(|due_ms| *due_ms > 0 && row.gone_ms.is_none()).map(rfc3339),
            waiting_since: row.since_ms.map(rfc3339),
            last_error: None,
            last_error_at: None,
            last_success: None,
        }
    }
}

impl Sink {
    pub(super) fn doing(self, state: SinkState) -> Self {
        let (last_error_at, last_error) = state.last_error.unzip();
        Self {
            peer: Some(state.peer),
            phase: Some(state.phase.name().to_owned()),
            next_attempt: state.next_attempt.map(at).or(self.next_attempt),
            last_error,
            last_error_at: last_error_at.map(at),
            last_success: state.last_success.map(at),
            ..self
        }
    }
}

impl From<EventRow> for OwedEventLine {
    fn from(row: EventRow) -> Self {
        Self {
            event: row.event.event,
            sink: row.sink,
            kind: row.event.kind.name().to_owned(),
            subject: row.event.subject,
            time: rfc3339(row.event.at_ms),
            is_dead: row.is_dead,
            attempts: row.event.attempts,
            // One that was not tried yet is due at once.
            next_attempt: row.due_ms.map(|due_ms| rfc3339(due_ms.max(row.event.owed_ms))),
            last_error: row.why,
        }
    }
}

impl PastEvents {
    /// What is missing in front of them, for people; `None`: nothing.
    pub(crate) fn gap(&self) -> Option<String> {
        match (self.is_anew, self.beyond, self.missed) {
            (true, ..) => Some("the catalogue was made anew since: all events of the new one follow".to_owned()),
            (false, Some(last), _) => {
                Some(format!("no such event, the last is {last}: all events that are kept follow"))
            }
            (false, None, 0) => None,
            (false, None, missed) => Some(format!("events are missing that are not kept any more: {missed}")),
        }
    }
}

impl PastEventLine {
    pub(super) fn of(generation: Generation, event: PastEvent) -> Self {
        Self {
            event: event.event,
            id: event_id(generation, event.event),
            kind: event.kind.name().to_owned(),
            subject: event.subject,
            time: rfc3339(event.at_ms),
            data: event.data,
            owed: event.owed,
        }
    }

    /// The event as a sink gets it that may not know the patient.
    pub(crate) fn cloud_event(&self, source: &str) -> String {
        CloudEvent::new((&self.id, source), (&self.kind, &self.subject, &self.time), &self.data).text()
    }
}
