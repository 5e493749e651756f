//! The child evaluates: the first time when a request is durable, until its instances are there or will not be, and again when its report begins.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegate_commitment::{LONGEST_WAIT, PackedUid, State, Summary};
use tokio::sync::oneshot;

use super::actor::CommitmentActor;
use super::evaluation::{CHUNK, Step, Terms};
use super::shared::Begun;
use super::state::WAITS_FOR;
use super::tasks::Task;
use crate::catalogue::state::{CatalogueRequest, Condition};
use crate::committed::{clock_ms, ms_ahead};
use crate::node::settings::Verify;

/// An outcome that was concluded no longer ago than this needs no second look, for one report.
const FRESH: Duration = Duration::from_millis(100);
/// What was acknowledged is in the catalogue after so long: its transactions take 100 ms of news.
const ENTERED_WITHIN: Duration = Duration::from_millis(150);
/// An instance may be on its way through a writer for so long, even if nothing waits there.
const GRACE: Duration = Duration::from_secs(1);
/// And for so long, if something does.
const LONGEST_GRACE: Duration = Duration::from_secs(5);

/// Between two looks at requests that wait for destinations, whatever changes there.
const AWAITED_INTERVAL: Duration = Duration::from_millis(250);
/// Requests of a look.
const MOST_AWAITED: usize = 256;

/// What a step of a task came to.
enum Stepped {
    More,
    Done,
    /// It cannot go on.
    Stuck(String),
}

impl CommitmentActor {
    /// How files are looked at.
    pub(super) fn terms(&self) -> Terms {
        Terms { by_digest: self.shared.live.get().commitment.verify == Verify::Digest }
    }

    /// A report begins: its outcome is looked at again, unless that has just been done.
    pub(super) fn begin(&mut self, id: i64, reply: oneshot::Sender<Result<Begun, String>>) {
        let concluded = self.concluded.remove(&id);
        if let Some((_, summary)) = concluded.filter(|(at, _)| at.elapsed() < FRESH) {
            self.note_summary(id, summary);
            let begun = self.begun(id);
            let _ = reply.send(begun);
            return;
        }
        let terms = self.terms();
        self.tasks.push(Task::last(id, terms, Some(reply)));
    }

    fn begun(&mut self, id: i64) -> Result<Begun, String> {
        let request = self.record.attempt(|requests| requests.request(id)).flatten();
        let request = request.filter(|request| request.state == State::Evaluated);
        let request = request.ok_or_else(|| "the record of commitment requests cannot be read".to_owned())?;
        Ok(Begun { committed: request.committed, refused: request.refused })
    }

    /// Goes on with the next evaluation for a while.
    pub(super) fn step(&mut self) {
        let Some(mut task) = self.tasks.0.pop_front() else { return };
        if !self.record.is_open() {
            // It is found again in the record.
            if let Some(reply) = task.begins {
                let _ = reply.send(Err("the record of commitment requests cannot be used".to_owned()));
            }
            return;
        }
        match self.go_on(&mut task) {
            Stepped::More => self.tasks.0.push_back(task),
            Stepped::Done => self.conclude(task),
            Stepped::Stuck(why) => self.put_off(task, &why),
        }
        self.look_at = self.look_at.min(Instant::now());
    }

