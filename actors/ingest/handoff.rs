//! The hand-off of work to a writer, and the one retry rule.
//!
//! Invariant: work is submitted at least once and has one outcome. A writer answers over a one-shot reply. A dropped reply means that the
//! writer has died or was fenced; the same work is then submitted again, at most [`MAX_RETRIES`] times and within `commit_timeout` in all.
//! Commits are idempotent, and a spool part is written by position, so two writers may do the same work.

use std::sync::Arc;

use tidegate_storage::{Cancellation, StoreError, Stored};
use tokio::sync::oneshot;

use super::context::Ingest;
use crate::committed::Committed;
use crate::mailbox::job::{AppendJob, CommitJob, Job, Lane, SpoolPart, StoreInstance};
use crate::mailbox::open_spool::OpenSpool;
use crate::patience::Patience;
use crate::refusal::Refusal;

/// Most retries of one piece of work after its writer died or hung.
pub(crate) const MAX_RETRIES: u32 = 3;

/// The sender over which a writer answers.
pub(crate) type Reply<T> = oneshot::Receiver<Result<T, StoreError>>;

/// The final outcome of work.
pub(crate) type Outcome<T> = Result<T, Refusal>;

/// Work for a writer. The source keeps its share until there is an outcome.
pub(crate) trait Work {
    /// The result of a writer.
    type Output;

    /// The job for a writer, which answers over `reply`.
    fn job(&self, ingest: &Ingest, reply: oneshot::Sender<Result<Self::Output, StoreError>>) -> Job;

    /// Cancels the work. The outcome is `refusal`, unless a writer has finished the work before.
    fn cancel(&self, ingest: &Ingest, refusal: Refusal) -> Outcome<Self::Output>;
}

impl Work for Arc<StoreInstance> {
    type Output = Stored;

    fn job(&self, ingest: &Ingest, reply: oneshot::Sender<Result<Stored, StoreError>>) -> Job {
        let lane = Lane::of(&self.instance, ingest.durability(&self.instance));
        Job::Commit(CommitJob { store: self.clone(), lane, reply })
    }

    /// Prevents a hung writer from storing the instance later, unless it is stored already.
    fn cancel(&self, ingest: &Ingest, refusal: Refusal) -> Outcome<Stored> {
        match self.instance.cancel() {
            // The writer was fenced or hangs, and may never tell the subscribers.
            Cancellation::TooLate(stored) => {
                let (origin, instance) = (&self.origin, &self.instance);
                ingest.subscribers.tell(&Committed { origin, instance, stored: &stored });
                Ok(stored)
            }
            // The rename is in progress. The instance may get stored; an identical resend is then answered with success.
            Cancellation::Cancelled | Cancellation::Undecided => Err(refusal),
        }
    }
}

impl Work for Arc<SpoolPart> {
    type Output = Arc<OpenSpool>;

    fn job(&self, _ingest: &Ingest, reply: oneshot::Sender<Result<Arc<OpenSpool>, StoreError>>) -> Job {
        Job::Append(AppendJob { part: self.clone(), reply })
    }

    /// Nothing to cancel: written bytes are removed with the spool file.
    fn cancel(&self, _ingest: &Ingest, refusal: Refusal) -> Outcome<Arc<OpenSpool>> {
        Err(refusal)
    }
}

/// The answer of one writer.
#[derive(Debug)]
pub(super) enum Answer<T> {
    Outcome(Result<T, StoreError>),
    /// The writer died or was fenced.
    WriterLost,
    /// The writer did not answer in time.
    TimedOut,
}

/// Work between its first submission and its outcome.
#[derive(Debug)]
pub(crate) struct Handoff<W> {
    pub(super) work: W,
    retries: u32,
    /// Time left for the work, over all retries.
    patience: Patience,
}

impl<W: Work> Handoff<W> {
    pub(crate) fn new(work: W, ingest: &Ingest) -> Self {
        Self { work, retries: 0, patience: Patience::new(ingest.writers.commit_timeout) }
    }

    /// Submits the work as soon as the mailbox has a slot.
    ///
    /// # Errors
    /// The outcome, if the work cannot be submitted: no slot came free within `handoff_timeout`, or the retries are used up.
    pub(crate) async fn submit(&mut self, ingest: &Ingest) -> Result<Reply<W::Output>, Outcome<W::Output>> {
        if self.retries > MAX_RETRIES {
            return Err(self.work.cancel(ingest, Refusal::WriterLost));
        }
        let (reply, answered) = oneshot::channel();
        let mut handoff = self.patience.for_step(ingest.writers.handoff_timeout);
        let submitted = ingest.mailbox.submit(&mut handoff, || self.work.job(ingest, reply)).await;
        self.patience.spend(handoff.spent());
        submitted.map(|()| answered).map_err(|timeout| self.work.cancel(ingest, timeout.into()))
    }

    /// Waits for the writer's answer.
    pub(super) async fn answer(&mut self, reply: &mut Reply<W::Output>) -> Answer<W::Output> {
        match self.patience.wait(reply).await {
            Ok(Ok(outcome)) => Answer::Outcome(outcome),
            Ok(Err(_)) => Answer::WriterLost,
            Err(_) => Answer::TimedOut,
        }
    }

    /// The retry rule: the outcome that follows from an answer. `None`: the work is to be submitted again.
    pub(super) fn judge(&mut self, answer: Answer<W::Output>, ingest: &Ingest) -> Option<Outcome<W::Output>> {
        match answer {
            Answer::WriterLost | Answer::Outcome(Err(StoreError::Contended)) => {
                self.retries += 1;
                ingest.counters.handed_over_again.increment();
                None
            }
            Answer::Outcome(outcome) => Some(outcome.map_err(Refusal::from)),
            Answer::TimedOut => {
                ingest.counters.commits_timed_out.increment();
                Some(self.work.cancel(ingest, Refusal::CommitTimeout))
            }
        }
    }

    /// Submits the work, with retries, until there is an outcome.
    pub(super) async fn finish(&mut self, reply: &mut Reply<W::Output>, ingest: &Ingest) -> Outcome<W::Output> {
        loop {
            let answer = self.answer(reply).await;
            if let Some(outcome) = self.judge(answer, ingest) {
                return outcome;
            }
            match self.submit(ingest).await {
                Ok(next) => *reply = next,
                Err(outcome) => return outcome,
            }
        }
    }
}
