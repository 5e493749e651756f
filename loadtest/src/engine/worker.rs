//! One association of the load after the other, on a thread of its own: take what is due, send it, read the answers.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::association::{Association, AssociationError};
use crate::random::Random;
use crate::reconcile::Entry;
use crate::scenario::{Lifetime, Pace, Range};

use super::pipeline::{Outstanding, Pipeline};
use super::recorder::Answered;
use super::run::Run;
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
    number: u32,
    itinerary: Itinerary<'a>,
    random: Random,
    /// Due, and not begun.
    slot: Option<Slot>,
    /// Under a closed load, when the pause after the last answer ends.
    ready_at: Instant,
    ledger: Vec<Entry>,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(run: &'a Run<'a>, number: u32) -> Self {
        Self {
            run,
            number,
            itinerary: Itinerary::new(&run.catalogue, run.plan.seed, number),
            random: Random::stream(run.plan.seed, 0x1000_0000 + u64::from(number)),
            slot: None,
            ready_at: run.start,
            ledger: Vec::new(),
        }
    }

    /// Sends until there is nothing more to send, and returns what was begun.
    pub(crate) fn work(mut self) -> Vec<Entry> {
        let settings = &self.run.plan.scenario.associations;
        let share = f64::from(self.number) / f64::from(settings.count.max(1));
        self.sleep_until(self.run.start + Duration::from_secs_f64(settings.spread_s * share));
        let mut failures = 0;
        loop {
            // Whoever opens an association for a study opens it when there is something to send.
            let eager = settings.lifetime == Lifetime::Run && failures == 0 && self.slot.is_none();
            if !eager && !self.claim() || self.run.schedule.is_over(Instant::now()) && self.slot.is_none() {
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
            self.sleep_until(Instant::now() + (RECONNECT_PAUSE * failures).min(MAX_PAUSE));
        }
        self.run.recorder.unsent(u64::from(self.slot.is_some()));
        self.ledger
    }

    /// Waits until something is due; `false` when nothing ever is.
    fn claim(&mut self) -> bool {
        while self.slot.is_none() {
            let now = Instant::now();
            let turn = if self.ready_at > now && !self.run.schedule.is_over(now) {
                Turn::Wait(self.ready_at)
            } else {
                self.run.schedule.turn(now, true)
            };
            match turn {
                Turn::Take(slot) => self.slot = Some(slot),
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
            if now >= until || self.run.schedule.is_over(now) {
                return;
            }
            thread::sleep((until - now).min(GLANCE));
        }
    }

    fn connect(&mut self) -> Result<Association, AssociationError> {
        let association = self.run.plan.connect(&self.run.catalogue)?;
        if let (Pace::Closed { .. }, Some(slot)) = (&self.run.plan.scenario.load.pace, &mut self.slot) {
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
        if self.slot.is_none() {
            if self.ready_at > now && !self.run.schedule.is_over(now) {
                return Next::At(self.ready_at);
            }
            match self.run.schedule.turn(now, pipeline.is_idle()) {
                Turn::Take(slot) => self.slot = Some(slot),
                Turn::Wait(until) => return Next::At(until),
                Turn::Over => return Next::Nothing,
            }
        }
        let Some(slot) = self.slot else {
            return Next::Nothing;
        };
        if slot.intended > now {
            // The load may end while it waits.
            if self.run.schedule.is_over(now) {
                self.slot = None;
                return Next::Nothing;
            }
            return Next::At(slot.intended);
        }
        let instance = self.itinerary.peek();
        let lifetime = self.run.plan.scenario.associations.lifetime;
        if pipeline.last().is_some_and(|last| ends(lifetime, last, instance)) {
            // It is for the next association.
            return Next::Nothing;
        }
        self.slot = None;
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
        if let Pace::Closed { think_time_ms: Range { low, high } } = self.run.plan.scenario.load.pace
            && high > 0
        {
            self.ready_at = now + Duration::from_millis(self.random.between(low, high));
        }
    }
}

/// What came of an association's wish to begin a message.
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
