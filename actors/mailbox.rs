//! The bounded way from associations to writers.
//!
//! A job needs a place before it can be sent, and keeps the place until a writer takes it: nobody can enqueue past the
//! capacity, however many associations there are. Any idle writer takes the next job; a dead one leaves the queue to the
//! others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
use tidegate_memory::{MemoryLease, Place, Stage};
use tidegate_storage::meta::FileMeta;
use tidegate_storage::{Instance, SpoolFile, StoreError, Stored};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use crate::latency::Latencies;

/// Work for a writer. The association keeps its share of it, so that it outlives a writer: if `reply` is dropped instead of
/// answered, the writer is gone, and the work is handed to another.
#[derive(Debug)]
pub enum Job {
    /// Make an instance durable.
    Commit(CommitJob),
    /// Move part of a large dataset to its spool file.
    Append(AppendJob),
}

impl Job {
    /// Shows every lease that pays for the job's bytes.
    pub(crate) fn each_lease(&self, see: &mut dyn FnMut(&Arc<MemoryLease>)) {
        match self {
            Self::Commit(job) => job.store.leases.iter().for_each(see),
            Self::Append(job) => {
                job.part.content.lock().iter().for_each(|content| content.leases.iter().for_each(&mut *see))
            }
        }
    }
}

/// A complete dataset and the leases that pay for it.
#[derive(Debug)]
pub struct StoreInstance {
    /// What to store.
    pub instance: Instance,
    /// Pays for its slices.
    pub leases: Vec<Arc<MemoryLease>>,
}

/// Make an instance durable.
#[derive(Debug)]
pub struct CommitJob {
    /// Shared with the association.
    pub store: Arc<StoreInstance>,
    /// The outcome.
    pub reply: oneshot::Sender<Result<Stored, StoreError>>,
}

/// Write part of a dataset to its spool file.
#[derive(Debug)]
pub struct AppendJob {
    /// Shared with the association.
    pub part: Arc<SpoolPart>,
    /// The spool file, with the bytes in it.
    pub reply: oneshot::Sender<Result<Arc<SpoolFile>, StoreError>>,
}

/// Part of a dataset on its way to the spool file. It may be written more than once, to the same place.
#[derive(Debug)]
pub struct SpoolPart {
    /// The spool file so far, or what a new one begins with.
    pub spool: SpoolTarget,
    /// Where in the dataset the part begins.
    pub offset_bytes: u64,
    /// Taken out by the writer that has written it, so that its memory is free at once.
    pub content: Mutex<Option<SpoolContent>>,
}

/// Bytes, and the leases that pay for them.
#[derive(Clone, Debug)]
pub struct SpoolContent {
    /// The bytes, in order.
    pub slices: Vec<Bytes>,
    /// Pays for them.
    pub leases: Vec<Arc<MemoryLease>>,
}

/// Where a [`SpoolPart`] goes.
#[derive(Debug)]
pub enum SpoolTarget {
    /// A new spool file for an instance with this file meta.
    New(FileMeta),
    /// One that has been begun.
    Open(Arc<SpoolFile>),
}

/// No place in the mailbox became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no writer took the dataset in time")]
pub struct HandoffTimeout;

/// The mailbox all writers of the pool share.
#[derive(Debug)]
pub struct WriterMailbox {
    places: Arc<Semaphore>,
    /// One permit for each job in the queue.
    waiting: Semaphore,
    /// Replaced by a longer one when the capacity outgrows it; locked for as long as a job goes in or out.
    queue: RwLock<Queue>,
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

#[derive(Debug)]
struct Queue {
    sender: Sender<Waiting>,
    receiver: Receiver<Waiting>,
}

/// A job in the queue.
#[derive(Debug)]
struct Waiting {
    job: Job,
    place: OwnedSemaphorePermit,
    since: Instant,
}

impl Queue {
    fn new(capacity: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        Self { sender, receiver }
    }
}

impl WriterMailbox {
    /// A mailbox of `capacity` jobs for `writers` writers.
    pub fn new(capacity: usize, writers: usize, latencies: Arc<Latencies>) -> Self {
        Self {
            latencies,
            places: Arc::new(Semaphore::new(capacity)),
            waiting: Semaphore::new(0),
            queue: RwLock::new(Queue::new(capacity)),
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
            self.make_room(new);
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

    fn make_room(&self, capacity: usize) {
        let mut queue = self.queue.write();
        if queue.sender.capacity().is_some_and(|room| room < capacity) {
            let longer = Queue::new(capacity);
            for job in queue.receiver.try_iter() {
                let _ = longer.sender.try_send(job); // there is room for all of them
            }
            *queue = longer;
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
        // Cannot be full: the place is ours. Cannot be closed: both ends live in self.
        if self.queue.read().sender.try_send(Waiting { job, place, since }).is_err() {
            return Err(HandoffTimeout);
        }
        self.high_water.fetch_max(self.depth(), Ordering::Relaxed);
        self.waiting.add_permits(1);
        Ok(())
    }

    /// Waits for a job, then takes it and a fair share of what else waits, at most `most`, into `jobs`. The places are free
    /// again at once: what a writer has in hand does not wait. Whoever stops waiting has taken nothing.
    pub async fn take(&self, most: usize, jobs: &mut Vec<Job>) {
        let Ok(permit) = self.waiting.acquire().await else {
            return;
        };
        permit.forget();
        jobs.extend(self.take_one());
        // An idle writer that took all there is would leave the others nothing to do side by side.
        let share = self.depth().div_ceil(self.writers).min(most.saturating_sub(1));
        for _ in 0..share {
            let Ok(permit) = self.waiting.try_acquire() else {
                return;
            };
            permit.forget();
            jobs.extend(self.take_one());
        }
    }

    fn take_one(&self) -> Option<Job> {
        let Waiting { job, place, since } = self.queue.read().receiver.try_recv().ok()?;
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
        self.queue.read().receiver.len()
    }

    /// The most jobs that waited at one time since this was last called.
    pub fn take_high_water(&self) -> usize {
        self.high_water.swap(self.depth(), Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_storage::uid::Uid;

    fn job() -> Job {
        let uid = || Uid::parse(b"1.2.3").unwrap();
        let spool = SpoolTarget::New(FileMeta {
            sop_class_uid: uid(),
            sop_instance_uid: uid(),
            transfer_syntax_uid: String::new(),
            source_ae_title: String::new(),
            sending_ae_title: String::new(),
            receiving_ae_title: String::new(),
        });
        let part = Arc::new(SpoolPart { spool, offset_bytes: 0, content: Mutex::default() });
        Job::Append(AppendJob { part, reply: oneshot::channel().0 })
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
        let (handed, ()) = tokio::join!(mailbox.hand_over(PATIENCE, job), mailbox.take(1, &mut taken));
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
        mailbox.take(16, &mut taken).await;
        assert_eq!(taken.len(), 3, "one, and a quarter of the other eight");
        taken.clear();
        mailbox.take(1, &mut taken).await;
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
        mailbox.take(5, &mut taken).await;
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
        mailbox.take(2, &mut taken).await;
        assert_eq!(places(&mailbox).await, 0, "two still wait");
        mailbox.take(1, &mut taken).await;
        assert_eq!(places(&mailbox).await, 1);
        mailbox.take(8, &mut taken).await;
        assert_eq!((taken.len(), places(&mailbox).await), (5, 2));
        // Back again, with places still to be taken away.
        mailbox.set_capacity(1);
        mailbox.set_capacity(6);
        mailbox.take(8, &mut taken).await;
        assert_eq!(places(&mailbox).await, 6);
    }
}
