//! The scheduler: it assigns the work that waits to the writers.
//!
//! Invariant: while work waits, a writer is awake that will take it, or is at work and will look again. The scheduler moves the values of a
//! [`Workload`] and never inspects them, so `tests/schedules` drives it with values of its own.

use std::fmt::Debug;
use std::sync::Arc;

use super::concurrency::{Concurrency, MeasuredBatch};
use super::idle::{Asleep, IdleWriters};
use super::queue::{Lane, Queue};
use crate::sync::{Mutex, MutexGuard};

/// Small instances that must wait before one more writer is woken for them.
pub(crate) const BACKLOG: usize = 16;

/// Most batches that wait for the next frame. Above, a writer writes its own.
pub(crate) const MAX_PENDING_WRITES: usize = 16;

/// Most spool files that wait to be closed by a writer. Above, the dropping thread closes the file.
pub(crate) const MAX_DISCARDS: usize = 64;

/// The values that are scheduled.
pub(crate) trait Workload: Debug + Sized + 'static {
    /// A job in a queue.
    type QueuedJob: Debug;
    /// A job in flight at a writer.
    type Job: Debug;
    /// A batch that waits for the next frame.
    type PendingWrite: Debug;
    /// Temp files to be written while the leader writes their frame.
    type Files: Debug;
    /// A spool file to be closed.
    type Discard: Debug;
}

/// The work that waits, and the writers.
#[derive(Debug)]
pub(crate) struct WriterScheduler<W: Workload> {
    pub(crate) small: Queue<W::QueuedJob>,
    pub(crate) large: Queue<W::QueuedJob>,
    /// Locked by a writer that takes work, and by a thread after it has added work.
    pub(super) state: Mutex<State<W>>,
}

/// The idle writers, the permits, and the work outside of the queues.
#[derive(Debug)]
pub(super) struct State<W: Workload> {
    pub(super) idle: IdleWriters<LanePermit<W>>,
    /// Writers that have neither ended nor been fenced.
    attached: usize,
    /// Writers with a permit, by lane.
    active: [usize; 2],
    concurrency: Concurrency,
    pending_writes: Vec<W::PendingWrite>,
    has_wal_leader: bool,
    /// Files to be written by writers that were woken for them.
    pub(super) files: Vec<W::Files>,
    pub(super) discards: Vec<W::Discard>,
}

/// Keeps a writer counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Attached<W: Workload>(Arc<WriterScheduler<W>>);

/// The permit to take jobs of a lane, until it is dropped.
#[derive(Debug)]
pub(crate) struct LanePermit<W: Workload> {
    lane: Lane,
    /// `None` once it was returned.
    scheduler: Option<Arc<WriterScheduler<W>>>,
}

/// Leadership of the group commit, until it is dropped.
#[derive(Debug)]
pub(crate) struct WalLeader<W: Workload>(Arc<WriterScheduler<W>>);

impl<W: Workload> LanePermit<W> {
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }
}