    fn go_on(&mut self, task: &mut Task) -> Stepped {
        if !std::mem::replace(&mut task.has_begun, true) {
            self.files.refresh();
            let request = self.record.attempt(|requests| requests.request(task.id)).flatten();
            task.evaluation.of_request(request.map_or(i64::MIN, |request| request.received_ms));
        }
        let open = match self.files.open() {
            Ok(open) => open,
            Err(why) => {
                // Its owner may not have noticed yet that the file was deleted.
                self.catalogue.ask(CatalogueRequest::CatchUp);
                return Stepped::Stuck(why);
            }
        };
        if let Some(from) = task.evaluation.needs() {
            let references = self.record.attempt(|requests| requests.references(task.id, from, CHUNK));
            let Some(references) = references else {
                return Stepped::Stuck("the record of commitment requests cannot be read".to_owned());
            };
            let (Some(first), Some(last)) = (references.first(), references.last()) else { return Stepped::Done };
            let (first, last) = (first.position, last.position);
            let refused = match self.shared.has_refusals.load(Ordering::Relaxed) {
                true => self.record.attempt(|requests| requests.refused(task.id, first, last)),
                false => Some(HashSet::new()),
            };
            let Some(refused) = refused else {
                return Stepped::Stuck("the record of commitment requests cannot be read".to_owned());
            };
            let live = self.shared.live.get();
            let commit_when = &live.commitment.commit_when;
            // Before it is asked: afterwards, it may have learned what it did not know then.
            let is_current = self.catalogue.state().condition == Condition::Current;
            let taken = task.evaluation.take(references, refused, commit_when, is_current, &mut open.catalogue);
            if let Err(error) = taken {
                self.files.close();
                return Stepped::Stuck(error.to_string());
            }
        }
        let Step::Outcomes(outcomes) = task.evaluation.step(&open.survey, &mut open.buffer) else {
            return Stepped::More;
        };
        let gone = task.evaluation.take_gone();
        if !gone.is_empty() {
            self.catalogue.suspect(gone);
        }
        if !outcomes.is_empty()
            && self.record.attempt(|requests| requests.record_outcomes(task.id, &outcomes)).is_none()
        {
            return Stepped::Stuck("the record of commitment requests cannot be written".to_owned());
        }
        Stepped::More
    }

    pub(super) fn is_catalogue_current(&self) -> bool {
        self.catalogue.state().condition == Condition::Current
    }

    /// All references were looked at.
    fn conclude(&mut self, task: Task) {
        let condition = self.catalogue.state().condition;
        if task.evaluation.is_withheld && condition == Condition::Current {
            let terms = self.terms();
            return self.tasks.push(task.anew(terms));
        }
        let Task { id, evaluation, begins, is_second_look, .. } = task;
        let Some(reply) = begins else {
            if evaluation.doubtful > 0
                && let Some(wait) = self.grace(id, evaluation.doubtful)
                && self.wait(id, wait, &why_catalogue_cannot_tell(&condition))
            {
                return;
            }
            match evaluation.waits {
                Some((uid, destination)) => self.wait_for_destination(id, uid, destination),
                None => self.note_conclusion(id),
            }
            return;
        };
        // What was just acknowledged may be on its way into the catalogue.
        let are_under_way = self.catalogue.state().waiting > 0 || self.mailbox.depth() > 0;
        if evaluation.doubtful > 0 && are_under_way && !is_second_look {
            let terms = self.terms();
            let again = Task { is_second_look: true, ..Task::last(id, terms, Some(reply)) };
            self.held.push_back((Instant::now() + ENTERED_WITHIN, again));
            return;
        }
        if evaluation.is_withheld {
            let _ = reply.send(Err(why_catalogue_cannot_tell(&condition)));
            return;
        }
        self.note_conclusion(id);
        let begun = self.begun(id);
        let _ = reply.send(begun);
    }

    /// An instance has not arrived at a destination that must have it. The request waits until that changes, and for `retry_for` at most.
    fn wait_for_destination(&mut self, id: i64, uid: PackedUid, destination: String) {
        if self.wait(id, LONGEST_WAIT, &format!("{WAITS_FOR}{destination}")) {
            self.awaited.insert(id, (uid, destination));
            // It may have arrived since it was looked for.
            self.awaited_left = self.awaited.len();
        } else {
            let terms = self.terms();
            self.tasks.push(Task::last(id, terms, None));
        }
    }

