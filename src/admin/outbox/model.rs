//! The answers. `openapi.json` describes each field; `tests/tidy/openapi.rs` compares the two. Texts may be as peers wrote them: whoever shows them
//! escapes them.

use serde::{Deserialize, Serialize};
use tidegate_actors::{DestinationPhase, DestinationState};
use tidegate_catalogue::{DeliveryRow, DeliveryState, DestinationRow, StudyDelivery, Sums};

use crate::admin::time::{at, rfc3339};

/// The destinations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destinations {
    /// By name.
    pub(crate) destinations: Vec<Destination>,
}

/// A destination, what it is owed, and what it has had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Destination {
    pub(crate) name: String,
    /// Whether the configuration names it; absent if no node was asked.
    pub(crate) is_configured: Option<bool>,
    /// Its AE title and address; absent if it is not configured, or no node was asked.
    pub(crate) peer: Option<String>,
    /// Whether an operator has paused it.
    pub(crate) is_paused: bool,
    /// Instances that were not tried yet.
    pub(crate) waiting: u64,
    /// Instances that have failed and are tried again.
    pub(crate) retrying: u64,
    /// Instances that it has taken, and has yet to commit.
    pub(crate) sent: u64,
    /// Instances that were given up.
    pub(crate) dead: u64,
    /// Bytes of the files that wait or are tried again.
    pub(crate) waiting_bytes: u64,
    /// Instances that it has had.
    pub(crate) delivered: u64,
    /// Since when the study waits that has waited longest; absent if none does.
    pub(crate) waiting_since: Option<String>,
    /// When the next instance is tried again; absent if none is.
    pub(crate) next_retry: Option<String>,
    /// What the node is doing about it; absent if it is not configured, or no node was asked.
    pub(crate) live: Option<Doing>,
}

/// What the node is doing about a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Doing {
    /// `idle`, `sending`, `down`, `paused`, `outside_hours`, `unavailable` or `stopping`.
    pub(crate) phase: String,
    /// Since when it is down; absent if it is not.
    pub(crate) down_since: Option<String>,
    /// When the next association asks whether it is back; absent if it is not down.
    pub(crate) next_probe: Option<String>,
    /// Open associations.
    pub(crate) connections: u64,
    /// Bytes that it has taken a second, over the last minute.
    pub(crate) bytes_per_s: u64,
    /// The last failure since the start of the node; absent if there was none.
    pub(crate) last_error: Option<String>,
    /// When that was.
    pub(crate) last_error_at: Option<String>,
    /// When it took an instance last, since the start of the node; absent if it has taken none.
    pub(crate) last_success: Option<String>,
    /// Why it does not commit what it was sent; absent if it does, or is not asked to.
    pub(crate) not_committing: Option<String>,
    /// Since when.
    pub(crate) not_committing_since: Option<String>,
}

/// A page of deliveries that are owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outbox {
    /// By destination, state, and the order of the queue.
    pub(crate) deliveries: Vec<Delivery>,
    /// The value of `after` for the next page, if there is one.
    pub(crate) next: Option<String>,
}

/// A delivery that is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delivery {
    pub(crate) destination: String,
    /// `waiting`, `retrying`, `sent` or `dead`.
    pub(crate) state: String,
    pub(crate) study_instance_uid: String,
    pub(crate) sop_instance_uid: String,
    pub(crate) sop_class_uid: String,
    pub(crate) transfer_syntax_uid: String,
    /// Below the storage root.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Of the sender, if that is known.
    pub(crate) calling_ae_title: Option<String>,
    /// Since when it is owed.
    pub(crate) owed: String,
    /// Failed attempts.
    pub(crate) attempts: u32,
    /// When it is tried again, or its commitment is asked for; absent if neither is.
    pub(crate) next_attempt: Option<String>,
    /// When it failed last, or was sent; absent if neither was.
    pub(crate) last_attempt: Option<String>,
    /// The status of the last answer in four hexadecimal digits; absent if there was none.
    pub(crate) last_status: Option<String>,
    /// Why it failed last.
    pub(crate) last_error: Option<String>,
}

