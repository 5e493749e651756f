//! Jobs of the model: a lane, a reply, and a payload that is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::sync::Condvar;

use crate::mailbox::queue::Lane;
use crate::sync::Mutex;

/// Counts something until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert_ne!(self.0.fetch_sub(1, Ordering::Relaxed), 0);
    }
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) lane: Lane,
    pub(crate) reply: Reply,
    _payload: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Waiting,
    Answered,
    /// The reply was dropped: the job is submitted again.
    Lost,
}

/// The sender of the outcome of a job, used once.
#[derive(Debug)]
pub(crate) struct Reply(Arc<(Mutex<Outcome>, Condvar)>);

/// The receiving end of a [`Reply`].
#[derive(Debug)]
pub(crate) struct PendingReply(Arc<(Mutex<Outcome>, Condvar)>);

impl Job {
    pub(crate) fn new(lane: Lane, payload: Counted) -> (Self, PendingReply) {
        let outcome = Arc::new((Mutex::new(Outcome::Waiting), Condvar::new()));
        (Self { lane, reply: Reply(outcome.clone()), _payload: payload }, PendingReply(outcome))
    }
}

impl PendingReply {
    /// Waits for the outcome. `false`: the job was lost and must be submitted again.
    pub(crate) fn is_answered(&self) -> bool {
        let (outcome, changed) = &*self.0;
        let mut outcome = outcome.lock();
        while *outcome == Outcome::Waiting {
            outcome = changed.wait(outcome).unwrap();
        }
        *outcome == Outcome::Answered
    }
}

impl Reply {
    pub(crate) fn answer(self) {
        self.tell(Outcome::Answered);
    }

    fn tell(&self, outcome: Outcome) {
        let (told, changed) = &*self.0;
        assert_eq!(std::mem::replace(&mut *told.lock(), outcome), Outcome::Waiting, "told twice");
        changed.notify_one();
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if *self.0.0.lock() == Outcome::Waiting {
            self.tell(Outcome::Lost);
        }
    }
}
