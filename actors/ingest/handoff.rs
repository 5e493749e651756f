//! Handing work to a writer, and the one retry rule.
//!
//! A writer answers over a one-shot reply. A reply that is dropped means that the writer has died or was fenced: the same work is
//! submitted to another, at most [`MAX_RETRIES`] times and within `commit_timeout` in all. Commits are idempotent, and a spool part is
//! written by position, so two writers may do the same work.

use std::sync::Arc;

use tidegate_storage::{Cancellation, StoreError, Stored};
use tokio::sync::oneshot;

use super::context::Ingest;
use crate::committed::Committed;
use crate::mailbox::job::{AppendJob, CommitJob, Job, Lane, SpoolPart, StoreInstance};
use crate::mailbox::open_spool::OpenSpool;
use crate::patience::Patience;
use crate::refusal::Refusal;

/// How often work is submitted to another writer because its writer died or hung.
pub(crate) const MAX_RETRIES: u32 = 3;

/// What a writer is to answer over.
pub(crate) type Reply<T> = oneshot::Receiver<Result<T, StoreError>>;

/// What came of work in the end.
pub(crate) type Outcome<T> = Result<T, Refusal>;

/// Work of which the source keeps its share until there is an outcome.
pub(crate) trait Work {
    /// What a writer makes of it.
    type Output;

    /// The job for a writer, which answers over `reply`.
    fn job(&self, ingest: &Ingest, reply: oneshot::Sender<Result<Self::Output, StoreError>>) -> Job;

    /// No writer is waited for any more: cancels the work. The outcome is `refusal`, unless the work was done before that.
    fn cancel(&self, ingest: &Ingest, refusal: Refusal) -> Outcome<Self::Output>;
}

impl Work for Arc<StoreInstance> {
    type Output = Stored;

    fn job(&self, ingest: &Ingest, reply: oneshot::Sender<Result<Stored, StoreError>>) -> Job {
        let lane = Lane::of(&self.instance, ingest.durability(&self.instance));
        Job::Commit(CommitJob { store: self.clone(), lane, reply })
    }

    /// A writer that hangs over the instance does not store it later, unless it is stored already.
    fn cancel(&self, ingest: &Ingest, refusal: Refusal) -> Outcome<Stored> {
        match self.instance.cancel() {
            // Its writer was fenced or hangs, and may never tell.
            Cancellation::TooLate(stored) => {
                let (origin, instance) = (&self.origin, &self.instance);
                ingest.sinks.tell(&Committed { origin, instance, stored: &stored });
                Ok(stored)
            }
            // Being renamed just now: it may get stored whole, and an identical resend is answered with success.
            Cancellation::Cancelled | Cancellation::Undecided => Err(refusal),
        }
    }
}

impl Work for Arc<SpoolPart> {
    type Output = Arc<OpenSpool>;

    fn job(&self, _ingest: &Ingest, reply: oneshot::Sender<Result<Arc<OpenSpool>, StoreError>>) -> Job {
        Job::Append(AppendJob { part: self.clone(), reply })
    }

    /// Whatever is written of it goes with the spool file.
    fn cancel(&self, _ingest: &Ingest, refusal: Refusal) -> Outcome<Arc<OpenSpool>> {
        Err(refusal)
    }
}

/// The answer of one writer.
#[derive(Debug)]
pub(super) enum Answer<T> {
    Outcome(Result<T, StoreError>),
    /// It died over the work, or was fenced.
    WriterLost,
    /// It has not answered in time.
    TimedOut,
}

/// Work on its way to an outcome.
#[derive(Debug)]
pub(crate) struct Handoff<W> {
    pub(super) work: W,
    retries: u32,
    /// Until the work is given up, however many writers lose it.
    patience: Patience,
}

impl<W: Work> Handoff<W> {
    pub(crate) fn new(work: W, ingest: &Ingest) -> Self {
        Self { work, retries: 0, patience: Patience::new(ingest.writers.commit_timeout) }
    }

    /// Submits the work to the writers, as soon as their mailbox has a slot.
    ///
    /// # Errors
    /// The outcome, if no writer takes it: there was no slot within `handoff_timeout`, or too many writers have lost it.
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

    /// Waits for the answer of the writer.
    pub(super) async fn answer(&mut self, reply: &mut Reply<W::Output>) -> Answer<W::Output> {
        match self.patience.wait(reply).await {
            Ok(Ok(outcome)) => Answer::Outcome(outcome),
            Ok(Err(_)) => Answer::WriterLost,
            Err(_) => Answer::TimedOut,
        }
    }

    /// The retry rule: what follows from an answer. `None`: the work is to be submitted again.
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

    /// Waits for the outcome, by one writer or, if that is lost, by another.
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
