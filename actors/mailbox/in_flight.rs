//! The jobs in flight at a writer, which the supervisor can drain to fence the writer.
//!
//! Invariant: a drained `InFlight` stays empty, so a fenced writer that wakes up finds no job to answer. Draining drops the replies, and a
//! dropped reply makes the association retry: it submits the same instance to another writer.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mailbox::queue::Lane;
use crate::mailbox::scheduler::{Attached, LanePermit, WalLeader, Workload, WriterScheduler};
use crate::sync::Mutex;

/// The jobs in flight at a writer, and its permits. Shared with the supervisor.
#[derive(Debug)]
pub(crate) struct InFlight<W: Workload> {
    scheduler: Arc<WriterScheduler<W>>,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W: Workload> {
    jobs: VecDeque<W::Job>,
    permit: Option<LanePermit<W>>,
    leader: Option<WalLeader<W>>,
    /// `None` once the writer has ended or was fenced. A fenced writer may wake up at any later moment. It holds
    /// nothing from then on, because nothing would drain it if it stopped once more.
    attached: Option<Attached<W>>,
}

impl<W: Workload> InFlight<W> {
    /// An empty list for a writer that starts.
    pub(crate) fn new(scheduler: Arc<WriterScheduler<W>>) -> Self {
        let attached = Some(scheduler.attach());
        let state = Mutex::new(State { jobs: VecDeque::new(), permit: None, leader: None, attached });
        Self { scheduler, state }
    }

    /// Takes up a batch. `false`: the writer was fenced, and other writers get the batch.
    #[must_use]
    pub(crate) fn begin(&self, jobs: Vec<W::Job>, permit: Option<LanePermit<W>>) -> bool {
        self.begin_all(jobs, permit, None)
    }

    /// Takes up the next write of the commit log, with the jobs of its group. `false`: as for [`Self::begin`].
    #[must_use]
    pub(crate) fn begin_group(&self, jobs: Vec<W::Job>, leader: Option<WalLeader<W>>) -> bool {
        self.begin_all(jobs, None, leader)
    }

    fn begin_all(&self, jobs: Vec<W::Job>, permit: Option<LanePermit<W>>, leader: Option<WalLeader<W>>) -> bool {
        let mut state = self.state.lock();
        if state.attached.is_none() {
            return false; // the arguments are dropped after the lock
        }
        (state.jobs, state.permit, state.leader) = (jobs.into(), permit, leader);
        true
    }

    pub(crate) fn take_permit(&self) -> Option<LanePermit<W>> {
        self.state.lock().permit.take()
    }

    /// Returns the permit if it is one for the lane.
    pub(crate) fn drop_permit_for(&self, lane: Lane) {
        let permit = self.state.lock().permit.take_if(|permit| permit.lane() == lane);
        drop(permit); // after the lock
    }

    /// Resigns as leader: any writer may make the next write of the commit log.
    pub(crate) fn resign_leader(&self) {
        self.state.lock().leader = None;
    }

    /// Takes the jobs. Empty if they were drained meanwhile.
    pub(crate) fn take_jobs(&self) -> Vec<W::Job> {
        std::mem::take(&mut self.state.lock().jobs).into()
    }

    /// Takes the first job. `None` if the jobs were drained meanwhile.
    pub(crate) fn pop(&self) -> Option<W::Job> {
        self.state.lock().jobs.pop_front()
    }

    /// Takes everything, for good. The jobs serve the record of the writer's end; once dropped, they are submitted
    /// again.
    pub(crate) fn drain(&self) -> Vec<W::Job> {
        let (jobs, rights) = {
            let mut state = self.state.lock();
            let jobs = std::mem::take(&mut state.jobs);
            (jobs, (state.permit.take(), state.leader.take(), state.attached.take()))
        };
        drop(rights);
        self.scheduler.wake_after_exit();
        jobs.into()
    }
}
