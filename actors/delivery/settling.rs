//! The outcome of each attempt: its note, its figures, its log line, and what it says of the destination.

use std::time::Duration;

use tidegate_catalogue::{DeliveryNote, Outcome, Owed};
use tidegate_protocol::Response;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::breaker::Failure;
use super::committing::GATHER;
use super::hub::Hub;
use super::outcome::{Verdict, verdict};
use super::plan::Task;
use crate::committed::{clock_ms, ms_ahead};
use crate::fixed;
use crate::gauges::incidents::{Class, NO_PEER, Topic};

/// After an attempt that the destination could not make at the time.
const LATER: Backoff = Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(30), factor: 1 };
/// After an association that ended with the instance outstanding, as long as nothing says that it was the fault of the instance.
const LOST: Duration = Duration::from_secs(15);
/// The same for an instance that has been owed for long: an eighth of that, up to this.
const LONGEST_LOST: Duration = Duration::from_secs(120);

/// After an attempt that counts. The attempts of an instance span most of an hour, in which an archive that refuses everything is mended.
fn refused() -> Backoff {
    let first = fixed::delivery_retry();
    Backoff { first, longest: first * 256, factor: 4 }
}

/// After a loss that does not count.
fn lost(owed: &Owed) -> Backoff {
    let age = Duration::from_millis(clock_ms().saturating_sub(owed.owed_ms).max(0).unsigned_abs());
    let wait = (age / 8).clamp(LOST, LONGEST_LOST);
    Backoff { first: wait, longest: wait, factor: 1 }
}

/// How an attempt ended.
pub(super) enum Attempt {
    /// The destination has answered.
    Answered(Response),
    /// The destination takes no such instance, or the instance cannot be written for it.
    Impossible(String),
    /// The file cannot be sent, and never will be.
    NoFile(String),
    /// The file cannot be read at the moment.
    Unreadable(String),
    /// The association ended before the answer. `counts`: it may be the fault of the instance.
    Lost { why: String, counts: bool },
}

impl Hub {
    /// Settles an attempt.
    pub(super) fn settle(&mut self, task: Task, attempt: Attempt) {
        let now = Instant::now();
        let Task { owed, generation, is_repetition } = task;
        let outcome = match attempt {
            Attempt::Answered(response) => self.answered(&owed, is_repetition, &response, now),
            Attempt::Impossible(why) => self.failed(&owed, None, why),
            Attempt::NoFile(why) => {
                self.give_up(&owed, None, &why);
                Outcome::NoFile { path: owed.path.clone(), why }
            }
            Attempt::Unreadable(why) => self.later(&owed, LATER, None, why),
            Attempt::Lost { why, counts: true } => self.failed(&owed, None, why),
            Attempt::Lost { why, counts: false } => self.later(&owed, lost(&owed), None, why),
        };
        let at_ms = clock_ms();
        self.push_note(DeliveryNote { generation, key: owed.key, outcome, at_ms });
    }

    fn answered(&mut self, owed: &Owed, is_repetition: bool, response: &Response, now: Instant) -> Outcome {
        let status = response.status;
        let why = match response.comment.as_str() {
            "" => format!("status {status:04X}"),
            comment => format!("status {status:04X}: {comment}"),
        };
        match verdict(status) {
            judged @ (Verdict::Delivered | Verdict::Warned) => {
                self.succeeded(now);
                self.figures.note_delivered(owed.bytes, now);
                let is_warned = judged == Verdict::Warned;
                if is_warned {
                    self.figures.warned.increment();
                }
                let why = (is_warned || status != 0).then_some(why);
                if self.settings.commits {
                    return Outcome::Sent { due_ms: ms_ahead(clock_ms(), GATHER), status, why };
                }
                Outcome::Delivered { status, why }
            }
            Verdict::Later => {
                let outcome = self.later(owed, LATER, Some(status), why.clone());
                // One instance, again and again, is no sign that the destination fails.
                if !is_repetition || self.breaker.down().is_some() {
                    self.stumbled(Failure::Failing, why, now);
                }
                outcome
            }
            Verdict::Refused => {
                self.succeeded(now);
                self.failed(owed, Some(status), why)
            }
        }
    }

    /// An attempt of which the instance has `attempts`.
    pub(super) fn failed(&mut self, owed: &Owed, status: Option<u16>, why: String) -> Outcome {
        let attempts = owed.attempts + 1;
        if attempts >= self.settings.attempts {
            return self.dead(owed, status, why);
        }
        self.again(owed, refused().after(attempts), true, status, why)
    }

    /// A failure that is not the instance's.
    fn later(&mut self, owed: &Owed, wait: Backoff, status: Option<u16>, why: String) -> Outcome {
        self.again(owed, wait.after(1), false, status, why)
    }

    fn again(&mut self, owed: &Owed, wait: Duration, counts: bool, status: Option<u16>, why: String) -> Outcome {
        let now_ms = clock_ms();
        if now_ms.saturating_sub(owed.owed_ms) >= i64::try_from(self.settings.retry_for.as_millis()).unwrap_or(i64::MAX)
        {
            return self.dead(owed, status, format!("{why}; retry_for is over"));
        }
        self.figures.retried.increment();
        self.figures.note_error(&why);
        Outcome::Retry { due_ms: ms_ahead(now_ms, wait), counts, status, why }
    }

    fn dead(&mut self, owed: &Owed, status: Option<u16>, why: String) -> Outcome {
        self.give_up(owed, status, &why);
        Outcome::Dead { status, why }
    }

    /// Counts and tells that an instance is not tried again.
    fn give_up(&mut self, owed: &Owed, status: Option<u16>, why: &str) {
        self.figures.dead.increment();
        self.figures.note_error(why);
        let topic = Topic::Amiss(Class::Refusal);
        let worth = self.gauges.incidents.worth_a_line_about(topic, "delivery_dead", NO_PEER, (&self.name, status));
        if let Some(unlogged) = worth {
            error!(
                destination = self.name,
                uid = %owed.sop_instance_uid,
                path = %owed.path.display(),
                cause = why,
                attempts = owed.attempts + 1,
                unlogged,
                remedy = "mend the cause, then `tidegate outbox retry`",
                "instance not delivered, and not tried again"
            );
        }
    }

    /// The destination has judged an instance: it is there.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.served = Some(now);
        if let Some(down) = self.breaker.succeeded(now) {
            self.has_no_echo = false;
            info!(destination = self.name, peer = self.settings.peer(), down_s = down.as_secs(), "destination is back");
            self.child.notify_one();
            self.tell();
        }
    }

    /// Something has failed that may be the destination's fault.
    pub(super) fn stumbled(&mut self, failure: Failure, why: String, now: Instant) {
        if self.breaker.stumbled(failure, why.clone(), now) {
            self.log_down(&why);
        }
        self.child.notify_one();
        self.tell();
    }

    /// The destination has failed as a whole.
    pub(super) fn broke(&mut self, failure: Failure, why: String, now: Instant) {
        self.figures.note_error(&why);
        if self.breaker.broke(failure, why.clone(), now) {
            self.log_down(&why);
        }
        self.child.notify_one();
        self.tell();
    }

    fn log_down(&self, why: &str) {
        warn!(
            destination = self.name,
            peer = self.settings.peer(),
            cause = why,
            "destination is down; what it is owed waits, and it is asked again"
        );
    }
}
