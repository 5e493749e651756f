//! The metrics of the catalogue. Without a catalogue they have no samples.

use std::fmt;

use tidegate_actors::{Condition, Observer};

use super::page::{BYTES, Page, SECONDS};

pub(super) fn figures(observer: &Observer, page: &mut Page<'_>) -> fmt::Result {
    let (Some(state), Some(batches)) = (observer.catalogue(), observer.catalogue_batches()) else { return Ok(()) };
    let name = state.condition.name();
    let conditions = Condition::NAMES.map(|of| ([of], u64::from(of == name)));
    page.gauges("catalogue_condition", "1 for the condition of the catalogue", None, &["condition"], conditions)?;
    page.gauge("catalogue_queued", "Records that wait to be entered into the catalogue", None, state.waiting)?;
    page.gauge("catalogue_queue_capacity", "Records that may wait", None, state.capacity)?;
    page.counter("catalogue_entered", "Records of stored instances entered into the catalogue", None, state.entered)?;
    let help = "Instances that were stored and could not be queued or entered; catch-up finds them";
    page.counter("catalogue_missed", help, None, state.missed)?;
    page.distribution("catalogue_batch_duration", "Transaction of a batch of records", &batches)?;
    let help = "1 if instances were missed that no catch-up has found since";
    page.gauge("catalogue_gap_open", help, None, u64::from(state.gap.is_some()))?;
    let running = state.work.as_ref().filter(|work| work.is_running);
    let help = "1 if a catch-up, check or rebuild is under way";
    page.gauge("catalogue_work_running", help, None, u64::from(running.is_some()))?;
    let progress = state.work.as_ref().map(|work| work.progress).unwrap_or_default();
    let by_kind = [
        ("directories", progress.directories),
        ("files", progress.files),
        ("new", progress.new),
        ("changed", progress.changed),
        ("gone", progress.gone),
        ("unreadable", progress.unreadable),
    ];
    let help = "What the catch-up, check or rebuild under way has seen, or the last one";
    page.gauges("catalogue_work_progress", help, None, &["kind"], by_kind.map(|(kind, count)| ([kind], count)))?;
    let seconds = state.work.as_ref().map_or(0.0, |work| work.took.as_secs_f64());
    page.gauge("catalogue_work_duration", "How long it has taken", SECONDS, seconds)?;
    page.gauge("catalogue", "File of the catalogue with its log", BYTES, state.bytes)?;
    let retention = state.retention;
    page.counter("retention_deleted_files", "Delivered files that were deleted", None, retention.deleted_files)?;
    page.counter("retention_deleted", "Bytes of delivered files that were deleted", BYTES, retention.deleted_bytes)?;
    let help = "Delivered files that could not be deleted, each time";
    page.counter("retention_not_deleted_files", help, None, retention.not_deleted)?;
    let help = "1 if the files have more bytes than retention.max_bytes, and none of them may be deleted";
    page.gauge("retention_blocked", help, None, u64::from(retention.is_blocked))
}
