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
mod tests {
    use super::*;
    use crate::job::{AppendJob, CommitJob, SpoolPart, SpoolTarget, StoreInstance};
    use bytes::Bytes;
    use tidegate_storage::head::Head;
    use tidegate_storage::meta::FileMeta;
    use tidegate_storage::uid::Uid;
    use tidegate_storage::{Instance, Payload};
    use tokio::sync::oneshot;

    fn meta() -> FileMeta {
        let uid = || Uid::parse(b"1.2.3").unwrap();
        FileMeta {
            sop_class_uid: uid(),
            sop_instance_uid: uid(),
            transfer_syntax_uid: String::new(),
            source_ae_title: String::new(),
            sending_ae_title: String::new(),
            receiving_ae_title: String::new(),
        }
    }

    fn job() -> Job {
        let spool = SpoolTarget::New(meta());
        let part = Arc::new(SpoolPart { spool, offset_bytes: 0, content: Mutex::default() });
        Job::Append(AppendJob { part, reply: oneshot::channel().0 })
    }

    fn small_job() -> Job {
        let payload = Payload::Memory(vec![Bytes::from_static(b"small")]);
        let instance = Instance::new(meta(), Head::default(), payload);
        let store = Arc::new(StoreInstance { instance, leases: Vec::new() });
        Job::Commit(CommitJob { store, lane: Lane::Small, reply: oneshot::channel().0 })
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    fn mailbox(capacity: usize, writers: usize) -> WriterMailbox {
        WriterMailbox::new(capacity, writers, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_jobs_than_places_however_many_senders_try() {
        let mailbox = mailbox(4, 1);
        let senders = (0..100).map(|_| mailbox.hand_over(PATIENCE, job));
        let handed = futures_util::future::join_all(senders).await;
        assert_eq!(handed.iter().filter(|result| result.is_ok()).count(), 4);
        assert_eq!((mailbox.depth(), mailbox.take_high_water()), (4, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_as_soon_as_a_writer_has_taken_the_job() {
        let mailbox = mailbox(1, 1);
        mailbox.hand_over(PATIENCE, job).await.unwrap();
        let mut taken = Vec::new();
        let mut turn = Turn::default();
        let (handed, ()) = tokio::join!(mailbox.hand_over(PATIENCE, job), mailbox.take(1, &mut turn, &mut taken));
        assert_eq!(handed, Ok(()));
        assert_eq!((taken.len(), mailbox.depth()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_leaves_the_others_their_share() {
        let mailbox = mailbox(16, 4);
        for _ in 0..9 {
            mailbox.hand_over(PATIENCE, job).await.unwrap();
        }
        let mut taken = Vec::new();
        mailbox.take(16, &mut Turn::default(), &mut taken).await;
        assert_eq!(taken.len(), 3, "one, and a quarter of the other eight");
        taken.clear();
        mailbox.take(1, &mut Turn::default(), &mut taken).await;
        assert_eq!(taken.len(), 1, "never more than asked for");
        assert_eq!(mailbox.depth(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_found_no_place_is_not_even_made() {
        let mailbox = mailbox(1, 1);
        mailbox.hand_over(PATIENCE, job).await.unwrap();
        let late = mailbox.hand_over(PATIENCE, || unreachable!()).await;
        assert_eq!(late, Err(HandoffTimeout));
    }

    /// Jobs that find a place within no time.
    async fn places(mailbox: &WriterMailbox) -> usize {
        let mut found = 0;
        while mailbox.hand_over(Duration::ZERO, job).await.is_ok() {
            found += 1;
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn a_capacity_that_grows_lets_more_in_and_loses_nothing_that_waits() {
        let mailbox = mailbox(2, 1);
        assert_eq!(places(&mailbox).await, 2);
        mailbox.set_capacity(5);
        assert_eq!((places(&mailbox).await, mailbox.depth()), (3, 5));
        let mut taken = Vec::new();
        mailbox.take(5, &mut Turn::default(), &mut taken).await;
        assert_eq!((taken.len(), mailbox.depth()), (5, 0));
        assert_eq!(places(&mailbox).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_capacity_that_shrinks_holds_once_what_waits_has_gone() {
        let mailbox = mailbox(6, 1);
        for _ in 0..4 {
            mailbox.hand_over(PATIENCE, job).await.unwrap();
        }
        mailbox.set_capacity(2);
        assert_eq!(places(&mailbox).await, 0, "four wait where two may");
        let mut taken = Vec::new();
        mailbox.take(2, &mut Turn::default(), &mut taken).await;
        assert_eq!(places(&mailbox).await, 0, "two still wait");
        mailbox.take(1, &mut Turn::default(), &mut taken).await;
        assert_eq!(places(&mailbox).await, 1);
        mailbox.take(8, &mut Turn::default(), &mut taken).await;
        assert_eq!((taken.len(), places(&mailbox).await), (5, 2));
        // Back again, with places still to be taken away.
        mailbox.set_capacity(1);
        mailbox.set_capacity(6);
        mailbox.take(8, &mut Turn::default(), &mut taken).await;
        assert_eq!(places(&mailbox).await, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn small_instances_are_taken_all_at_once_by_two_writers_at_a_time() {
        let mailbox = mailbox(16, 4);
        let mut turns = [Turn::default(), Turn::default(), Turn::default()];
        let mut taken = Vec::new();
        for turn in &mut turns[..SEATS] {
            for _ in 0..3 {
                mailbox.hand_over(PATIENCE, small_job).await.unwrap();
            }
            mailbox.take(16, turn, &mut taken).await;
        }
        assert_eq!((taken.len(), mailbox.depth()), (6, 0));
        // Another finds no seat, but what is large.
        taken.clear();
        mailbox.hand_over(PATIENCE, small_job).await.unwrap();
        mailbox.hand_over(PATIENCE, job).await.unwrap();
        mailbox.take(16, &mut turns[2], &mut taken).await;
        assert!(matches!(taken[..], [Job::Append(_)]), "{taken:?}");
        taken.clear();
        assert!(timeout(PATIENCE, mailbox.take(16, &mut turns[2], &mut taken)).await.is_err());
        assert!(taken.is_empty());
        // One that has got as far, or has died, leaves its seat to it.
        turns[0].seat = None;
        mailbox.take(16, &mut turns[2], &mut taken).await;
        assert_eq!(taken.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_writer_alone_serves_both_lanes_in_turn() {
        let mailbox = mailbox(16, 1);
        let (mut turn, mut order) = (Turn::default(), Vec::new());
        for _ in 0..4 {
            mailbox.hand_over(PATIENCE, job).await.unwrap();
        }
        for _ in 0..4 {
            mailbox.hand_over(PATIENCE, small_job).await.unwrap();
            let mut taken = Vec::new();
            mailbox.take(1, &mut turn, &mut taken).await;
            turn.seat = None;
            order.push(taken[0].lane());
        }
        assert_eq!(order, [Lane::Small, Lane::Large, Lane::Small, Lane::Large]);
    }
}
