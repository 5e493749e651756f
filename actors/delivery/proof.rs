//! What becomes of requests for commitment and of their reports: the notes of each instance, and what the log and the operators learn.

use std::collections::HashSet;
use std::time::Duration;

use tidegate_catalogue::{DeliveryNote, Outcome, Owed, OwedKey};
use tidegate_commitment::FailureReason;
use tokio::time::Instant;
use tracing::{info, warn};

use super::actor::DeliveryActor;
use super::backoff::Backoff;
use super::committing::{Asked, Asking, GATHER, Reported, Stage};
use super::hub::Hub;
use super::queue::{LONGEST_WAIT, Meant};
use super::report::{Given, MOST_REFERENCES, NotTaken};
use crate::committed::{clock_ms, due_until, ms_ahead, put_off};
use crate::fixed;

/// Outcomes that wait to be noted: beyond these, no report is taken, and nothing is waived.
const MOST_NOTES: usize = 4096;
/// Before deliveries to a destination that no longer commits are looked at again.
const WAIVE_AGAIN: Duration = Duration::from_secs(1);

/// After a request that the destination has not taken.
fn not_taken() -> Backoff {
    let first = fixed::commit_retry();
    Backoff { first, longest: first * 10, factor: 2 }
}

impl Hub {
    /// Gives out the request, to an association that can send it.
    pub(super) fn ask(&mut self) -> Option<Asked> {
        let asking = self.committing.asking.as_mut().filter(|asking| asking.stage == Stage::Ready)?;
        asking.stage = Stage::Sent;
        let reference = |owed: &Owed| (owed.sop_class_uid.clone(), owed.sop_instance_uid.clone());
        let references = asking.owed.iter().map(reference).collect();
        Some(Asked { transaction: asking.transaction, transaction_uid: asking.uid.clone(), references })
    }

    /// The destination has taken the request: it has `commit_within` to report.
    pub(super) fn ask_taken(&mut self, transaction: i64) {
        let Some(Asking { owed, .. }) = self.committing.take(transaction) else { return };
        self.committing.failures = 0;
        self.committing.most = (self.committing.most * 2).min(MOST_REFERENCES);
        let due_ms = ms_ahead(clock_ms(), fixed::commit_within());
        self.note_asked(&owed, transaction, due_ms);
        // What is asked for again had no report in its time.
        if !owed.iter().any(|owed| owed.is_asked) {
            self.commits_again();
        }
        self.child.notify_one();
    }

    /// The destination has refused the request, or ended the association over it.
    pub(super) fn ask_refused(&mut self, transaction: i64, why: &str) {
        let own = self.committing.asking.as_ref().filter(|asking| asking.transaction == transaction);
        if let Some(asking) = own {
            self.committing.most = u32::try_from(asking.owed.len() / 2).unwrap_or(MOST_REFERENCES).max(1);
        }
        self.ask_failed(transaction, why);
    }

    /// The destination has not taken the request.
    pub(super) fn ask_failed(&mut self, transaction: i64, why: &str) {
        let Some(_) = self.committing.take(transaction) else { return };
        self.committing.failures += 1;
        self.committing.ask_at = Instant::now() + not_taken().after(self.committing.failures);
        self.does_not_commit(why);
        self.child.notify_one();
    }

    fn note_asked(&mut self, owed: &[Owed], transaction: i64, due_ms: i64) {
        let Some(generation) = self.plan.generation() else { return };
        let at_ms = clock_ms();
        for owed in owed {
            let outcome = Outcome::Asked { transaction, due_ms };
            self.push_note(DeliveryNote { generation, key: owed.key, outcome, at_ms });
        }
    }

    /// An instance was reported: `reason` is that of one that is not committed (PS3.3 §C.14.1.1).
    fn reported(&mut self, owed: &Owed, reason: Option<u16>) {
        let Some(generation) = self.plan.generation() else { return };
        let outcome = match reason {
            None => Outcome::Committed,
            Some(reason) => {
                let meaning = FailureReason::of_code(reason).map_or("no reason of the standard", FailureReason::name);
                self.failed(owed, Some(reason), format!("not committed: reason {reason:04X}, {meaning}"))
            }
        };
        self.push_note(DeliveryNote { generation, key: owed.key, outcome, at_ms: clock_ms() });
    }

    fn does_not_commit(&mut self, why: &str) {
        self.figures.note_not_committing(Some(why));
        if self.committing.trouble.as_deref() != Some(why) {
            self.committing.trouble = Some(why.to_owned());
            warn!(
                destination = self.name,
                peer = self.settings.peer(),
                cause = why,
                remedy = "have the destination commit what it is sent, or set commit = false",
                "destination does not commit; what it was sent stays owed, and it is asked again"
            );
        }
    }

