//! When instances are due. Of an open load all associations share one row of times that runs on whatever the receiver does: an
//! instance that is taken late has waited since it was due, so no stall can hide (no coordinated omission).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::scenario::{Arrival, Load, Pace, Visit};

/// An instance that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// When it should be sent.
    pub(crate) intended: Instant,
    /// The step of a load in steps.
    pub(crate) step: usize,
}

/// The answer to an association that could send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// Send this, when its time has come.
    Take(Slot),
    /// Nothing is due before then.
    Wait(Instant),
    /// Nothing any more.
    Over,
}

/// The pace of a run.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    end: Option<Instant>,
    /// Instances that may still be taken.
    left: Arc<AtomicU64>,
    over: AtomicBool,
    stop: Arc<AtomicBool>,
    /// The row of times; `None` for a closed load.
    row: Option<Mutex<Row>>,
    /// The associations of a recorded log that nobody has taken.
    visits: Option<Mutex<VecDeque<Visit>>>,
}

#[derive(Debug)]
struct Row {
    random: Random,
    arrival: Arrival,
    rates_per_s: Vec<f64>,
    step_s: f64,
    /// The next that nobody has taken, from the start. Whole nanoseconds, so that equal distances stay equal.
    next: Duration,
    /// Taken in each step.
    taken: Vec<u64>,
}

/// How a step came out, as far as its times were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepTaken {
    /// Instances taken of those that were due in it.
    pub(crate) taken: u64,
    /// Whether some that were due in it are still waiting.
    pub(crate) behind: bool,
}

impl Schedule {
    pub(crate) fn new(load: &Load, seed: u64, start: Instant, stop: Arc<AtomicBool>) -> Self {
        let duration_s = match &load.pace {
            Pace::Steps { rates_per_s, step_s, .. } => Some(rates_per_s.len() as f64 * step_s),
            Pace::Closed { .. } | Pace::Open { .. } | Pace::Trace { .. } => load.duration_s,
        };
        let row = match &load.pace {
            Pace::Closed { .. } | Pace::Trace { .. } => None,
            Pace::Open { rate_per_s, arrival } => Some((vec![*rate_per_s], f64::INFINITY, *arrival)),
            Pace::Steps { rates_per_s, step_s, arrival, .. } => Some((rates_per_s.clone(), *step_s, *arrival)),
        };
        let row = row.map(|(rates_per_s, step_s, arrival)| {
            let taken = vec![0; rates_per_s.len()];
            let random = Random::stream(seed, 0x7177);
            Mutex::new(Row { random, arrival, rates_per_s, step_s, next: Duration::ZERO, taken })
        });
        let visits = match &load.pace {
            Pace::Trace { visits } => Some(Mutex::new(visits.iter().cloned().collect())),
            Pace::Closed { .. } | Pace::Open { .. } | Pace::Steps { .. } => None,
        };
        Self {
            start,
            visits,
            end: duration_s.map(|duration_s| start + Duration::from_secs_f64(duration_s)),
            left: Arc::new(AtomicU64::new(load.instances.unwrap_or(u64::MAX))),
            over: AtomicBool::new(false),
            stop,
            row,
        }
    }

    /// The same, with the number of instances shared with `other`.
    pub(crate) fn sharing_with(self, other: &Self) -> Self {
        Self { left: Arc::clone(&other.left), ..self }
    }

    /// Whether recorded associations are played.
    pub(crate) fn is_trace(&self) -> bool {
        self.visits.is_some()
    }

    /// The next recorded association that nobody has taken, with its time.
    pub(crate) fn take_visit(&self, now: Instant) -> Option<(Instant, Visit)> {
        if self.is_over(now) {
            return None;
        }
        let visit = self.visits.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        Some((self.start + Duration::from_secs_f64(visit.at_s), visit))
    }

