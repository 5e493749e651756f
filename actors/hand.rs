//! What a writer has in hand, where the supervisor can open it: the replies are dropped then, which tells the associations to hand
//! their datasets to another writer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tidegate_storage::Commit;

use crate::job::{Job, StoreInstance};
use crate::mailbox::{Logging, Seat, WriterMailbox};
use crate::supervision::lifeline::Held;

/// What a writer works at. Shared with the supervisor.
#[derive(Debug)]
pub(crate) struct Hand {
    mailbox: Arc<WriterMailbox>,
    holds: Mutex<Holds>,
}

#[derive(Debug, Default)]
struct Holds {
    jobs: VecDeque<Job>,
    seat: Option<Seat>,
    logging: Option<Logging>,
}

/// A batch that waits for the next write of the commit log, with the jobs that are to be answered then.
#[derive(Debug)]
pub(crate) struct ToLog {
    pub(crate) commit: Commit<Arc<StoreInstance>>,
    pub(crate) jobs: Vec<Job>,
    /// The writer that began with it.
    pub(crate) writer: u32,
    /// When it did.
    pub(crate) began: Instant,
}

impl Hand {
    pub(crate) fn new(mailbox: Arc<WriterMailbox>) -> Self {
        Self { mailbox, holds: Mutex::default() }
    }

    pub(crate) fn hold(&self, jobs: Vec<Job>, seat: Option<Seat>) {
        let mut holds = self.holds.lock();
        (holds.jobs, holds.seat) = (jobs.into(), seat);
    }

    /// Takes up the next write of the commit log with the jobs that wait for it.
    pub(crate) fn hold_for_log(&self, jobs: Vec<Job>, logging: Option<Logging>) {
        let mut holds = self.holds.lock();
        (holds.jobs, holds.logging) = (jobs.into(), logging);
    }

    pub(crate) fn take_seat(&self) -> Option<Seat> {
        self.holds.lock().seat.take()
    }

    /// The next write of the commit log is anybody's.
    pub(crate) fn has_logged(&self) {
        self.holds.lock().logging = None;
    }

    /// The jobs, unless they were let go of meanwhile.
    pub(crate) fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut self.holds.lock().jobs).into()
    }

    /// The first of them.
    pub(crate) fn take_job(&self) -> Option<Job> {
        self.holds.lock().jobs.pop_front()
    }

    /// Lets go of all, so that others get it; says what the jobs held.
    pub(crate) fn release(&self) -> Held {
        let Holds { jobs, .. } = std::mem::take(&mut *self.holds.lock());
        self.mailbox.call_again();
        let mut held = Held { count: jobs.len(), ..Held::default() };
        let mut seen = Vec::new();
        for job in &jobs {
            job.each_lease(&mut |lease| {
                // Small datasets that came together share a lease.
                if !seen.contains(&Arc::as_ptr(lease)) {
                    seen.push(Arc::as_ptr(lease));
                    if let Some(stage) = lease.stage() {
                        held.bytes.add(stage, lease.bytes());
                    }
                }
            });
        }
        held
    }
}