    fn commits_again(&mut self) {
        self.figures.note_not_committing(None);
        if self.committing.trouble.take().is_some() {
            info!(destination = self.name, peer = self.settings.peer(), "destination commits");
        }
    }
}

impl DeliveryActor {
    /// Takes the reports that have come, and prepares the next request.
    pub(super) fn commit(&mut self, now: Instant, may_ask: bool) {
        self.take_reports();
        let Some((destination, generation, asked, due_ms)) = self.queue.sent_due() else { return };
        let hub = &mut *self.hub.borrow_mut();
        hub.committing.inbox.open(generation, destination);
        let Some(due_ms) = due_ms.filter(|_| may_ask && hub.committing.asking.is_none()) else { return };
        let now_ms = clock_ms();
        let wait = put_off(due_ms, now_ms, LONGEST_WAIT);
        let waives = !hub.settings.commits;
        if waives && hub.notes.len() >= MOST_NOTES {
            return; // what was waived before is still to be noted
        }
        let at = if waives { hub.committing.ask_at } else { hub.committing.ask_at.max(now + wait) };
        if at > now {
            self.wake_at = self.wake_at.min(at);
            return;
        }
        let up_to_ms = if waives { i64::MAX } else { due_until(due_ms, now_ms, LONGEST_WAIT) };
        // It cannot be read: the queue says so, and is read again.
        let Some(owed) = self.queue.sent(destination, up_to_ms, hub.committing.most) else { return };
        if waives {
            hub.committing.ask_at = now + WAIVE_AGAIN;
            hub.waive(&owed);
        } else if let (true, Some(first)) = (hub.plan.generation() == Some(generation), owed.first()) {
            if first.is_asked {
                hub.does_not_commit("the destination has not reported in time");
            }
            let transaction = hub.committing.last.max(asked) + 1;
            hub.committing.last = transaction;
            let due_ms = ms_ahead(now_ms, fixed::commit_retry());
            hub.note_asked(&owed, transaction, due_ms);
            if u32::try_from(owed.len()).unwrap_or(u32::MAX) < hub.committing.most {
                hub.committing.ask_at = now + GATHER;
            }
            let (uid, stage) = (generation.transaction_uid(destination, transaction), Stage::Noting(owed.len()));
            hub.committing.asking = Some(Asking { transaction, uid, owed, stage });
        }
    }

    fn take_reports(&mut self) {
        let inbox = self.hub.borrow().committing.inbox.clone();
        if self.hub.borrow().notes.len() >= MOST_NOTES {
            return; // those behind are refused, and may come again
        }
        if self.queue.trouble().is_some() {
            inbox.take(); // they are answered with a failure, and may come again
        }
        let Some((destination, generation, asked, _)) = self.queue.sent_due() else { return };
        for Given { report, reply } in inbox.take() {
            let transaction = generation.transaction_of(&report.transaction_uid);
            let last = self.hub.borrow().committing.last.max(asked);
            let Some((_, transaction)) = transaction.filter(|(of, number)| *of == destination && *number <= last)
            else {
                let _ = reply.send(Err(NotTaken::unknown())); // it was never asked for
                continue;
            };
            let found = self.queue.asked(destination, transaction, &report);
            let Some(Meant { owed: found, has_others }) = found else {
                let _ = reply.send(Err(NotTaken::failed())); // the association may have ended
                continue;
            };
            let hub = &mut *self.hub.borrow_mut();
            hub.commits_again();
            let left: HashSet<OwedKey> = found.iter().map(|(owed, _)| owed.key).collect();
            for (owed, reason) in &found {
                hub.reported(owed, *reason);
            }
            let taken = if has_others { Err(NotTaken::of_another_class()) } else { Ok(()) };
            if left.is_empty() {
                // All of it is known already, or was asked for again.
                let _ = reply.send(taken);
            } else {
                hub.committing.reports.push(Reported { left, _lease: report.lease, taken, reply });
            }
        }
    }
}

impl Hub {
    /// The destination is not asked to commit any more: what it was sent is delivered.
    fn waive(&mut self, owed: &[Owed]) {
        let Some(generation) = self.plan.generation() else { return };
        self.figures.note_not_committing(None);
        self.committing.trouble = None;
        for owed in owed {
            self.push_note(DeliveryNote { generation, key: owed.key, outcome: Outcome::Committed, at_ms: clock_ms() });
        }
    }
}
