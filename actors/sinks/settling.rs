//! The outcome of each attempt: its note, its figures, its log line, and what it says of the sink.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_catalogue::{EventNote, EventOutcome, OwedEvent};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::actor::{MOST, OfSettings, Read, SinkActor};
use super::event::PublishError;
use crate::committed::{clock_ms, ms_ahead};
use crate::delivery::backoff::Backoff;
use crate::gauges::incidents::{Class, NO_PEER, Topic};

/// After so many failed attempts without one that it has taken, it is the sink that fails.
const FAILING: u32 = 3;
/// Waits after an answer that is about one event.
const REFUSED: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300), factor: 2 };
/// Waits while the sink is down. One that comes back has its events soon: it is asked with one at a time, which costs it next to nothing.
const DOWN: Backoff = Backoff { longest: Duration::from_secs(30), ..REFUSED };

impl SinkActor {
    pub(super) fn attempted(
        &mut self,
        (of, (generation, owed), published): (OfSettings, Read, Result<(), PublishError>),
    ) {
        let (publisher, settings) = of;
        let is_former = !Arc::ptr_eq(&settings, &self.events);
        if is_former {
            self.former = self.former.saturating_sub(1);
        } else if self.idle.len() < MOST {
            self.idle.push(publisher);
        }
        let (at_ms, now) = (clock_ms(), Instant::now());
        // `retry` gives all that the sink is owed the whole time again: one that was gone may be owed nothing younger.
        let asked_ms = self.row.as_ref().and_then(|(row, _)| row.asked_ms).unwrap_or(i64::MIN);
        let age = Duration::from_millis(u64::try_from(at_ms.saturating_sub(owed.owed_ms.max(asked_ms))).unwrap_or(0));
        let outcome = match published {
            Ok(()) => {
                (self.down, self.failed_in_row) = (None, 0);
                if std::mem::take(&mut self.is_told_down) {
                    info!(sink = self.name, "sink takes events again");
                }
                self.figures.published.increment();
                self.figures.seen.lock().last_success = Some(SystemTime::now());
                EventOutcome::Published
            }
            // That says nothing of the sink by its present settings.
            Err(PublishError::Retry { why, .. } | PublishError::Gone { why } | PublishError::Refused { why })
                if is_former =>
            {
                EventOutcome::Retry { due_ms: at_ms, why }
            }
            Err(error) => self.failed(error, &owed, (at_ms, age), now),
        };
        self.page.ended(generation, &owed, &outcome);
        let (sink, event) = (owed.sink, owed.event);
        self.notes.push(EventNote { generation, sink, event, outcome, at_ms });
    }

    fn failed(
        &mut self,
        error: PublishError,
        owed: &OwedEvent,
        (at_ms, age): (i64, Duration),
        now: Instant,
    ) -> EventOutcome {
        let (why, after, is_down) = match error {
            PublishError::Retry { why, after, is_down } => (why, after, is_down),
            PublishError::Gone { why } => {
                self.is_gone = true;
                self.page.clear();
                warn!(sink = self.name, "sink wants no events any more");
                self.figures.seen.lock().last_error = Some((SystemTime::now(), why.clone()));
                return EventOutcome::Gone { why };
            }
            PublishError::Refused { why } => return self.dead(owed, why),
        };
        self.figures.seen.lock().last_error = Some((SystemTime::now(), why.clone()));
        let failures = match self.down {
            _ if !is_down => owed.attempts + 1,
            // Those that were under way together have failed together.
            Some((failures, at)) if at > now => failures,
            before => before.map_or(1, |(failures, _)| failures + 1),
        };
        let asked_for = after.unwrap_or_default();
        self.failed_in_row = self.failed_in_row.saturating_add(1);
        // One event that is refused is no trouble of the sink; a key that is wrong is.
        if !self.is_told_down && (is_down || self.is_failing()) {
            warn!(sink = self.name, why, "sink does not take events; trying again");
            self.is_told_down = true;
        }
        if is_down {
            self.down = Some((failures, now + DOWN.after(failures).max(asked_for)));
            self.page.clear();
            self.has_changed = true;
        } else {
            self.down = None; // it answers
        }
        // One that takes the sink down each time waits longer each time, whatever becomes of others meanwhile.
        let backoff = if is_down { DOWN } else { REFUSED };
        let wait = backoff.after(failures.max(owed.attempts + 1)).max(asked_for);
        if age >= self.settings.retry_for {
            return self.dead(owed, format!("{why}; retry_for is over"));
        }
        self.figures.retried.increment();
        EventOutcome::Retry { due_ms: ms_ahead(at_ms, wait), why }
    }

    fn dead(&mut self, owed: &OwedEvent, why: String) -> EventOutcome {
        self.figures.dead.increment();
        self.figures.seen.lock().last_error = Some((SystemTime::now(), why.clone()));
        let incidents = &self.env.gauges.incidents;
        let topic = Topic::Amiss(Class::Refusal);
        if let Some(unlogged) = incidents.worth_a_line_about(topic, "event_dead", NO_PEER, (&self.name, &why)) {
            error!(
                sink = self.name,
                event = owed.event,
                kind = owed.kind.name(),
                subject = owed.subject,
                cause = why,
                attempts = owed.attempts + 1,
                unlogged,
                remedy = "mend the cause, then `tidegate events retry`",
                "event not published, and not tried again"
            );
        }
        EventOutcome::Dead { why }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failed_in_row >= FAILING
    }
}
