//! What a writer works at, where the supervisor can take it away: the replies are dropped then, which tells the associations to submit
//! their datasets to another writer.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mailbox::scheduler::{Attached, SmallBatchPermit, WalLeader, Workload, WriterScheduler};
use crate::sync::Mutex;

/// What a writer works at. Shared with the supervisor.
#[derive(Debug)]
pub(crate) struct InFlight<W: Workload> {
    scheduler: Arc<WriterScheduler<W>>,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W: Workload> {
    jobs: VecDeque<W::Job>,
    permit: Option<SmallBatchPermit<W>>,
    leader: Option<WalLeader<W>>,
    /// `None` once the writer has ended or was given up. A writer that was given up may wake up at any moment later: nothing is held
    /// from then on, since nobody would take it away if that writer stopped once more.
    attached: Option<Attached<W>>,
}

impl<W: Workload> InFlight<W> {
    /// For a writer that starts.
    pub(crate) fn new(scheduler: Arc<WriterScheduler<W>>) -> Self {
        let attached = Some(scheduler.attach());
        let state = Mutex::new(State { jobs: VecDeque::new(), permit: None, leader: None, attached });
        Self { scheduler, state }
    }

    /// Takes up a batch. `false`: the writer was given up, and the batch goes to others.
    #[must_use]
    pub(crate) fn begin(&self, jobs: Vec<W::Job>, permit: Option<SmallBatchPermit<W>>) -> bool {
        self.begin_all(jobs, permit, None)
    }

    /// Takes up the next write of the commit log with the jobs that wait for it. `false`, as for [`Self::begin`].
    #[must_use]
    pub(crate) fn begin_group(&self, jobs: Vec<W::Job>, leader: Option<WalLeader<W>>) -> bool {
        self.begin_all(jobs, None, leader)
    }

    fn begin_all(&self, jobs: Vec<W::Job>, permit: Option<SmallBatchPermit<W>>, leader: Option<WalLeader<W>>) -> bool {
        let mut state = self.state.lock();
        if state.attached.is_none() {
            return false; // the arguments are dropped after the lock
        }
        (state.jobs, state.permit, state.leader) = (jobs.into(), permit, leader);
        true
    }

    pub(crate) fn take_permit(&self) -> Option<SmallBatchPermit<W>> {
        self.state.lock().permit.take()
    }

    /// The next write of the commit log is anybody's.
    pub(crate) fn resign_leader(&self) {
        self.state.lock().leader = None;
    }

    /// The jobs, unless they were taken away meanwhile.
    pub(crate) fn take_jobs(&self) -> Vec<W::Job> {
        std::mem::take(&mut self.state.lock().jobs).into()
    }

    /// The first of them.
    pub(crate) fn pop(&self) -> Option<W::Job> {
        self.state.lock().jobs.pop_front()
    }

    /// Takes all away, for good, so that others get it. The jobs are for the record of the end; dropped, they are submitted again.
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
