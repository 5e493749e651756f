//! The actor of a supervised child: one loop on a thread of its own.

use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use futures_util::future::LocalBoxFuture;

use crate::gauges::counters::{ActorCount, Counters};

type Start = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// An actor that runs one future to its end. A child that is never started drops the captures of that future.
pub(crate) struct ChildActor {
    start: Option<Start>,
    _actor_count: ActorCount,
}

impl ChildActor {
    /// `start` is called on the thread of the child, and what it returns runs there.
    pub(crate) fn new<F>(counters: &Arc<Counters>, start: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let _actor_count = ActorCount::new(counters);
        Self { start: Some(Box::new(|| Box::pin(start()))), _actor_count }
    }
}

impl Actor for ChildActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(start) = self.start.take() {
            ctx.spawn(start().into_actor(self).map(|(), _, ctx| ctx.stop()));
        }
    }
}
