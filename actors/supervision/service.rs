//! Children from outside this crate: services for operators. The supervisor starts, watches and restarts them like its own.

use std::fmt;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::child::ChildActor;
use super::liveness::{HeldWork, Liveness};
use super::spec::{ChildSpec, Group, Restart};
use crate::fault::fault_points;
use crate::gauges::counters::Counters;
use crate::gauges::observer::Observer;

type Body = Arc<dyn Fn(Observer) -> LocalBoxFuture<'static, ()> + Send + Sync>;

/// A child from outside: a name, and a body that runs on a thread of its own until it returns or is dropped.
#[derive(Clone)]
pub struct Service {
    name: &'static str,
    body: Body,
}

impl Service {
    /// A service with `name` in the log. `body` is called at each start.
    pub fn new(
        name: &'static str,
        body: impl Fn(Observer) -> LocalBoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { name, body: Arc::new(body) }
    }

    pub(crate) fn spec(self, counters: &Arc<Counters>, observer: Observer) -> ChildSpec {
        let counters = counters.clone();
        let name = self.name.to_owned();
        let make = move |liveness| {
            let (service, observer) = (self.clone(), observer.clone());
            Ok(ChildActor::new(&counters, move || service.run(observer, liveness)))
        };
        ChildSpec { restart: Restart::Transient, ..ChildSpec::permanent(name, Group::Admin, make, HeldWork::default) }
    }

    fn run(self, observer: Observer, liveness: Liveness) -> impl Future<Output = ()> + 'static {
        let body = (self.body)(observer);
        liveness.ready();
        async move {
            let body = async {
                tokio::select! {
                    () = fault_points(self.name) => {}
                    () = body => {}
                }
            };
            liveness.during(body).await;
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.name)
    }
}
