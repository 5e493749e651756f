//! The metrics of deliveries. Without the catalogue they have no samples.

use std::fmt;
use std::time::SystemTime;

use tidegate_actors::{DestinationPhase, DestinationState, Observer};
use tidegate_catalogue::DestinationRow;

use crate::admin::page::{BYTES, Page, SECONDS};
use crate::admin::time::unix_ms;

pub(in crate::admin) fn figures(observer: &Observer, page: &mut Page<'_>) -> fmt::Result {
    let rows = observer.queues();
    let now_ms = unix_ms(SystemTime::now()).cast_signed();
    let mut gauges = |name: &str, help: &str, unit, value: &dyn Fn(&DestinationRow) -> i64| {
        let values = rows.iter().map(|row| ([row.name.as_str()], u64::try_from(value(row)).unwrap_or(0)));
        page.gauges_of(name, help, unit, &["destination"], values)
    };
    gauges("outbox_waiting", "Instances owed to the destination that were not tried yet", None, &|row| {
        row.sums.waiting
    })?;
    gauges(
        "outbox_retrying",
        "Instances owed to the destination that have failed and are tried again",
        None,
        &|row| row.sums.retrying,
    )?;
    gauges("outbox_dead", "Instances owed to the destination that were given up", None, &|row| row.sums.dead)?;
    let help = "Instances that the destination has taken and has yet to commit";
    gauges("outbox_sent", help, None, &|row| row.sums.sent)?;
    let help = "Files owed to the destination that wait or are tried again";
    gauges("outbox_waiting", help, BYTES, &|row| row.sums.waiting_bytes)?;
    let help = "How long the study waits that has waited longest for the destination; 0 without one";
    gauges("outbox_oldest", help, SECONDS, &|row| row.since_ms.map_or(0, |since_ms| (now_ms - since_ms) / 1000))?;
    let help = "1 if an operator has paused the destination";
    gauges("outbox_paused", help, None, &|row| i64::from(row.is_paused))?;
    let help = "Instances that the destination has had, as the catalogue counts them";
    gauges("outbox_delivered", help, None, &|row| row.sums.delivered)?;
    live(observer, page)
}

/// What the node does about each destination of its configuration, and has done since its start.
fn live(observer: &Observer, page: &mut Page<'_>) -> fmt::Result {
    let states = observer.destinations();
    let help = "1 if the destination does not take requests for commitment, or does not report in time";
    let values = states.iter().map(|state| ([state.name.as_str()], u64::from(state.not_committing.is_some())));
    page.gauges_of("outbox_not_committing", help, None, &["destination"], values)?;
    let help = "1 for what the node does about the destination";
    let phases = states.iter().flat_map(|state| {
        let is_now = |phase| u64::from(phase == state.phase.name());
        DestinationPhase::NAMES.map(|phase| ([state.name.as_str(), phase], is_now(phase)))
    });
    page.gauges_of("outbox_phase", help, None, &["destination", "phase"], phases)?;
    let help = "Open associations with the destination";
    let connections = states.iter().map(|state| ([state.name.as_str()], state.connections));
    page.gauges_of("outbox_associations", help, None, &["destination"], connections)?;
    let help = "Attempts to deliver an instance, by what became of it";
    let attempts = states.iter().flat_map(|state| {
        let DestinationState { name, delivered, warned, retried, dead, .. } = state;
        let outcomes = [
            ("delivered", delivered.saturating_sub(*warned)),
            ("warned", *warned),
            ("retried", *retried),
            ("dead", *dead),
        ];
        outcomes.map(|(outcome, count)| ([name.as_str(), outcome], count))
    });
    page.counters("outbox_attempts", help, None, &["destination", "outcome"], attempts)?;
    let help = "Files that the destination has taken";
    let bytes = states.iter().map(|state| ([state.name.as_str()], state.bytes));
    page.counters("outbox_taken", help, BYTES, &["destination"], bytes)
}