/// What an order has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboxChanged {
    pub(crate) destination: String,
    /// Deliveries changed so far.
    pub(crate) changed: u64,
    /// False: there are many, and the node continues.
    pub(crate) is_done: bool,
}

/// The deliveries of a study to all of its destinations together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliverySums {
    pub(crate) waiting: u64,
    pub(crate) retrying: u64,
    pub(crate) sent: u64,
    pub(crate) dead: u64,
    pub(crate) delivered: u64,
}

/// The progress of a study to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StudyProgress {
    pub(crate) destination: String,
    pub(crate) waiting: u64,
    pub(crate) retrying: u64,
    pub(crate) sent: u64,
    pub(crate) dead: u64,
    pub(crate) delivered: u64,
}

/// A number of rows.
pub(in crate::admin) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The name of a state.
pub(crate) fn state_name(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Waiting => "waiting",
        DeliveryState::Retrying => "retrying",
        DeliveryState::Dead => "dead",
        DeliveryState::Sent => "sent",
    }
}

impl From<DestinationRow> for Destination {
    fn from(row: DestinationRow) -> Self {
        let sums = row.sums;
        Self {
            name: row.name,
            is_configured: None,
            peer: None,
            is_paused: row.is_paused,
            waiting: count(sums.waiting),
            retrying: count(sums.retrying),
            sent: count(sums.sent),
            dead: count(sums.dead),
            waiting_bytes: count(sums.waiting_bytes),
            delivered: count(sums.delivered),
            waiting_since: row.since_ms.map(rfc3339),
            next_retry: row.due_ms.map(rfc3339),
            live: None,
        }
    }
}

impl From<DestinationState> for Doing {
    fn from(state: DestinationState) -> Self {
        let phase = state.phase.name().to_owned();
        let (down_since, next_probe, why) = match state.phase {
            DestinationPhase::Down { since, why, next_probe } => (Some(at(since)), Some(at(next_probe)), Some(why)),
            DestinationPhase::Unavailable { why } => (None, None, Some(why)),
            _ => (None, None, None),
        };
        let (last_error_at, last_error) = state.last_error.unzip();
        let (not_committing_since, not_committing) = state.not_committing.unzip();
        Self {
            phase,
            down_since,
            next_probe,
            connections: state.connections,
            bytes_per_s: state.bytes_per_s,
            last_error: why.or(last_error),
            last_error_at: last_error_at.map(at),
            last_success: state.last_success.map(at),
            not_committing,
            not_committing_since: not_committing_since.map(at),
        }
    }
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        let owed = row.owed;
        Self {
            destination: row.destination,
            state: state_name(row.state).to_owned(),
            study_instance_uid: owed.study_uid.to_string(),
            sop_instance_uid: owed.sop_instance_uid.to_string(),
            sop_class_uid: owed.sop_class_uid.to_string(),
            transfer_syntax_uid: owed.transfer_syntax_uid.to_string(),
            path: owed.path.to_string_lossy().into_owned(),
            bytes: owed.bytes,
            calling_ae_title: owed.calling_ae_title.map(|title| title.to_string()),
            owed: rfc3339(owed.owed_ms),
            attempts: owed.attempts,
            next_attempt: row.due_ms.map(rfc3339),
            last_attempt: row.last_ms.map(rfc3339),
            last_status: row.status.map(|status| format!("{status:04X}")),
            last_error: row.why,
        }
    }
}

impl From<Sums> for DeliverySums {
    fn from(sums: Sums) -> Self {
        Self {
            waiting: count(sums.waiting),
            retrying: count(sums.retrying),
            sent: count(sums.sent),
            dead: count(sums.dead),
            delivered: count(sums.delivered),
        }
    }
}

impl From<StudyDelivery> for StudyProgress {
    fn from(row: StudyDelivery) -> Self {
        let sums = row.sums;
        Self {
            destination: row.destination,
            waiting: count(sums.waiting),
            retrying: count(sums.retrying),
            sent: count(sums.sent),
            dead: count(sums.dead),
            delivered: count(sums.delivered),
        }
    }
}
