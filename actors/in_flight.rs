//! What a writer works at, where the supervisor can take it away: the replies are dropped then, which tells the associations to hand
//! their datasets to another writer.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mailbox::scheduler::{Attached, SmallBatchPermit, WalLeader, Workload, WriterScheduler};
use crate::sync::Mutex;

/// What a writer works at. Shared with the supervisor.
#[derive(Debug)]
pub(crate) struct InFlight<W: Workload> {
    scheduler: Arc<WriterScheduler<W>>,
    held: Mutex<Held<W>>,
}

#[derive(Debug)]
struct Held<W: Workload> {
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
        let held = Mutex::new(Held { jobs: VecDeque::new(), permit: None, leader: None, attached });
        Self { scheduler, held }
    }

    /// Takes up a batch. `false`: the writer was given up, and the batch goes to others.
    #[must_use]
    pub(crate) fn hold(&self, jobs: Vec<W::Job>, permit: Option<SmallBatchPermit<W>>) -> bool {
        self.hold_all(jobs, permit, None)
    }

    /// Takes up the next write of the commit log with the jobs that wait for it. `false`, as for [`Self::hold`].
    #[must_use]
    pub(crate) fn hold_for_log(&self, jobs: Vec<W::Job>, leader: Option<WalLeader<W>>) -> bool {
        self.hold_all(jobs, None, leader)
    }

    fn hold_all(&self, jobs: Vec<W::Job>, permit: Option<SmallBatchPermit<W>>, leader: Option<WalLeader<W>>) -> bool {
        let mut held = self.held.lock();
        if held.attached.is_none() {
            return false; // the arguments are dropped after the lock
        }
        (held.jobs, held.permit, held.leader) = (jobs.into(), permit, leader);
        true
    }

    pub(crate) fn take_permit(&self) -> Option<SmallBatchPermit<W>> {
        self.held.lock().permit.take()
    }

    /// The next write of the commit log is anybody's.
    pub(crate) fn resign_leader(&self) {
        self.held.lock().leader = None;
    }

    /// The jobs, unless they were taken away meanwhile.
    pub(crate) fn take_jobs(&self) -> Vec<W::Job> {
        std::mem::take(&mut self.held.lock().jobs).into()
    }

    /// The first of them.
    pub(crate) fn pop(&self) -> Option<W::Job> {
        self.held.lock().jobs.pop_front()
    }

    /// Takes all away, for good, so that others get it. The jobs are for the record of the end; dropped, they are handed over again.
    pub(crate) fn drain(&self) -> Vec<W::Job> {
        let (jobs, rights) = {
            let mut held = self.held.lock();
            let jobs = std::mem::take(&mut held.jobs);
            (jobs, (held.permit.take(), held.leader.take(), held.attached.take()))
        };
        drop(rights);
        self.scheduler.call_after_an_end();
        jobs.into()
    }
}
