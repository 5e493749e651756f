//! The bounded way from associations to writers.
//!
//! A job needs a place before it can be sent, and keeps the place until a writer takes it: nobody can enqueue past the
//! capacity, however many associations there are. A dead writer leaves the queue to the others.
//!
//! There are two lanes. In general an idle writer takes the next job and a fair share of the rest. Of small instances that are to
//! be synced a writer takes all that wait, and needs one of [`SEATS`] seats for it, until they are in the commit log: more
//! writers would divide between them what one sync serves, and each would have to be woken.
//!
//! Writers that wait stand in a [`Line`]. A job wakes one of them, the one that came last; none if those who are awake will
//! see to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tidegate_memory::{Place, Stage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::job::{Job, Lane};
use crate::latency::Latencies;

/// Writers that take small instances at a time.
const SEATS: usize = 2;

/// No place in the mailbox became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no writer took the dataset in time")]
pub struct HandoffTimeout;

/// The mailbox all writers of the pool share.
#[derive(Debug)]
pub struct WriterMailbox {
    places: Arc<Semaphore>,
    lanes: Arc<Lanes>,
    /// Held while the capacity changes.
    capacity: Mutex<usize>,
    /// Places to be taken away as they come free, because the capacity became smaller than what waits.
    surplus: AtomicUsize,
    writers: usize,
    high_water: AtomicUsize,
    /// Jobs ever enqueued, and ever taken: a job's ticket less the latter is its place.
    enqueued: AtomicU64,
    taken: AtomicU64,
    latencies: Arc<Latencies>,
}

/// What waits, and who waits for it.
#[derive(Debug)]
struct Lanes {
    small: Queue,
    large: Queue,
    /// Locked by whoever takes a job, and by whoever has put one.
    line: Mutex<Line>,
}

/// The writers without work, and the seats.
#[derive(Debug, Default)]
struct Line {
    /// In the order they came.
    asleep: Vec<(Number, Waker)>,
    /// Woken, but not there yet, perhaps with a seat.
    woken: Vec<(Number, Option<Seat>)>,
    seats_taken: usize,
    last_number: u64,
}

/// Tells one wait from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(u64);

/// The right to take small instances, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Option<Arc<Lanes>>);

/// Where a writer stands between one batch and the next.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// What it has if it took small ones.
    pub(crate) seat: Option<Seat>,
    /// Its last batch was of small ones. A large one that waits now is one that nobody else is free for.
    took_small: bool,
}

/// A writer that waits for a job, and has taken nothing when it stops waiting.
struct Claim<'a> {
    lanes: &'a Arc<Lanes>,
    turn: &'a mut Turn,
    /// While it stands in the line.
    number: Option<Number>,
}

/// The jobs of one lane.
#[derive(Debug)]
struct Queue {
    /// Replaced by a longer one when the capacity outgrows it; locked for as long as a job goes in or out.
    channel: RwLock<Channel>,
}

#[derive(Debug)]
struct Channel {
    sender: Sender<Waiting>,
    receiver: Receiver<Waiting>,
}

/// A job in a queue.
#[derive(Debug)]
struct Waiting {
    job: Job,
    place: OwnedSemaphorePermit,
    since: Instant,
}

impl Channel {
    fn new(capacity: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        Self { sender, receiver }
    }
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self { channel: RwLock::new(Channel::new(capacity)) }
    }

    fn depth(&self) -> usize {
        self.channel.read().receiver.len()
    }

    fn make_room(&self, capacity: usize) {
        let mut channel = self.channel.write();
        if channel.sender.capacity().is_some_and(|room| room < capacity) {
            let longer = Channel::new(capacity);
            for job in channel.receiver.try_iter() {
                let _ = longer.sender.try_send(job); // there is room for all of them
            }
            *channel = longer;
        }
    }

    /// Whether there was room: there is, for who has a place.
    fn put(&self, waiting: Waiting) -> bool {
        // It cannot be closed: both ends live in self.
        self.channel.read().sender.try_send(waiting).is_ok()
    }

    fn take(&self) -> Option<Waiting> {
        self.channel.read().receiver.try_recv().ok()
    }
}

