//! The instances of one source that are at the writers.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tidegate_storage::{Durability, Stored};

use super::context::Ingest;
use super::handoff::{Answer, Handoff, Outcome, Reply};
use crate::mailbox::job::StoreInstance;

/// An instance between submission and outcome. `R` is the request that the source answers.
#[derive(Debug)]
pub(crate) struct InstanceHandoff<R> {
    ingest: Arc<Ingest>,
    request: R,
    handoff: Handoff<Arc<StoreInstance>>,
}

/// An instance with its outcome.
#[derive(Debug)]
pub(crate) struct Ended<R> {
    pub(crate) request: R,
    pub(crate) store: Arc<StoreInstance>,
    /// The durability that was required.
    pub(crate) durability: Durability,
    pub(crate) outcome: Outcome<Stored>,
}

/// An instance that returns from the writers.
#[derive(Debug)]
pub(crate) enum Returned<R> {
    Ended(Ended<R>),
    /// Its writer is lost: [`Handoffs::take_lost`] has it, to be submitted again.
    Lost,
}

impl<R> InstanceHandoff<R> {
    /// Submits the instance, as [`Handoff::submit`]. Pass it to [`Handoffs::push`] afterwards; an error is the outcome for [`Self::end`].
    pub(crate) async fn submit(&mut self) -> Result<Reply<Stored>, Outcome<Stored>> {
        self.handoff.submit(&self.ingest).await
    }

    /// The instance with its outcome.
    pub(crate) fn end(self, outcome: Outcome<Stored>) -> Ended<R> {
        let Self { ingest, request, handoff: Handoff { work: store, .. } } = self;
        let durability = ingest.durability(&store.instance);
        Ended { request, store, durability, outcome }
    }
}

/// The instances of one source that are at the writers. `R` is the request that the source answers.
pub(crate) struct Handoffs<R> {
    ingest: Arc<Ingest>,
    with_writers: FuturesUnordered<LocalBoxFuture<'static, (InstanceHandoff<R>, Answer<Stored>)>>,
    to_retry: Vec<InstanceHandoff<R>>,
}

impl<R: 'static> Handoffs<R> {
    pub(crate) fn new(ingest: Arc<Ingest>) -> Self {
        Self { ingest, with_writers: FuturesUnordered::new(), to_retry: Vec::new() }
    }

    /// Begins the hand-off of an instance, to be submitted by [`InstanceHandoff::submit`].
    pub(crate) fn begin(&self, request: R, store: StoreInstance) -> InstanceHandoff<R> {
        let handoff = Handoff::new(Arc::new(store), &self.ingest);
        InstanceHandoff { ingest: self.ingest.clone(), request, handoff }
    }

    /// Number of instances at the writers.
    pub(crate) fn len(&self) -> usize {
        self.with_writers.len()
    }

    /// Whether no instance is at the writers.
    pub(crate) fn is_empty(&self) -> bool {
        self.with_writers.is_empty()
    }

    /// Adds a submitted instance, to wait for its reply.
    pub(crate) fn push(&mut self, mut instance: InstanceHandoff<R>, mut reply: Reply<Stored>) {
        self.with_writers.push(Box::pin(async move {
            let answer = instance.handoff.answer(&mut reply).await;
            (instance, answer)
        }));
    }

    /// Waits for the next instance to return; `None`: none is at the writers. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Returned<R>> {
        let (mut instance, answer) = self.with_writers.next().await?;
        Some(match instance.handoff.judge(answer, &self.ingest) {
            Some(outcome) => Returned::Ended(instance.end(outcome)),
            None => {
                self.to_retry.push(instance);
                Returned::Lost
            }
        })
    }

    /// Whether an instance must be submitted again.
    pub(crate) fn has_lost(&self) -> bool {
        !self.to_retry.is_empty()
    }

    /// Takes an instance that must be submitted again.
    pub(crate) fn take_lost(&mut self) -> Option<InstanceHandoff<R>> {
        self.to_retry.pop()
    }
}
