//! One association of the load after the other, on a thread of its own: take what is due, send it, read the answers.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::association::{Association, AssociationError};
use crate::random::Random;
use crate::reconcile::Entry;
use crate::scenario::{Lifetime, Pace, Range, Visit};

use super::pipeline::{Outstanding, Pipeline};
use super::recorder::Answered;
use super::run::{Group, Run};
use super::schedule::{Slot, Turn};
use crate::itinerary::{Instance, Itinerary};

/// Longest sleep, after which a worker looks whether the load is over.
const GLANCE: Duration = Duration::from_millis(200);
/// Pause before a failed association is opened again, for each failure in a row.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Failures in a row after which a worker gives up; a transient rejection is none, it says to come again.
const MAX_FAILURES: u32 = 5;
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Runs associations until the load is over.
pub(crate) struct Worker<'a> {
    run: &'a Run<'a>,
    group: &'a Group,
    /// The group's place among the senders.
    sender: usize,
    number: u32,
    itinerary: Itinerary<'a>,
    random: Random,
    /// Due, and not begun.
    slot: Option<Slot>,
    /// Under a closed load, when the pause after the last answer ends.
    ready_at: Instant,
    ledger: Vec<Entry>,
    /// Instances that this association may still begin, where each has its share.
    share: Option<u64>,
    /// The recorded association that is played, and how many of its instances were taken.
    visit: Option<(Instant, Visit, u64)>,
    /// Instances begun on this association, and how many it may have.
    begun: u64,
    limit: u64,
}

impl<'a> Worker<'a> {
    pub(super) fn new(run: &'a Run<'a>, group: &'a Group, sender: usize, number: u32) -> Self {
        Self {
            run,
            group,
            sender,
            number,
            itinerary: Itinerary::new(&run.catalogue, &group.sender.kinds, run.plan.seed, number),
            random: Random::stream(run.plan.seed, 0x1000_0000 + u64::from(number)),
            slot: None,
            ready_at: run.start,
            ledger: Vec::new(),
            share: share(run, number),
            visit: None,
            begun: 0,
            limit: u64::MAX,
        }
    }

    /// The next action by the schedule and by this association's share. A recorded association is begun only `between` associations.
    fn turn(&mut self, now: Instant, ahead: bool, between: bool) -> Turn {
        if self.share == Some(0) {
            return Turn::Over;
        }
        if !self.group.schedule.is_trace() {
            return self.group.schedule.turn(now, ahead);
        }
        if self.visit.as_ref().is_none_or(|(_, visit, taken)| *taken >= visit.instances) {
            let next = if between { self.group.schedule.take_visit(now) } else { None };
            self.visit = next.map(|(at, visit)| (at, visit, 0));
        }
        let Some((at, visit, taken)) = &mut self.visit else {
            return Turn::Over;
        };
        // Evenly over the time that the association lasted.
        let intended = *at + Duration::from_secs_f64(visit.lasts_s * *taken as f64 / visit.instances as f64);
        if intended > now && !ahead {
            return Turn::Wait(intended);
        }
        *taken += 1;
        Turn::Take(Slot { intended, step: 0 })
    }

    /// Notes what is to be begun.
    fn take(&mut self, slot: Slot) {
        self.slot = Some(slot);
        self.share = self.share.map(|share| share.saturating_sub(1));
    }