impl Lanes {
    fn of(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Small => &self.small,
            Lane::Large => &self.large,
        }
    }

    fn depth(&self) -> usize {
        self.small.depth() + self.large.depth()
    }

    /// Has a writer come for a job that waits, unless one that is awake will take it.
    fn call(self: &Arc<Self>, mut line: MutexGuard<'_, Line>, lane: Lane) {
        if lane == Lane::Small && line.seats_taken >= SEATS {
            return;
        }
        if let Some((number, waker)) = line.asleep.pop() {
            let seat = (lane == Lane::Small).then(|| line.seat(self));
            line.woken.push((number, seat));
            drop(line);
            waker.wake();
        }
    }

    /// The same for whatever waits.
    fn call_again(self: &Arc<Self>) {
        for lane in [Lane::Small, Lane::Large] {
            let line = self.line.lock();
            if self.of(lane).depth() > 0 {
                self.call(line, lane);
            }
        }
    }

    fn try_take(self: &Arc<Self>, line: &mut Line, turn: &mut Turn) -> Option<(Lane, Waiting)> {
        let lanes = match turn.took_small {
            true => [Lane::Large, Lane::Small],
            false => [Lane::Small, Lane::Large],
        };
        lanes.into_iter().find_map(|lane| {
            if lane == Lane::Small && turn.seat.is_none() {
                if line.seats_taken >= SEATS || self.small.depth() == 0 {
                    return None;
                }
                turn.seat = Some(line.seat(self));
            }
            self.of(lane).take().map(|waiting| (lane, waiting))
        })
    }
}

impl Line {
    fn seat(&mut self, lanes: &Arc<Lanes>) -> Seat {
        self.seats_taken += 1;
        Seat(Some(Arc::clone(lanes)))
    }

    fn take_back(&mut self, seat: Option<Seat>) {
        if let Some(mut seat) = seat {
            self.seats_taken -= 1;
            seat.0 = None;
        }
    }

    fn sleep(&mut self, waker: Waker) -> Number {
        self.last_number += 1;
        self.asleep.push((Number(self.last_number), waker));
        Number(self.last_number)
    }

    /// Takes the writer out of the line. `Some`: it was woken, perhaps with a seat.
    fn leave(&mut self, number: Number) -> Option<Option<Seat>> {
        self.asleep.retain(|(other, _)| *other != number);
        let woken = self.woken.iter().position(|(other, _)| *other == number)?;
        Some(self.woken.swap_remove(woken).1)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(lanes) = self.0.take() {
            let mut line = lanes.line.lock();
            line.seats_taken -= 1;
            if lanes.small.depth() > 0 {
                lanes.call(line, Lane::Small);
            }
        }
    }
}

impl Future for Claim<'_> {
    type Output = (Lane, Waiting);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { lanes, turn, number } = self.get_mut();
        let mut line = lanes.line.lock();
        if let Some(number) = number.take()
            && let Some(seat) = line.leave(number)
        {
            turn.seat = seat;
        }
        if let Some(taken) = lanes.try_take(&mut line, turn) {
            return Poll::Ready(taken);
        }
        line.take_back(turn.seat.take());
        *number = Some(line.sleep(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number.take() else {
            return;
        };
        let woken = {
            let mut line = self.lanes.line.lock();
            line.leave(number).map(|seat| line.take_back(seat))
        };
        if woken.is_some() {
            self.lanes.call_again(); // another has to come for what this one was woken for
        }
    }
}

