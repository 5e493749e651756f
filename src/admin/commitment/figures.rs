//! The metrics of storage commitment. Without it they have no samples.

use std::fmt;
use std::time::SystemTime;

use tidegate_actors::{CommitmentCondition, Observer};

use crate::admin::page::{Page, SECONDS};

pub(in crate::admin) fn figures(observer: &Observer, page: &mut Page<'_>) -> fmt::Result {
    let (Some(state), Some(durations)) = (observer.commitment(), observer.commitment_delays()) else {
        return Ok(());
    };
    let name = state.condition.name();
    let conditions = CommitmentCondition::NAMES.map(|of| ([of], u64::from(of == name)));
    page.gauges("commitment_condition", "1 for the condition of storage commitment", None, &["condition"], conditions)?;
    page.counter("commitment_requests", "Requests for storage commitment that were accepted", None, state.received)?;
    let refused = state.refused.iter().map(|(status, count)| ([*status], *count));
    let help = "Requests for storage commitment that were refused, by the status of the response";
    page.counters("commitment_requests_refused", help, None, &["status"], refused)?;
    let reasons: Vec<_> = state.failed.iter().map(|(reason, count)| (reason.replace(' ', "_"), *count)).collect();
    let failed = reasons.iter().map(|(reason, count)| ([reason.as_str()], *count));
    let outcomes = std::iter::once((["committed"], state.committed)).chain(failed);
    let help = "Instances that were reported: committed, or by the reason why not";
    page.counters("commitment_instances", help, None, &["outcome"], outcomes)?;
    page.counter("commitment_reports", "Reports that their peers have taken", None, state.reported)?;
    let help = "Attempts to report that failed, and are made again";
    page.counter("commitment_attempts_failed", help, None, state.attempts_failed)?;
    page.counter("commitment_reports_given_up", "Reports that were given up", None, state.gave_up)?;
    page.gauge("commitment_pending", "Requests that are not reported, and not given up", None, state.pending)?;
    let help = "Pending requests of which an attempt to report has failed";
    page.gauge("commitment_retrying", help, None, state.retrying)?;
    let help = "Pending requests whose peer has no address and no open association";
    page.gauge("commitment_without_address", help, None, state.without_address)?;
    let age = state
        .oldest_pending
        .map_or(0.0, |since| SystemTime::now().duration_since(since).unwrap_or_default().as_secs_f64());
    page.gauge("commitment_oldest_pending", "Age of the oldest pending request; 0 without one", SECONDS, age)?;
    page.gauge(
        "commitment_calls",
        "Associations that the node has requested, to report",
        None,
        state.calls.len() as u64,
    )?;
    page.distribution("commitment_report_duration", "From the response to a request to its report", &durations)
}
