//! The bounded queue between associations and writers.
//!
//! Invariant: a job holds a slot from before it is queued until a writer takes it, so the queue never exceeds its
//! capacity, however many associations there are. An association without a slot does not read its socket (back-pressure).
//! The death of a writer leaves the queue to the other writers.
//!
//! There are two lanes. From the large lane, an idle writer takes the next job and a fair share of the rest. The number
//! of writers that may do so follows the disk ([`concurrency`]). The small
//! lane holds small instances that are to be synced: one writer takes all that wait, up to a full batch, and keeps its
//! permit until it reaches the commit log. More writers would divide what one sync can serve, and each would have to be woken. A
//! further permit exists for every [`scheduler::BACKLOG`] instances that wait nevertheless.
//!
//! Group commit: one writer at a time, the leader, writes the commit log. The followers leave their batches to the next
//! write, write their files meanwhile, and take other work. One write and one sync serve the whole group, and no writer
//! sleeps until another has synced. The leader's own small files are offered to an idle writer. Once
//! [`MAX_PENDING_WRITES`] batches wait, a further writer does not join: it writes the log for its own batch alone.
//!
//! Wake-ups are LIFO: idle writers form a stack, and a job wakes at most one of them, the last that came. A large job
//! prefers the last one that went to sleep on the submitting core. No writer is woken if one that is awake will take
//! the job.

mod concurrency;
mod idle;
pub(crate) mod in_flight;
pub(crate) mod job;
mod next_task;
pub(crate) mod open_spool;
pub(crate) mod queue;
pub(crate) mod scheduler;

use std::borrow::BorrowMut;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tidegate_memory::{Location, Stage};
use tidegate_storage::{Files, SpoolFile};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub(crate) use self::concurrency::MeasuredBatch;
use self::job::{Job, PendingWrite, StoreInstance};
use self::next_task::Task;
use self::open_spool::CloseSpool;
use self::queue::Lane;
pub(crate) use self::scheduler::MAX_PENDING_WRITES;
use self::scheduler::{Workload, WriterScheduler};
use crate::gauges::latency::Latencies;
use crate::patience::Patience;

/// The types of the scheduler's values in production.
#[derive(Debug)]
pub(crate) enum Instances {}

impl Workload for Instances {
    type QueuedJob = QueuedJob;
    type Job = Job;
    type PendingWrite = PendingWrite;
    type Files = Files<Arc<StoreInstance>>;
    type Discard = Arc<SpoolFile>;
}

pub(crate) type LanePermit = scheduler::LanePermit<Instances>;
pub(crate) type WalLeader = scheduler::WalLeader<Instances>;
pub(crate) type WriterState = next_task::WriterState<Instances>;
pub(crate) type InFlight = in_flight::InFlight<Instances>;

impl CloseSpool for WriterScheduler<Instances> {
    fn close_spool(self: Arc<Self>, file: Arc<SpoolFile>) {
        Self::discard(&self, file);
    }
}

/// A job in a queue.
#[derive(Debug)]
pub(crate) struct QueuedJob {
    job: Job,
    slot: OwnedSemaphorePermit,
    queued_at: Instant,
}

/// No slot in the mailbox became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no mailbox slot became free in time")]
pub struct HandoffTimeout;

/// The mailbox all writers of the pool share.
#[derive(Debug)]
pub struct WriterMailbox {
    slots: Arc<Semaphore>,
    scheduler: Arc<WriterScheduler<Instances>>,
    /// Locked while the capacity changes.
    capacity: Mutex<usize>,
    /// Slots to be withdrawn as they are released, because the capacity was lowered below the number of waiting jobs.
    surplus: AtomicUsize,
    writers: usize,
    high_water: AtomicUsize,
    /// Jobs enqueued since the start, and taken since the start. A job's position is its ticket minus the latter.
    enqueued: AtomicU64,
    taken: AtomicU64,
    latencies: Arc<Latencies>,
}

/// The next task of a writer.
#[derive(Debug)]
pub(crate) enum WriterTask {
    /// Commit these jobs, or append their parts to spool files.
    Jobs(Vec<Job>),
    /// Write the commit log for this group, as its leader.
    Log(Vec<PendingWrite>, WalLeader),
    /// Write these files, while the leader writes the commit log for them.
    Write(Files<Arc<StoreInstance>>),
    /// Close this spool file, which is no longer needed.
    Discard(Arc<SpoolFile>),
    /// No work. The time of the next checkpoint may have changed: ask the storage again.
    Nothing,
}

