//! What leaves the node, as `tidegate status` tells it: deliveries and events. The figures are those of the metrics and cost no look into a file;
//! each destination and each sink is at `/api/destinations` and `/api/sinks`.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidegate_actors::{DestinationPhase, DestinationState, Observer, SinkPhase, SinkState};
use tidegate_catalogue::DestinationRow;

use super::outbox::model::count;
use super::outbox::readers::owes;
use super::time::unix_ms;

/// The deliveries to all destinations together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryHealth {
    /// Destinations of the configuration.
    pub(crate) destinations: u64,
    /// Instances that were not tried yet.
    pub(crate) waiting: u64,
    /// Instances that have failed and are tried again.
    pub(crate) retrying: u64,
    /// Instances that were taken, and are yet to be committed.
    pub(crate) sent: u64,
    /// Instances that were given up.
    pub(crate) dead: u64,
    /// How long the study waits that has waited longest; absent if none does.
    pub(crate) oldest_waiting_ms: Option<u64>,
    /// The destinations that do not take what they are owed, by name.
    pub(crate) not_taking: Vec<NotTaking>,
}

/// The events that are owed to all sinks together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsHealth {
    /// Sinks of the configuration.
    pub(crate) sinks: u64,
    /// Events that are owed.
    pub(crate) waiting: u64,
    /// Events that were given up.
    pub(crate) dead: u64,
    /// How long the event waits that has waited longest; absent if none does.
    pub(crate) oldest_waiting_ms: Option<u64>,
    /// The sinks that do not take what they are owed, by name.
    pub(crate) not_taking: Vec<NotTaking>,
}

/// A destination or a sink that does not take what it is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotTaking {
    pub(crate) name: String,
    /// `down`, `unavailable`, `paused`, `not_committing`, `gone` or `not_configured`.
    pub(crate) reason: String,
    /// The last failure; absent if it is none.
    pub(crate) error: Option<String>,
}

impl DeliveryHealth {
    /// `None`: there is no catalogue.
    pub(super) fn of(observer: &Observer) -> Option<Self> {
        observer.catalogue()?;
        let (rows, states) = (observer.queues(), observer.destinations());
        let sum = |of: fn(&DestinationRow) -> i64| rows.iter().map(|row| count(of(row))).sum();
        let owed = rows.iter().filter(|row| owes(row)).map(|row| row.name.as_str());
        let not_configured = owed.filter(|name| !states.iter().any(|state| state.name == *name));
        let not_taking = NotTaking::all(states.iter().filter_map(NotTaking::destination), not_configured);
        Some(Self {
            destinations: states.len() as u64,
            waiting: sum(|row| row.sums.waiting),
            retrying: sum(|row| row.sums.retrying),
            sent: sum(|row| row.sums.sent),
            dead: sum(|row| row.sums.dead),
            oldest_waiting_ms: oldest(rows.iter().map(|row| row.since_ms)),
            not_taking,
        })
    }
}

impl EventsHealth {
    /// `None`: there is no catalogue.
    pub(super) fn of(observer: &Observer) -> Option<Self> {
        observer.catalogue()?;
        let (rows, states) = (observer.event_queues(), observer.event_sinks());
        let owed = rows.iter().filter(|row| row.waiting + row.dead > 0).map(|row| row.name.as_str());
        let not_configured = owed.filter(|name| !states.iter().any(|state| state.name == *name));
        let not_taking = NotTaking::all(states.iter().filter_map(NotTaking::sink), not_configured);
        Some(Self {
            sinks: states.len() as u64,
            waiting: rows.iter().map(|row| count(row.waiting)).sum(),
            dead: rows.iter().map(|row| count(row.dead)).sum(),
            oldest_waiting_ms: oldest(rows.iter().map(|row| row.since_ms)),
            not_taking,
        })
    }
}

/// The age of the first of these moments.
fn oldest(since_ms: impl Iterator<Item = Option<i64>>) -> Option<u64> {
    let first = since_ms.flatten().min()?;
    Some(unix_ms(SystemTime::now()).saturating_sub(count(first)))
}

impl NotTaking {
    fn new(name: &str, reason: &str, error: Option<String>) -> Self {
        Self { name: name.to_owned(), reason: reason.to_owned(), error }
    }

    /// With those that the configuration does not name any more, by name.
    fn all<'a>(known: impl Iterator<Item = Self>, not_configured: impl Iterator<Item = &'a str>) -> Vec<Self> {
        let not_configured = not_configured.map(|name| Self::new(name, "not_configured", None));
        let mut all: Vec<_> = known.chain(not_configured).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// `None`: the destination takes what it is owed, or will by itself in its hours.
    fn destination(state: &DestinationState) -> Option<Self> {
        let (reason, error) = match (&state.phase, &state.not_committing) {
            (DestinationPhase::Down { why, .. } | DestinationPhase::Unavailable { why }, _) => {
                (state.phase.name(), Some(why.clone()))
            }
            (DestinationPhase::Paused, _) => (state.phase.name(), None),
            (_, Some((_, why))) => ("not_committing", Some(why.clone())),
            (
                DestinationPhase::Idle
                | DestinationPhase::Sending
                | DestinationPhase::OutsideHours
                | DestinationPhase::Stopping,
                None,
            ) => return None,
        };
        Some(Self::new(&state.name, reason, error))
    }

    /// `None`: the sink takes what it is owed.
    fn sink(state: &SinkState) -> Option<Self> {
        let error = match state.phase {
            SinkPhase::Idle | SinkPhase::Publishing => return None,
            SinkPhase::Down => state.last_error.as_ref().map(|(_, why)| why.clone()),
            // The reason says it.
            SinkPhase::Gone | SinkPhase::Unavailable => None,
        };
        Some(Self::new(&state.name, state.phase.name(), error))
    }

    /// Removes what names the peer.
    pub(super) fn remove_peer(&mut self) {
        self.name.clear();
        self.error = None;
    }
}