    /// Sends until there is nothing more to send, and returns what was begun.
    pub(crate) fn work(mut self) -> Vec<Entry> {
        let settings = &self.run.plan.scenario.associations;
        let share = f64::from(self.number) / f64::from(settings.count.max(1));
        self.sleep_until(self.run.start + Duration::from_secs_f64(settings.spread_s * share));
        let mut failures = 0;
        loop {
            // With an association for each study, it is opened when there is something to send.
            let waits = self.group.schedule.is_trace() || self.group.sender.instances_per_association.is_some();
            let lasts = self.group.sender.lifetime == Lifetime::Run && !waits;
            let eager = lasts && failures == 0 && self.slot.is_none();
            if !eager && !self.claim() || self.group.schedule.is_over(Instant::now()) && self.slot.is_none() {
                break;
            }
            let stood = match self.connect() {
                Ok(association) => {
                    failures = 0;
                    self.run.recorder.opened();
                    let ended = self.serve(association);
                    self.run.recorder.closed();
                    ended
                }
                Err(error) => Err(error),
            };
            let Err(error) = stood else {
                continue;
            };
            self.run.recorder.failed(&error);
            self.run.complain(self.number, &error);
            failures += 1;
            let asked_to_come_again = error.is_transient_rejection();
            if !settings.reconnect || failures >= MAX_FAILURES && !asked_to_come_again {
                break;
            }
            let pause = (RECONNECT_PAUSE * failures).min(MAX_PAUSE);
            if self.slot.is_some() {
                // The load may be over, but not for this instance: without the pause a full receiver is asked hundreds of times a second.
                thread::sleep(pause);
            } else {
                self.sleep_until(Instant::now() + pause);
            }
        }
        let rest = self.visit.as_ref().map_or(0, |(_, visit, taken)| visit.instances.saturating_sub(*taken));
        self.run.recorder.unsent(u64::from(self.slot.is_some()) + rest);
        self.ledger
    }

    /// Waits until something is due; `false` when nothing ever is.
    fn claim(&mut self) -> bool {
        while self.slot.is_none() {
            let now = Instant::now();
            let turn = if self.ready_at > now && !self.group.schedule.is_over(now) {
                Turn::Wait(self.ready_at)
            } else {
                self.turn(now, true, true)
            };
            match turn {
                Turn::Take(slot) => self.take(slot),
                Turn::Wait(until) => thread::sleep((until - now).min(GLANCE)),
                Turn::Over => return false,
            }
        }
        let due = self.slot.map_or(Instant::now(), |slot| slot.intended);
        self.sleep_until(due);
        // The load may have ended before that.
        self.slot = self.slot.filter(|slot| slot.intended <= Instant::now());
        self.slot.is_some()
    }

    /// Sleeps until then, or until the load is over.
    fn sleep_until(&self, until: Instant) {
        loop {
            let now = Instant::now();
            if now >= until || self.group.schedule.is_over(now) {
                return;
            }
            thread::sleep((until - now).min(GLANCE));
        }
    }

    fn connect(&mut self) -> Result<Association, AssociationError> {
        let recorded = self.visit.as_ref().map(|(_, visit, _)| visit.calling_ae.as_str());
        // The wire has room for sixteen characters, and an AE title has at least one.
        let recorded = recorded.filter(|title| (1..=16).contains(&title.len()) && title.is_ascii());
        let calling_ae = recorded.unwrap_or(&self.group.sender.calling_ae);
        let association = self.run.plan.connect(&self.run.catalogue, calling_ae)?;
        let limit = self.group.sender.instances_per_association;
        (self.begun, self.limit) = (0, limit.map_or(u64::MAX, |range| self.random.between(range.low, range.high)));
        if let (Pace::Closed { .. }, Some(slot)) = (&self.group.sender.pace, &mut self.slot) {
            // A closed load begins when its association stands.
            slot.intended = Instant::now();
        }
        Ok(association)
    }

    /// Sends over one association until its lifetime, the load, or the association itself ends.
    fn serve(&mut self, mut association: Association) -> Result<(), AssociationError> {
        let framed = self.run.catalogue.framed(association.fragment_bytes());
        let window = association.window(self.run.plan.scenario.associations.async_window);
        let mut pipeline = Pipeline::new(framed, window, self.run.plan.timeout());
        let result = self.pump(&mut association, &mut pipeline);
        self.run.recorder.unanswered(pipeline.outstanding() as u64);
        result?;
        association.release()
    }