    /// The next action of an association that is free at `now`. In a closed load an instance is due when an association is free. In an open
    /// load the association takes the next time; before that time only if `ahead`, for an association without other work.
    pub(crate) fn turn(&self, now: Instant, ahead: bool) -> Turn {
        if self.is_over(now) {
            return Turn::Over;
        }
        let Some(row) = &self.row else {
            return if self.take_one() { Turn::Take(Slot { intended: now, step: 0 }) } else { Turn::Over };
        };
        let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
        let intended = self.start + row.next;
        if self.end.is_some_and(|end| intended >= end) {
            return if intended <= now { Turn::Over } else { Turn::Wait(intended) };
        }
        if intended > now && !ahead {
            return Turn::Wait(intended);
        }
        if !self.take_one() {
            return Turn::Over;
        }
        let step = row.step();
        if let Some(taken) = row.taken.get_mut(step) {
            *taken += 1;
        }
        row.advance();
        Turn::Take(Slot { intended, step })
    }

    fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Whether nothing is to be begun any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.over.load(Ordering::Relaxed)
            || self.stop.load(Ordering::Relaxed)
            || self.end.is_some_and(|end| now >= end)
            || self.left.load(Ordering::Relaxed) == 0
    }

    /// Ends the load before its time.
    pub(crate) fn end_now(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// About how many instances are due at `now` and not taken.
    pub(crate) fn backlog(&self, now: Instant) -> u64 {
        let Some(row) = &self.row else {
            return 0;
        };
        let row = row.lock().unwrap_or_else(PoisonError::into_inner);
        let until = self.end.map_or(now, |end| end.min(now));
        let until_s = until.saturating_duration_since(self.start).as_secs_f64();
        row.expected(until_s).min(self.left.load(Ordering::Relaxed))
    }

    /// Exactly how many were due and never taken when the load ended at `now`; of a closed load those of `instances` that are left.
    pub(crate) fn never_taken(&self, now: Instant) -> u64 {
        let left = self.left.load(Ordering::Relaxed);
        if let Some(visits) = &self.visits {
            let visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
            let due = |visit: &&Visit| self.start + Duration::from_secs_f64(visit.at_s) <= now;
            return visits.iter().filter(due).map(|visit| visit.instances).sum();
        }
        let Some(row) = &self.row else {
            return if left > u64::MAX / 2 { 0 } else { left };
        };
        let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
        let until = self.end.map_or(now, |end| end.min(now));
        let until = until.saturating_duration_since(self.start);
        let mut count = 0;
        while row.next < until && count < left {
            row.advance();
            count += 1;
        }
        count
    }

    /// How `step` stands.
    pub(crate) fn step(&self, step: usize) -> StepTaken {
        let Some(row) = &self.row else {
            return StepTaken { taken: 0, behind: false };
        };
        let row = row.lock().unwrap_or_else(PoisonError::into_inner);
        StepTaken {
            taken: row.taken.get(step).copied().unwrap_or_default(),
            behind: row.next.as_secs_f64() < (step + 1) as f64 * row.step_s,
        }
    }
}

impl Row {
    fn step(&self) -> usize {
        ((self.next.as_secs_f64() / self.step_s) as usize).min(self.rates_per_s.len().saturating_sub(1))
    }

    fn rate_per_s(&self) -> f64 {
        self.rates_per_s.get(self.step()).copied().unwrap_or(1.0)
    }

    fn advance(&mut self) {
        let mean_s = 1.0 / self.rate_per_s();
        self.next += Duration::from_secs_f64(match self.arrival {
            Arrival::Poisson => self.random.exponential(mean_s),
            Arrival::Even => mean_s,
        });
    }

