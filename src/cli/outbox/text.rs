//! Deliveries as text that fits the terminal, but for UIDs, which are never cut.

use std::time::Duration;

use crate::admin::outbox::model::{Delivery, Destination, Destinations, Doing, Outbox, OutboxChanged};
use crate::cli::table::Table;
use crate::cli::text::{count, cut, safe, size};

/// Columns of the name of a destination in a list.
const NAME_COLUMNS: usize = 16;
/// Columns of its AE title and address: a host may have 253 characters.
const PEER_COLUMNS: usize = 60;
/// Columns of what failed.
const WHY_COLUMNS: usize = 200;

/// A line for each destination, and a second with its peer and what is due.
pub(super) fn destinations(found: &Destinations, width: usize) -> String {
    let mut table = Table::new(["DESTINATION", "WAITING", "RETRYING", "SENT", "DEAD", "BYTES", "DELIVERED"]).left(1);
    for row in &found.destinations {
        table.row([
            cut(&safe(&row.name), NAME_COLUMNS),
            row.waiting.to_string(),
            row.retrying.to_string(),
            row.sent.to_string(),
            row.dead.to_string(),
            size(row.waiting_bytes),
            row.delivered.to_string(),
        ]);
        table.line(described(row));
        if let Some(doing) = row.live.as_ref().and_then(|live| doing(live, row.waiting_bytes)) {
            table.line(doing);
        }
        if let Some(live) = row.live.as_ref().filter(|_| row.sent > 0)
            && let Some(why) = &live.not_committing
        {
            let since = live.not_committing_since.as_deref().map(moment).unwrap_or_default();
            table.line(format!("DOES NOT COMMIT since {since}: {}", cut(&safe(why), WHY_COLUMNS)));
        }
    }
    table.render(width)
}

fn described(row: &Destination) -> String {
    let parts = [
        row.peer.as_ref().map(|peer| cut(&safe(peer), PEER_COLUMNS)),
        (row.is_configured == Some(false)).then(|| "NOT CONFIGURED: it keeps what it is owed".to_owned()),
        row.is_paused.then(|| "PAUSED".to_owned()),
        row.waiting_since.as_ref().map(|at| format!("waiting since {}", moment(at))),
        row.next_retry.as_ref().map(|at| format!("next retry {}", moment(at))),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "nothing waits".to_owned() } else { text }
}

/// What the node is doing about a destination; `None`: nothing that the other lines do not say.
fn doing(live: &Doing, waiting_bytes: u64) -> Option<String> {
    let why = live.last_error.as_deref().map(|why| cut(&safe(why), WHY_COLUMNS)).unwrap_or_default();
    match live.phase.as_str() {
        "sending" => {
            // Without anything that waits, the last answers are awaited.
            let left =
                waiting_bytes.checked_div(live.bytes_per_s).filter(|_| waiting_bytes > 0).map(Duration::from_secs);
            let left = left.map(|left| format!(", {} left at this rate", humantime::format_duration(left)));
            let associations = count(live.connections, "association");
            Some(format!("sending {}/s over {associations}{}", size(live.bytes_per_s), left.unwrap_or_default()))
        }
        "down" => {
            let [since, next] =
                [&live.down_since, &live.next_probe].map(|at| at.as_deref().map(moment).unwrap_or_default());
            Some(format!("DOWN since {since}, next call at {next}: {why}"))
        }
        "unavailable" => Some(format!("NOT READABLE: {why}")),
        "outside_hours" => Some("outside of its hours".to_owned()),
        _ => None,
    }
}

/// Three lines a delivery: its state, its instance, and what failed.
pub(super) fn deliveries(found: &Outbox, width: usize) -> String {
    let mut table = Table::new(["DESTINATION", "STATE", "OWED SINCE", "ATTEMPTS", "BYTES"]).left(3);
    for row in &found.deliveries {
        table.row([
            cut(&safe(&row.destination), NAME_COLUMNS),
            if row.state == "dead" { "DEAD".to_owned() } else { safe(&row.state) },
            moment(&row.owed),
            row.attempts.to_string(),
            size(row.bytes),
        ]);
        table.line(safe(&row.sop_instance_uid));
        if let Some(failed) = failure(row) {
            table.line(failed);
        }
    }
    table.render(width)
}

/// What failed last, and what comes next.
fn failure(row: &Delivery) -> Option<String> {
    let why = row.last_error.as_ref()?;
    // What a peer answered begins with it.
    let status = row.last_status.as_ref().filter(|_| !why.starts_with("status "));
    let status = status.map(|status| format!("{} ", safe(status))).unwrap_or_default();
    let next = row.next_attempt.as_ref().map(|at| format!(", next at {}", moment(at))).unwrap_or_default();
    Some(format!("{status}{}{next}", safe(why)))
}

/// What an order has done.
pub(super) fn changed(changed: &OutboxChanged, _: usize) -> String {
    let deliveries = count(changed.changed, "delivery").replace("deliverys", "deliveries");
    format!("{deliveries} changed{}\n", so_far(changed.is_done))
}

/// What follows the number of an order that the node carries out in steps.
pub(in crate::cli) fn so_far(is_done: bool) -> &'static str {
    if is_done { "" } else { " so far; the node continues" }
}

/// A time, without seconds.
fn moment(rfc3339: &str) -> String {
    rfc3339.get(..16).unwrap_or(rfc3339).replacen('T', " ", 1)
}