    fn pump(&mut self, association: &mut Association, pipeline: &mut Pipeline) -> Result<(), AssociationError> {
        let mut closing = false;
        let mut wake = Instant::now();
        loop {
            if pipeline.has_room() && !closing {
                match self.begin(association, pipeline) {
                    Next::Begun => {}
                    Next::At(time) => wake = time,
                    Next::Nothing => closing = true,
                }
            }
            if pipeline.write(association)? && pipeline.has_room() && !closing {
                continue;
            }
            if closing && pipeline.is_idle() {
                return Ok(());
            }
            let now = Instant::now();
            let patience = pipeline.patience(now)?;
            let until = if pipeline.has_room() && !closing { wake.min(now + GLANCE) } else { patience };
            let ready = association.wait(pipeline.is_writing(), until)?;
            if ready.writable {
                association.flush()?;
            }
            if ready.readable {
                while let Some(response) = association.answer()? {
                    let done = pipeline.take(response.message_id)?;
                    self.answered(&done, response.status);
                }
            }
        }
    }

    /// Begins the next message, if one is due.
    fn begin(&mut self, association: &Association, pipeline: &mut Pipeline) -> Next {
        let now = Instant::now();
        if self.begun >= self.limit {
            return Next::Nothing;
        }
        if self.slot.is_none() {
            if self.ready_at > now && !self.group.schedule.is_over(now) {
                return Next::At(self.ready_at);
            }
            match self.turn(now, pipeline.is_idle(), false) {
                Turn::Take(slot) => self.take(slot),
                Turn::Wait(until) => return Next::At(until),
                Turn::Over => return Next::Nothing,
            }
        }
        let Some(slot) = self.slot else {
            return Next::Nothing;
        };
        if slot.intended > now {
            // The load may end while it waits.
            if self.group.schedule.is_over(now) {
                self.slot = None;
                return Next::Nothing;
            }
            return Next::At(slot.intended);
        }
        let instance = self.itinerary.peek();
        let lifetime = self.group.sender.lifetime;
        if pipeline.last().is_some_and(|last| ends(lifetime, last, instance)) {
            // It is for the next association.
            return Next::Nothing;
        }
        self.slot = None;
        self.begun += 1;
        self.itinerary.advance();
        let template = self.run.catalogue.templates.get(instance.template as usize);
        if !template.is_some_and(|template| association.accepted(template.context)) {
            self.run.recorder.unsent(1);
            return Next::At(now);
        }
        let uids = instance.uids(self.run.plan.run, self.number);
        pipeline.begin(instance, &uids, slot, self.ledger.len());
        if self.run.keeps_ledger {
            self.ledger.push(Entry { instance, acknowledged: false });
        }
        Next::Begun
    }

    fn answered(&mut self, done: &Outstanding, status: u16) {
        let now = Instant::now();
        let template = self.run.catalogue.templates.get(done.instance.template as usize);
        let (bytes, kind) = template.map_or((0, 0), |template| (template.dataset.len(), template.kind));
        self.run.recorder.answered(&Answered {
            status,
            bytes,
            kind,
            sender: self.sender,
            warms_up: done.slot.intended < self.run.measured_from(),
            step: done.slot.step,
            in_time: self.run.in_time(done.slot.step, now),
            intended: done.slot.intended,
            begun: done.begun,
            answered: now,
        });
        if status == 0 {
            if let Some(entry) = self.ledger.get_mut(done.entry).filter(|_| self.run.keeps_ledger) {
                entry.acknowledged = true;
            }
            self.run.plan.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        if let Pace::Closed { think_time_ms: Range { low, high } } = self.group.sender.pace
            && high > 0
        {
            self.ready_at = now + Duration::from_millis(self.random.between(low, high));
        }
    }
}

/// The share of association `number`, where each has one.
fn share(run: &Run<'_>, number: u32) -> Option<u64> {
    let count = u64::from(run.plan.scenario.associations.count.max(1));
    let instances = run.plan.scenario.load.instances.filter(|_| run.plan.equal_shares)?;
    Some(instances / count + u64::from(u64::from(number) < instances % count))
}

/// The result of an association's attempt to begin a message.
enum Next {
    Begun,
    /// Not before then.
    At(Instant),
    /// Not on this association.
    Nothing,
}

/// Whether an association of this lifetime ends between two instances.
fn ends(lifetime: Lifetime, last: Instance, next: Instance) -> bool {
    match lifetime {
        Lifetime::Run => false,
        Lifetime::Study => last.study != next.study,
        Lifetime::Series => last.series != next.series,
        Lifetime::Instance => true,
    }
}