    /// Times to be expected from the next up to `until_s`.
    fn expected(&self, until_s: f64) -> u64 {
        let mut sum = 0.0;
        for (step, rate_per_s) in self.rates_per_s.iter().enumerate() {
            let last = step + 1 == self.rates_per_s.len();
            let begin_s = if step == 0 { 0.0 } else { step as f64 * self.step_s };
            let end_s = if last { f64::INFINITY } else { (step + 1) as f64 * self.step_s };
            sum += (end_s.min(until_s) - begin_s.max(self.next.as_secs_f64())).max(0.0) * rate_per_s;
        }
        sum as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Range;

    fn schedule(pace: Pace, duration_s: Option<f64>, instances: Option<u64>) -> (Schedule, Instant) {
        let start = Instant::now();
        let load = Load { pace, duration_s, instances, warm_up_s: 0.0 };
        (Schedule::new(&load, 1, start, Arc::default()), start)
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_stalled_open_load_is_taken_late_at_the_times_it_was_due() {
        let (schedule, start) = schedule(Pace::Open { rate_per_s: 10.0, arrival: Arrival::Even }, Some(1.0), None);
        // Nobody took anything for half a second.
        let now = after(start, 510);
        assert_eq!(schedule.backlog(now), 5);
        let mut due = Vec::new();
        while let Turn::Take(slot) = schedule.turn(now, false) {
            due.push((slot.intended - start).as_millis());
        }
        assert_eq!(due.len(), 6);
        assert!(due.iter().enumerate().all(|(index, ms)| ms.abs_diff(index as u128 * 100) <= 1), "{due:?}");
        // The seventh is not due: it waits, unless the association has nothing else to do.
        assert!(matches!(schedule.turn(now, false), Turn::Wait(_)));
        assert!(matches!(schedule.turn(now, true), Turn::Take(slot) if slot.intended > now));
    }

    #[test]
    fn what_is_due_at_the_end_and_was_never_taken_is_counted() {
        let (schedule, start) = schedule(Pace::Open { rate_per_s: 10.0, arrival: Arrival::Even }, Some(1.0), None);
        for _ in 0..3 {
            assert!(matches!(schedule.turn(after(start, 999), false), Turn::Take(_)));
        }
        assert!(matches!(schedule.turn(after(start, 1000), false), Turn::Over));
        assert_eq!(schedule.never_taken(after(start, 5000)), 7);
    }

    #[test]
    fn a_closed_load_is_due_when_its_association_is_and_ends_with_its_instances() {
        let (schedule, start) = schedule(Pace::Closed { think_time_ms: Range::just(0) }, None, Some(2));
        let now = after(start, 70);
        assert!(matches!(schedule.turn(now, false), Turn::Take(slot) if slot.intended == now));
        assert_eq!(schedule.never_taken(now), 1);
        assert!(matches!(schedule.turn(now, false), Turn::Take(_)));
        assert!(matches!(schedule.turn(now, false), Turn::Over));
    }

    #[test]
    fn steps_have_their_own_rates_and_know_who_is_behind() {
        let rates_per_s = vec![10.0, 40.0];
        let pace = Pace::Steps { rates_per_s, step_s: 1.0, arrival: Arrival::Even, knee_p99_ms: 1.0 };
        let (schedule, start) = schedule(pace, None, None);
        assert!(schedule.step(0).behind);
        let mut steps = [0, 0];
        while let Turn::Take(slot) = schedule.turn(after(start, 1990), false) {
            steps[slot.step] += 1;
        }
        assert_eq!(steps, [10, 40]);
        assert_eq!(schedule.step(0), StepTaken { taken: steps[0], behind: false });
        assert_eq!(schedule.backlog(after(start, 1990)), 0);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate() {
        let (schedule, start) =
            schedule(Pace::Open { rate_per_s: 1000.0, arrival: Arrival::Poisson }, Some(10.0), None);
        let mut count = 0;
        while let Turn::Take(_) = schedule.turn(after(start, 9999), false) {
            count += 1;
        }
        assert!((9_700..10_300).contains(&count), "{count}");
    }

    #[test]
    fn a_stop_ends_the_load() {
        let (schedule, start) = schedule(Pace::Closed { think_time_ms: Range::just(0) }, Some(9.0), None);
        assert!(!schedule.is_over(start));
        schedule.stop.store(true, Ordering::Relaxed);
        assert!(matches!(schedule.turn(start, true), Turn::Over));
    }
}