impl WriterMailbox {
    /// A mailbox of `capacity` jobs for `writers` writers.
    pub fn new(capacity: usize, writers: usize, latencies: Arc<Latencies>) -> Self {
        Self {
            latencies,
            slots: Arc::new(Semaphore::new(capacity)),
            scheduler: Arc::new(WriterScheduler::new(capacity)),
            capacity: Mutex::new(capacity),
            surplus: AtomicUsize::new(0),
            writers,
            high_water: AtomicUsize::new(0),
            enqueued: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Changes the capacity, at least 1. Waiting jobs keep their slots: a lower capacity takes effect as they are
    /// taken.
    pub fn set_capacity(&self, new: usize) {
        let mut capacity = self.capacity.lock();
        let old = std::mem::replace(&mut *capacity, new);
        if new >= old {
            self.scheduler.small.make_room(new);
            self.scheduler.large.make_room(new);
            let more = new - old;
            let kept = self
                .surplus
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |surplus| Some(surplus.saturating_sub(more)))
                .unwrap_or(0);
            self.slots.add_permits(more.saturating_sub(kept));
        } else {
            let fewer = old - new;
            let gone = self.slots.forget_permits(fewer);
            self.surplus.fetch_add(fewer - gone, Ordering::Relaxed);
        }
    }

    /// Waits for a slot, then enqueues the job that `make` returns. A caller that lends its `patience` can read from it
    /// afterwards how much time the wait used up.
    ///
    /// # Errors
    /// [`HandoffTimeout`] if no slot became free within `patience`; `make` is not called then.
    pub async fn submit(
        &self,
        mut patience: impl BorrowMut<Patience>,
        make: impl FnOnce() -> Job,
    ) -> Result<(), HandoffTimeout> {
        let asked = Instant::now();
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => Some(slot),
            Err(_) => patience.borrow_mut().wait(self.slots.clone().acquire_owned()).await.ok().and_then(Result::ok),
        };
        let queued_at = Instant::now();
        self.latencies.handoff_wait.record(queued_at - asked);
        let slot = slot.ok_or(HandoffTimeout)?;
        let job = make();
        let ticket = self.enqueued.fetch_add(1, Ordering::Relaxed);
        job.each_lease(&mut |lease| lease.enter_at(Stage::Queued, Location::Mailbox { ticket }));
        let lane = job.lane();
        if !self.scheduler.lane(lane).put(QueuedJob { job, slot, queued_at }) {
            return Err(HandoffTimeout);
        }
        self.scheduler.wake_for(lane);
        self.high_water.fetch_max(self.depth(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits for a task. With the first job of a lane it returns further jobs, at most `most` in all: from the small
    /// lane all that wait, from the large lane a fair share. Their slots are free at once: jobs in flight hold no slot.
    /// Cancel safe: a caller that drops the future has taken nothing.
    pub(crate) async fn take(&self, most: usize, writer: &mut WriterState) -> WriterTask {
        let (lane, first) = match self.scheduler.next_task(writer).await {
            Task::First(lane, first) => (lane, first),
            other => {
                writer.permit = None; // another writer takes small instances meanwhile
                return match other {
                    Task::Log(group, leader) => WriterTask::Log(group, leader),
                    Task::Files(files) => WriterTask::Write(files),
                    Task::Discard(spool) => WriterTask::Discard(spool),
                    Task::First(..) | Task::Nothing => WriterTask::Nothing,
                };
            }
        };
        let share = match lane {
            Lane::Small => self.scheduler.small.depth(),
            // A writer that took every job would leave the other writers idle.
            Lane::Large => self.scheduler.large.depth() / self.writers_allowed(),
        };
        let more = std::iter::from_fn(|| self.scheduler.lane(lane).take()).take(share.min(most.saturating_sub(1)));
        WriterTask::Jobs(std::iter::once(first).chain(more).map(|waiting| self.taken(waiting)).collect())
    }

    /// Adds a batch to the group of the next write of the log, as [`WriterScheduler::join_group`].
    pub(crate) fn join_group(&self, pending: PendingWrite) -> Option<(Vec<PendingWrite>, Option<WalLeader>)> {
        self.scheduler.join_group(pending)
    }

    /// As [`WriterScheduler::note_large_batch`].
    pub(crate) fn note_large_batch(&self, batch: Option<MeasuredBatch>) {
        self.scheduler.note_large_batch(batch);
    }

    /// Gives `files` to an idle writer. Without one, the commit that needs them writes them itself.
    pub(crate) fn offload_files(&self, files: Files<Arc<StoreInstance>>) {
        self.scheduler.offload_files(files);
    }

    /// Wakes writers for the waiting work, because this writer will not take it.
    pub(crate) fn wake_for_backlog(&self) {
        self.scheduler.wake_for_backlog();
    }

    /// A list of jobs in flight for a writer that starts.
    pub(crate) fn in_flight(&self) -> InFlight {
        InFlight::new(self.scheduler.clone())
    }

    /// Closes the spool files that an association gives up.
    pub(crate) fn spool_closer(&self) -> Weak<dyn CloseSpool> {
        let scheduler: Arc<dyn CloseSpool> = self.scheduler.clone();
        Arc::downgrade(&scheduler)
    }

    fn taken(&self, QueuedJob { job, slot, queued_at }: QueuedJob) -> Job {
        self.latencies.queue_wait.record(queued_at.elapsed());
        self.taken.fetch_add(1, Ordering::Relaxed);
        let less = |surplus: usize| surplus.checked_sub(1);
        if self.surplus.load(Ordering::Relaxed) > 0
            && self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        {
            slot.forget();
        }
        job
    }

    /// Writers that may take large jobs at a time; at most [`Self::writers`].
    pub(crate) fn writers_allowed(&self) -> usize {
        self.scheduler.large_writers(self.writers)
    }

    /// The number of writers in the pool.
    pub(crate) fn writers(&self) -> usize {
        self.writers
    }

    /// The number of jobs that may wait.
    pub fn capacity(&self) -> usize {
        *self.capacity.lock()
    }

    /// Jobs taken since the start. The number of jobs before a waiting job is its ticket minus this.
    pub(crate) fn taken_so_far(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The number of jobs that wait now.
    pub fn depth(&self) -> usize {
        self.scheduler.depth()
    }

    /// The largest number of jobs that waited at one time since the last call.
    pub fn take_high_water(&self) -> usize {
        self.high_water.swap(self.depth(), Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
