//! Children from outside this crate: services for operators, which the supervisor starts, watches and restarts like its own.

use std::fmt;
use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use futures_util::future::LocalBoxFuture;

use super::liveness::{HeldWork, Liveness};
use super::spec::{ChildSpec, Group, Restart};
use crate::fault::fault_points;
use crate::gauges::observer::Observer;
use crate::node::shared::{ActorCount, Shared};

type Body = Arc<dyn Fn(Observer) -> LocalBoxFuture<'static, ()> + Send + Sync>;

/// A child from outside: a name, and what it does on a thread of its own until it is dropped or returns.
#[derive(Clone)]
pub struct Service {
    name: &'static str,
    body: Body,
}

impl Service {
    /// A service called `name` in the log, whose `body` is called at each start.
    pub fn new(
        name: &'static str,
        body: impl Fn(Observer) -> LocalBoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { name, body: Arc::new(body) }
    }

    pub(crate) fn spec(self, shared: &Arc<Shared>) -> ChildSpec {
        let shared = shared.clone();
        let name = self.name.to_owned();
        let make = move |liveness| {
            let _actor_count = ActorCount::new(&shared);
            Ok(Running { service: self.clone(), shared: shared.clone(), liveness: Some(liveness), _actor_count })
        };
        ChildSpec { restart: Restart::Transient, ..ChildSpec::permanent(name, Group::Admin, make, HeldWork::default) }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.name)
    }
}

/// A service on its thread.
#[derive(Debug)]
struct Running {
    service: Service,
    shared: Arc<Shared>,
    liveness: Option<Liveness>,
    _actor_count: ActorCount,
}

impl Actor for Running {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(liveness) = self.liveness.take() else { return };
        let body = (self.service.body)(Observer::new(self.shared.clone()));
        let name = self.service.name;
        liveness.ready();
        let work = async move {
            let body = async {
                tokio::select! {
                    () = fault_points(name) => {}
                    () = body => {}
                }
            };
            liveness.during(body).await;
        };
        ctx.spawn(work.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}
