//! The bounded way from associations to writers.
//!
//! A job needs a slot before it can be sent, and keeps the slot until a writer takes it: nobody can enqueue past the
//! capacity, however many associations there are. A dead writer leaves the queue to the others.
//!
//! There are two lanes. In general an idle writer takes the next job and a fair share of the rest. Of small instances that are to
//! be synced one writer takes all that wait, and keeps its permit until it is at the commit log: more writers would divide between
//! them what one sync serves, and each would have to be woken. There is a second permit while [`scheduler::BACKLOG`] instances wait all the
//! same, and so on.
//!
//! What goes through the log waits for the next write of that, which one writer makes at a time. The others leave it theirs, write
//! the files and go on: one write and one sync serve all of it, and nobody sleeps until somebody else has synced. The files of the
//! one who is at the log are offered to a writer without work.
//!
//! Writers that wait form a stack. A job wakes one of them, the one that came last, for a large job of those on the core that has it;
//! none if those who are awake will see to it.

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

use self::job::{Job, PendingWrite, StoreInstance};
use self::next_task::Task;
use self::open_spool::CloseSpool;
use self::queue::Lane;
pub(crate) use self::scheduler::MAX_PENDING_WRITES;
use self::scheduler::{Workload, WriterScheduler};
use crate::gauges::latency::Latencies;
use crate::patience::Patience;

/// The workload of the real writers.
#[derive(Debug)]
pub(crate) enum Instances {}

impl Workload for Instances {
    type QueuedJob = QueuedJob;
    type Job = Job;
    type PendingWrite = PendingWrite;
    type Files = Files<Arc<StoreInstance>>;
    type Discard = Arc<SpoolFile>;
}

pub(crate) type SmallBatchPermit = scheduler::SmallBatchPermit<Instances>;
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
#[error("no writer took the dataset in time")]
pub struct HandoffTimeout;

/// The mailbox all writers of the pool share.
#[derive(Debug)]
pub struct WriterMailbox {
    slots: Arc<Semaphore>,
    scheduler: Arc<WriterScheduler<Instances>>,
    /// Held while the capacity changes.
    capacity: Mutex<usize>,
    /// Slots to be taken away as they come free, because the capacity became smaller than what waits.
    surplus: AtomicUsize,
    writers: usize,
    high_water: AtomicUsize,
    /// Jobs ever enqueued, and ever taken: a job's ticket less the latter is its position.
    enqueued: AtomicU64,
    taken: AtomicU64,
    latencies: Arc<Latencies>,
}

/// What a writer is to do.
#[derive(Debug)]
pub(crate) enum WriterTask {
    /// Commit these, or append them to spool files.
    Jobs(Vec<Job>),
    /// Write the commit log for these.
    Log(Vec<PendingWrite>, WalLeader),
    /// Write these files, while somebody else writes the commit log for them.
    Write(Files<Arc<StoreInstance>>),
    /// Close this spool file, which nobody needs.
    Discard(Arc<SpoolFile>),
    /// Look again when the storage wants to be tended: that may have changed.
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

    /// Changes the capacity, at least 1. Jobs that wait keep their slots: a smaller capacity holds as soon as they are taken.
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

    /// Waits for a slot, then enqueues the job that `make` returns. A caller that lends its `patience` knows afterwards what the wait
    /// has used up.
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

    /// Waits for something to do. Of jobs it gives what else waits in the lane, at most `most`: of small ones, all; of large ones, a
    /// fair share. The slots are free again at once: jobs in flight take no slot. Whoever stops waiting has taken
    /// nothing.
    pub(crate) async fn take(&self, most: usize, writer: &mut WriterState) -> WriterTask {
        let (lane, first) = match self.scheduler.next_task(writer).await {
            Task::First(lane, first) => (lane, first),
            other => {
                writer.permit = None; // others take small instances meanwhile
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
            // An idle writer that took all there is would leave the others nothing to do side by side.
            Lane::Large => {
                writer.permit = None;
                self.scheduler.large.depth() / self.writers
            }
        };
        let more = std::iter::from_fn(|| self.scheduler.lane(lane).take()).take(share.min(most.saturating_sub(1)));
        WriterTask::Jobs(std::iter::once(first).chain(more).map(|waiting| self.taken(waiting)).collect())
    }

    /// Adds a batch to the group of the next write of the log, as [`WriterScheduler::join_group`].
    pub(crate) fn join_group(&self, pending: PendingWrite) -> Option<(Vec<PendingWrite>, Option<WalLeader>)> {
        self.scheduler.join_group(pending)
    }

    /// Has a writer that has nothing to do write `files`; if there is none, whoever needs them does.
    pub(crate) fn offload_files(&self, files: Files<Arc<StoreInstance>>) {
        self.scheduler.offload_files(files);
    }

    /// Has writers come for what waits, because this one does not.
    pub(crate) fn wake_for_backlog(&self) {
        self.scheduler.wake_for_backlog();
    }

    /// What a writer that starts works at.
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
        self.scheduler.depth()
    }

    /// The most jobs that waited at one time since this was last called.
    pub fn take_high_water(&self) -> usize {
        self.high_water.swap(self.depth(), Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