impl WriterMailbox {
    /// A mailbox of `capacity` jobs for `writers` writers.
    pub fn new(capacity: usize, writers: usize, latencies: Arc<Latencies>) -> Self {
        Self {
            latencies,
            places: Arc::new(Semaphore::new(capacity)),
            lanes: Arc::new(Lanes {
                small: Queue::new(capacity),
                large: Queue::new(capacity),
                line: Mutex::default(),
            }),
            capacity: Mutex::new(capacity),
            surplus: AtomicUsize::new(0),
            writers,
            high_water: AtomicUsize::new(0),
            enqueued: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Changes the capacity, at least 1. Jobs that wait keep their places: a smaller capacity holds as soon as they are taken.
    pub fn set_capacity(&self, new: usize) {
        let mut capacity = self.capacity.lock();
        let old = std::mem::replace(&mut *capacity, new);
        if new >= old {
            self.lanes.small.make_room(new);
            self.lanes.large.make_room(new);
            let more = new - old;
            let kept = self
                .surplus
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |surplus| Some(surplus.saturating_sub(more)))
                .unwrap_or(0);
            self.places.add_permits(more.saturating_sub(kept));
        } else {
            let fewer = old - new;
            let gone = self.places.forget_permits(fewer);
            self.surplus.fetch_add(fewer - gone, Ordering::Relaxed);
        }
    }

    /// Waits for a place, then enqueues the job that `make` returns.
    ///
    /// # Errors
    /// [`HandoffTimeout`] if no place became free within `patience`; `make` is not called then.
    pub async fn hand_over(&self, patience: Duration, make: impl FnOnce() -> Job) -> Result<(), HandoffTimeout> {
        let asked = Instant::now();
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => timeout(patience, self.places.clone().acquire_owned()).await.ok().and_then(Result::ok),
        };
        let since = Instant::now();
        self.latencies.handoff_wait.record(since - asked);
        let place = place.ok_or(HandoffTimeout)?;
        let job = make();
        let ticket = self.enqueued.fetch_add(1, Ordering::Relaxed);
        job.each_lease(&mut |lease| lease.enter_at(Stage::Queued, Place::Mailbox { ticket }));
        let lane = job.lane();
        if !self.lanes.of(lane).put(Waiting { job, place, since }) {
            return Err(HandoffTimeout);
        }
        self.lanes.call(self.lanes.line.lock(), lane);
        self.high_water.fetch_max(self.depth(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits for a job, then takes it and what else waits in its lane into `jobs`, at most `most`: of small ones, all; of large
    /// ones, a fair share. The places are free again at once: what a writer has in hand does not wait. Whoever stops waiting
    /// has taken nothing.
    pub(crate) async fn take(&self, most: usize, turn: &mut Turn, jobs: &mut Vec<Job>) {
        let (lane, first) = Claim { lanes: &self.lanes, turn: &mut *turn, number: None }.await;
        turn.took_small = lane == Lane::Small;
        jobs.push(self.taken(first));
        let share = match lane {
            Lane::Small => self.lanes.small.depth(),
            // An idle writer that took all there is would leave the others nothing to do side by side.
            Lane::Large => {
                turn.seat = None;
                self.lanes.large.depth().div_ceil(self.writers)
            }
        };
        let more = std::iter::from_fn(|| self.lanes.of(lane).take());
        jobs.extend(more.take(share.min(most.saturating_sub(1))).map(|waiting| self.taken(waiting)));
    }

    fn taken(&self, Waiting { job, place, since }: Waiting) -> Job {
        self.latencies.queue_wait.record(since.elapsed());
        self.taken.fetch_add(1, Ordering::Relaxed);
        let less = |surplus: usize| surplus.checked_sub(1);
        if self.surplus.load(Ordering::Relaxed) > 0
            && self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        {
            place.forget();
        }
        job
    }

    /// Jobs that may wait.
    pub fn capacity(&self) -> usize {
        *self.capacity.lock()
    }

    /// Jobs ever taken: how many stand before a job is its ticket less this.
    pub(crate) fn taken_so_far(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Jobs waiting now.
    pub fn depth(&self) -> usize {
        self.lanes.depth()
    }

    /// The most jobs that waited at one time since this was last called.
    pub fn take_high_water(&self) -> usize {
        self.high_water.swap(self.depth(), Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
