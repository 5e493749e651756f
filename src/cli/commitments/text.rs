//! Requests of storage commitment as text that fits the terminal, but for UIDs, which are never cut.

use tidegate_actors::NO_WAY;

use crate::admin::commitment::model::{Commitment, CommitmentDetail, Commitments};
use crate::cli::look::TITLE_COLUMNS;
use crate::cli::table::{Table, labelled, wrapped};
use crate::cli::text::{count, cut, safe};

/// The state of a request whose report was given up.
pub(super) const GIVEN_UP: &str = "given_up";
/// Instances of one request that are listed; JSON has more.
const MAX_LISTED: usize = 100;

/// Two lines a request, and a third for one whose report fails.
pub(super) fn commitments(found: &Commitments, width: usize) -> String {
    let mut table = Table::new(["ID", "ASKED", "CALLING", "STATE", "COMMITTED"]).left(4);
    for request in &found.commitments {
        table.row([
            request.id.to_string(),
            moment(&request.received, 16),
            title(&request.calling_ae_title),
            state(request),
            match &request.evaluated {
                Some(_) => format!("{} of {}", request.committed, request.instances),
                None => format!("- of {}", request.instances),
            },
        ]);
        table.line(safe(&request.transaction_uid));
        if request.state != "reported" {
            table.line(report(request));
        }
    }
    table.render(width)
}

/// A request, and the instances that are not committed.
pub(super) fn commitment(found: &CommitmentDetail, width: usize) -> String {
    let CommitmentDetail { commitment: request, not_committed } = found;
    let named = count(u64::from(request.instances), "instance");
    let outcome = match &request.evaluated {
        Some(at) => {
            format!("{named}, {} committed, {} not, as of {}", request.committed, request.not_committed, moment(at, 19))
        }
        None => format!("{named}, not looked at yet"),
    };
    let (from, called) = (title(&request.calling_ae_title), title(&request.called_ae_title));
    let lines = [
        ("state", state(request)),
        ("asked", moment(&request.received, 19)),
        ("from", format!("{from} at {}, association {}", safe(&request.address), request.association)),
        ("called", called),
        ("transaction", safe(&request.transaction_uid)),
        ("instances", outcome),
        ("report", report(request)),
    ];
    let mut out = labelled("request", &request.id.to_string(), width);
    lines.iter().for_each(|(label, value)| out.push_str(&labelled(label, value, width)));
    for one in not_committed.iter().take(MAX_LISTED) {
        out.push_str(&format!("\n{}", wrapped("", &safe(&one.sop_instance_uid), width)));
        let why = format!("{} {}, asked for as {}", safe(&one.reason), safe(&one.text), safe(&one.sop_class_uid));
        out.push_str(&wrapped("  ", &why, width));
    }
    let left = (request.not_committed as usize).saturating_sub(not_committed.len().min(MAX_LISTED));
    if left > 0 {
        out.push_str(&wrapped("", &format!("\nand {left} more that are not committed"), width));
    }
    out
}

/// What became of the report so far.
fn report(request: &Commitment) -> String {
    if let Some(at) = request.ended.as_ref().filter(|_| request.state == "reported") {
        return format!("taken at {}", moment(at, 19));
    }
    let attempts = match request.attempts {
        0 => "no attempt yet".to_owned(),
        number => count(u64::from(number), "attempt"),
    };
    let ended = request.ended.as_ref().map(|at| format!(", given up at {}", moment(at, 19)));
    if request.ended.is_none() && request.last_error.as_deref() == Some(NO_WAY) {
        let title = title(&request.calling_ae_title);
        return format!("{attempts}, waits for {title} to associate: add a [[peer]] with its address");
    }
    let next = request.next_attempt.as_ref().map(|at| format!(", next at {}", moment(at, 19)));
    let why = request.last_error.as_ref().map(|error| format!(": {}", safe(error)));
    [Some(attempts), ended, next, why].into_iter().flatten().collect()
}

/// One whose report was given up stands out.
fn state(request: &Commitment) -> String {
    if request.state == GIVEN_UP { "GIVEN UP".to_owned() } else { safe(&request.state) }
}

fn title(title: &str) -> String {
    cut(&safe(title.trim()), TITLE_COLUMNS)
}

/// A time, so many characters of it.
fn moment(rfc3339: &str, characters: usize) -> String {
    rfc3339.get(..characters).unwrap_or(rfc3339).replacen('T', " ", 1)
}