impl<W: Workload> WriterScheduler<W> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State {
            idle: IdleWriters::default(),
            attached: 0,
            active: [0; 2],
            concurrency: Concurrency::default(),
            pending_writes: Vec::new(),
            has_wal_leader: false,
            files: Vec::new(),
            discards: Vec::new(),
        };
        Self { small: Queue::new(capacity), large: Queue::new(capacity), state: Mutex::new(state) }
    }

    pub(crate) fn lane(&self, lane: Lane) -> &Queue<W::QueuedJob> {
        match lane {
            Lane::Small => &self.small,
            Lane::Large => &self.large,
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.small.depth() + self.large.depth()
    }

    /// Counts a writer that has started.
    pub(crate) fn attach(self: &Arc<Self>) -> Attached<W> {
        self.state.lock().attached += 1;
        Attached(Arc::clone(self))
    }

    /// Wakes a writer for a job that was put into the lane, unless a writer that is awake will take it.
    pub(crate) fn wake_for(self: &Arc<Self>, lane: Lane) {
        self.wake_next(self.state.lock(), lane);
    }

    /// Wakes writers for all waiting work, after a writer turns away from it.
    pub(crate) fn wake_for_backlog(self: &Arc<Self>) {
        if self.small.depth() > 0 {
            self.wake_for(Lane::Small);
        }
        let state = self.state.lock();
        if state.has_unclaimed() {
            Self::wake_any(state);
        } else {
            self.wake_next(state, Lane::Large);
        }
    }

    /// Wakes writers after the end of a writer. The checkpoint that it caused, or was to make, may be due and no sleeping writer may have a
    /// timer for it, so one of them asks the storage again.
    pub(crate) fn wake_after_exit(self: &Arc<Self>) {
        self.wake_for_backlog();
        let mut state = self.state.lock();
        if let Some(asleep) = state.idle.next(Lane::Small) {
            wake(state, asleep, None);
        }
    }

    /// Wakes a writer for the jobs of the lane, if one more may take them.
    fn wake_next(self: &Arc<Self>, mut state: MutexGuard<'_, State<W>>, lane: Lane) {
        if self.permits_another(&state, lane)
            && let Some(asleep) = state.idle.next(lane)
        {
            let permit = state.permit(self, lane);
            wake(state, asleep, Some(permit));
        }
    }

    /// Wakes a writer for work outside of the queues.
    fn wake_any(mut state: MutexGuard<'_, State<W>>) {
        if let Some(asleep) = state.idle.next(Lane::Large) {
            wake(state, asleep, None);
        }
    }

    /// Whether one more writer may take jobs of the lane: enough small instances wait for it, or the disk can serve one more large job.
    pub(super) fn permits_another(&self, state: &State<W>, lane: Lane) -> bool {
        let (waiting, active) = (self.lane(lane).depth(), state.active[lane as usize]);
        match lane {
            Lane::Small => waiting > active * BACKLOG,
            Lane::Large => waiting > 0 && state.concurrency.permits(active),
        }
    }

    /// Writers of `writers` that may take large jobs at a time.
    pub(crate) fn large_writers(&self, writers: usize) -> usize {
        self.state.lock().concurrency.limit(writers)
    }

    /// Adapts the number of writers that may take large jobs, after each batch of them; `None` if its time does not tell the speed of the
    /// disk.
    pub(crate) fn note_large_batch(self: &Arc<Self>, batch: Option<MeasuredBatch>) {
        let mut state = self.state.lock();
        let (writers, is_waiting) = (state.attached, self.large.depth() > 0);
        if state.concurrency.note(batch, writers, is_waiting) {
            self.wake_next(state, Lane::Large);
        }
    }

    /// Takes the waiting group and the leadership, if there is no leader.
    pub(super) fn try_lead(self: &Arc<Self>, state: &mut State<W>) -> Option<(Vec<W::PendingWrite>, WalLeader<W>)> {
        if state.has_wal_leader || state.pending_writes.is_empty() {
            return None;
        }
        state.has_wal_leader = true;
        Some((std::mem::take(&mut state.pending_writes), WalLeader(Arc::clone(self))))
    }

    /// Adds a batch to the group of the next frame. `Some`: the caller writes the frame, as the leader for the whole group; or, without a
    /// [`WalLeader`], for its own batch alone, because the group is full.
    #[expect(clippy::type_complexity, reason = "said in the line above")]
    pub(crate) fn join_group(
        self: &Arc<Self>,
        pending: W::PendingWrite,
    ) -> Option<(Vec<W::PendingWrite>, Option<WalLeader<W>>)> {
        let mut state = self.state.lock();
        if state.has_wal_leader && state.pending_writes.len() >= MAX_PENDING_WRITES {
            return Some((vec![pending], None));
        }
        state.pending_writes.push(pending);
        self.try_lead(&mut state).map(|(group, leader)| (group, Some(leader)))
    }

    /// Has an idle writer write `files`, if there is one.
    pub(crate) fn offload_files(self: &Arc<Self>, files: W::Files) {
        let mut state = self.state.lock();
        if !state.idle.is_empty() {
            state.files.push(files);
            Self::wake_any(state);
        }
    }

    /// Has a writer drop `discard`. Without a writer, or if the list is full, the caller's thread drops it.
    pub(crate) fn discard(self: &Arc<Self>, discard: W::Discard) {
        let mut state = self.state.lock();
        if state.attached == 0 || state.discards.len() >= MAX_DISCARDS {
            drop(state); // not under the lock: dropping takes long
            drop(discard);
        } else {
            state.discards.push(discard);
            Self::wake_any(state);
        }
    }
}

/// Wakes a writer that was removed from `IdleWriters`.
fn wake<W: Workload>(
    mut state: MutexGuard<'_, State<W>>,
    Asleep { number, waker, .. }: Asleep,
    permit: Option<LanePermit<W>>,
) {
    state.idle.set_woken(number, permit);
    drop(state);
    waker.wake();
}

impl<W: Workload> State<W> {
    pub(super) fn permit(&mut self, scheduler: &Arc<WriterScheduler<W>>, lane: Lane) -> LanePermit<W> {
        self.active[lane as usize] += 1;
        LanePermit { lane, scheduler: Some(Arc::clone(scheduler)) }
    }

    pub(super) fn return_permit(&mut self, permit: Option<LanePermit<W>>) {
        if let Some(mut permit) = permit {
            self.active[permit.lane as usize] -= 1;
            permit.scheduler = None;
        }
    }

    /// Whether work outside of the queues waits that a writer could take.
    fn has_unclaimed(&self) -> bool {
        (!self.has_wal_leader && !self.pending_writes.is_empty()) || !self.files.is_empty() || !self.discards.is_empty()
    }
}

impl<W: Workload> Drop for Attached<W> {
    /// The last writer drops the remaining discards: no other writer will.
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.attached -= 1;
        let left = if state.attached == 0 { std::mem::take(&mut state.discards) } else { Vec::new() };
        drop(state);
        drop(left);
    }
}

impl<W: Workload> Drop for LanePermit<W> {
    fn drop(&mut self) {
        if let Some(scheduler) = self.scheduler.take() {
            let mut state = scheduler.state.lock();
            state.active[self.lane as usize] -= 1;
            scheduler.wake_next(state, self.lane);
        }
    }
}

impl<W: Workload> Drop for WalLeader<W> {
    fn drop(&mut self) {
        // Wakes no writer: the former leader looks for work at once, or has died, which wakes the others.
        self.0.state.lock().has_wal_leader = false;
    }
}

/// Queries of `tests/schedules`.
#[cfg(test)]
#[allow(dead_code, reason = "the unit tests do not")]
impl<W: Workload> WriterScheduler<W> {
    /// Whether small instances wait for which one more writer should be awake, though one sleeps.
    pub(crate) fn is_small_forgotten(&self) -> bool {
        let state = self.state.lock();
        self.permits_another(&state, Lane::Small) && !state.idle.is_empty()
    }

    /// Open counts, each 0 when nothing is under way: jobs that wait, permits of either lane, leaders, batches, files and discards
    /// that wait, writers.
    pub(crate) fn open_counts(&self) -> [usize; 8] {
        let state = self.state.lock();
        let State { active, has_wal_leader, pending_writes, files, discards, attached, .. } = &*state;
        [
            self.depth(),
            active[0],
            active[1],
            usize::from(*has_wal_leader),
            pending_writes.len(),
            files.len(),
            discards.len(),
            *attached,
        ]
    }
}