    /// Deliveries have changed: evaluates the requests again whose instance need not be waited for any more. Looks at so many at most.
    pub(super) fn look_at_awaited(&mut self) {
        let now = Instant::now();
        if self.awaited.is_empty() || !self.tasks.has_room() || now < self.awaited_at {
            return;
        }
        self.awaited_at = now + AWAITED_INTERVAL;
        if self.deliveries.has_changed().unwrap_or(false) {
            self.deliveries.mark_unchanged();
            self.awaited_left = self.awaited.len();
        }
        let number = self.awaited_left.min(MOST_AWAITED);
        self.awaited_left -= number;
        let (from, all) = (self.awaited_from, &self.awaited);
        let looked: Vec<_> = all.range(from..).chain(all.range(..from)).take(number).collect();
        let looked: Vec<_> = looked.into_iter().map(|(id, of)| (*id, of.clone())).collect();
        for (id, (uid, destination)) in looked {
            self.awaited_from = id.saturating_add(1);
            let Ok(open) = self.files.open() else { return };
            let owing = open.catalogue.owing(&[uid], &[destination]);
            if owing.is_ok_and(|owing| owing.iter().any(|owing| !owing.is_dead)) {
                continue;
            }
            self.awaited.remove(&id);
            if !self.tasks.has(id) {
                let terms = self.terms();
                self.tasks.push(Task::first(id, terms));
            }
        }
        self.worked_at = now;
    }

    fn note_conclusion(&mut self, id: i64) {
        let summary = self.record.attempt(|requests| requests.conclude(id, clock_ms())).flatten();
        if let Some(summary) = summary {
            self.concluded.retain(|_, (at, _)| at.elapsed() < FRESH);
            self.concluded.insert(id, (Instant::now(), summary.clone()));
            self.note_summary(id, summary);
            self.defer_if_away(id);
        }
    }

    /// A report that needs a call is not due at once if a call has failed since it was asked for.
    fn defer_if_away(&mut self, id: i64) {
        if self.away.is_empty() {
            return;
        }
        let Some(request) = self.record.attempt(|requests| requests.request(id)).flatten() else { return };
        let away = self.away.get(&request.asked.peer.calling).filter(|away| request.received_ms <= away.failed_ms);
        let has_line = self.shared.waiting.lock().lines.contains_key(&u64::from(request.asked.association));
        if let Some(until_ms) = away.filter(|_| !has_line).map(|away| away.until_ms) {
            self.record.attempt(|requests| requests.defer(id, until_ms));
        }
    }

    /// Notes what is reported, for the figures and the log.
    fn note_summary(&self, id: i64, summary: Summary) {
        if let Some(sending) = self.shared.waiting.lock().sending.get_mut(&id) {
            sending.summary = Some(summary);
        }
    }

    /// Waits with a first evaluation. False: it has waited for as long as it may.
    fn wait(&mut self, id: i64, wait: Duration, why: &str) -> bool {
        let now_ms = clock_ms();
        let until_ms = ms_ahead(now_ms, wait);
        self.record.attempt(|requests| requests.wait(id, until_ms, why, now_ms)).unwrap_or(true)
    }

    /// How long instances that are missing may still be on their way; `None`: they are not.
    fn grace(&mut self, id: i64, missing: u32) -> Option<Duration> {
        let lately = self.seen.entry(id).or_default();
        let (age, progress) = (lately.age(), lately.note_missing(missing));
        let state = self.catalogue.state();
        if state.condition != Condition::Current {
            return Some(patience(age));
        }
        let are_under_way = state.waiting > 0 || self.mailbox.depth() > 0 || progress < GRACE;
        if age < GRACE {
            Some((GRACE - age).min(Duration::from_millis(150)))
        } else if are_under_way && age < LONGEST_GRACE {
            Some(Duration::from_millis(250))
        } else {
            None
        }
    }

    /// The catalogue or a file of the node's cannot be used.
    fn put_off(&mut self, task: Task, why: &str) {
        match task.begins {
            Some(reply) => {
                let _ = reply.send(Err(why.to_owned()));
            }
            None => {
                let wait = patience(self.seen.entry(task.id).or_default().age());
                if !self.wait(task.id, wait, why) {
                    self.note_conclusion(task.id);
                    self.concluded.remove(&task.id); // not all was looked at
                }
            }
        }
    }
}

/// Empty if it can.
fn why_catalogue_cannot_tell(condition: &Condition) -> String {
    match condition {
        Condition::Current => String::new(),
        condition => format!("the catalogue is {}: not all instances can be looked for", condition.name()),
    }
}

/// Before a request of that age is evaluated again, while the catalogue cannot be used: after a start it soon can.
fn patience(age: Duration) -> Duration {
    const LONG: Duration = Duration::from_secs(10);
    if age < LONG { GRACE } else { LONG }
}
