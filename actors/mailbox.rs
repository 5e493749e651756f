//! The bounded way from associations to writers.
//!
//! A job needs a place before it can be sent, and keeps the place until a writer takes it: nobody can enqueue past the
//! capacity, however many associations there are. A dead writer leaves the queue to the others.
//!
//! There are two lanes. In general an idle writer takes the next job and a fair share of the rest. Of small instances that are to
//! be synced a writer takes all that wait, and needs one of [`SEATS`] seats for it, until they are in the commit log: more
//! writers would divide between them what one sync serves, and each would have to be woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
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
    small: Queue,
    large: Queue,
    seats: Arc<Semaphore>,
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

/// The right to take small instances, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(#[expect(dead_code, reason = "is given back when dropped")] OwnedSemaphorePermit);

/// Where a writer stands between one batch and the next.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// What it has if it took small ones.
    pub(crate) seat: Option<Seat>,
    /// Its last batch was of small ones. A large one that waits now is one that nobody else is free for.
    took_small: bool,
}

/// The jobs of one lane.
#[derive(Debug)]
struct Queue {
    /// One permit for each job.
    waiting: Semaphore,
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
        Self { waiting: Semaphore::new(0), channel: RwLock::new(Channel::new(capacity)) }
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
        let has_room = self.channel.read().sender.try_send(waiting).is_ok();
        if has_room {
            self.waiting.add_permits(1);
        }
        has_room
    }

    /// Waits until there is a job, and claims it: it is to be taken out.
    async fn claim(&self) {
        if let Ok(permit) = self.waiting.acquire().await {
            permit.forget();
        }
    }

    /// Claims a job if there is one.
    fn try_claim(&self) -> bool {
        self.waiting.try_acquire().map(|permit| permit.forget()).is_ok()
    }

    fn take_claimed(&self) -> Option<Waiting> {
        self.channel.read().receiver.try_recv().ok()
    }
}

impl WriterMailbox {
    /// A mailbox of `capacity` jobs for `writers` writers.
    pub fn new(capacity: usize, writers: usize, latencies: Arc<Latencies>) -> Self {
        Self {
            latencies,
            places: Arc::new(Semaphore::new(capacity)),
            small: Queue::new(capacity),
            large: Queue::new(capacity),
            seats: Arc::new(Semaphore::new(SEATS)),
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
            self.small.make_room(new);
            self.large.make_room(new);
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
        if !self.queue(job.lane()).put(Waiting { job, place, since }) {
            return Err(HandoffTimeout);
        }
        self.high_water.fetch_max(self.depth(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits for a job, then takes it and what else waits in its lane into `jobs`, at most `most`: of small ones, all; of large
    /// ones, a fair share. The places are free again at once: what a writer has in hand does not wait. Whoever stops waiting
    /// has taken nothing.
    pub(crate) async fn take(&self, most: usize, turn: &mut Turn, jobs: &mut Vec<Job>) {
        let at_once = match turn.took_small {
            true => self.try_large().or_else(|| self.try_small(turn)),
            false => self.try_small(turn).or_else(|| self.try_large()),
        };
        let lane = match at_once {
            Some(lane) => lane,
            None => tokio::select! {
                () = self.large.claim() => Lane::Large,
                () = async {
                    if turn.seat.is_none() {
                        turn.seat = self.seats.clone().acquire_owned().await.ok().map(Seat);
                    }
                    self.small.claim().await;
                } => Lane::Small,
            },
        };
        turn.took_small = lane == Lane::Small;
        jobs.extend(self.take_claimed(lane));
        let share = match lane {
            Lane::Small => self.small.depth(),
            // An idle writer that took all there is would leave the others nothing to do side by side.
            Lane::Large => {
                turn.seat = None;
                self.large.depth().div_ceil(self.writers)
            }
        };
        for _ in 0..share.min(most.saturating_sub(1)) {
            if !self.queue(lane).try_claim() {
                return;
            }
            jobs.extend(self.take_claimed(lane));
        }
    }

    fn try_large(&self) -> Option<Lane> {
        self.large.try_claim().then_some(Lane::Large)
    }

    fn try_small(&self, turn: &mut Turn) -> Option<Lane> {
        if turn.seat.is_none() {
            turn.seat = self.seats.clone().try_acquire_owned().ok().map(Seat);
        }
        (turn.seat.is_some() && self.small.try_claim()).then_some(Lane::Small)
    }

    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Small => &self.small,
            Lane::Large => &self.large,
        }
    }

    fn take_claimed(&self, lane: Lane) -> Option<Job> {
        let Waiting { job, place, since } = self.queue(lane).take_claimed()?;
        self.latencies.queue_wait.record(since.elapsed());
        self.taken.fetch_add(1, Ordering::Relaxed);
        let less = |surplus: usize| surplus.checked_sub(1);
        if self.surplus.load(Ordering::Relaxed) > 0
            && self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        {
            place.forget();
        }
        Some(job)
    }

    /// Jobs that may wait.
    pub fn capacity(&self) -> usize {
        *self.capacity.lock()
    }

    /// Jobs ever taken: how many stand before a job is its ticket less this.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Jobs waiting now.
    pub fn depth(&self) -> usize {
        self.small.depth() + self.large.depth()
    }

    /// The most jobs that waited at one time since this was last called.
    pub fn take_high_water(&self) -> usize {
        self.high_water.swap(self.depth(), Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
