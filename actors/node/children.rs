//! The children of the supervisor: for each its name, its group, its restart policy, and how it is started.

use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_rt::Arbiter;
use parking_lot::Mutex;
use tidegate_storage::Store;

use super::shared::{ActorCount, Shared};
use crate::fault::fault_points;
use crate::gauges::statistics::Statistics;
use crate::mailbox::InFlight;
use crate::mailbox::job::work_of;
use crate::network::listener::{Listener, Sockets};
use crate::network::transport::Port;
use crate::supervision::liveness::{HeldWork, Liveness};
use crate::supervision::service::Service;
use crate::supervision::spec::{ChildSpec, Group};
use crate::writer::Writer;

/// All children of a node.
pub(crate) fn specs(
    shared: &Arc<Shared>,
    store: &Store,
    writers: usize,
    association_threads: usize,
    sockets: Sockets,
    services: Vec<Service>,
) -> Vec<ChildSpec> {
    let mut specs = vec![statistics(shared)];
    specs.extend(sockets.plain.map(|socket| listener("listener", Port::Plain, shared, socket)));
    specs.extend(sockets.tls.map(|socket| listener("listener-tls", Port::Tls, shared, socket)));
    specs.extend((0..writers as u32).map(|index| writer(index, shared, store)));
    specs.extend((0..association_threads).map(|index| association_thread(index, shared)));
    specs.extend(services.into_iter().map(|service| service.spec(shared)));
    specs
}

fn statistics(shared: &Arc<Shared>) -> ChildSpec {
    let shared = shared.clone();
    let make = move |liveness| Ok(Statistics::new(shared.clone(), liveness));
    ChildSpec::permanent("statistics".to_owned(), Group::Statistics, make, HeldWork::default)
}

fn listener(name: &str, port: Port, shared: &Arc<Shared>, socket: std::net::TcpListener) -> ChildSpec {
    let shared = shared.clone();
    let make = move |liveness| Ok(Listener::new(socket.try_clone()?, port, shared.clone(), liveness));
    ChildSpec::permanent(name.to_owned(), Group::Listener, make, HeldWork::default)
}

fn writer(index: u32, shared: &Arc<Shared>, store: &Store) -> ChildSpec {
    let (shared, store) = (shared.clone(), store.clone());
    // Each start has its own: what a late writer lets go of is never its successor's.
    let current = Arc::new(Mutex::new(None::<Arc<InFlight>>));
    let last = current.clone();
    let make = move |liveness| {
        let in_flight = Arc::new(shared.mailbox.in_flight());
        *current.lock() = Some(in_flight.clone());
        Ok(Writer::new(index, store.clone(), shared.clone(), in_flight, liveness))
    };
    let release = move || last.lock().take().map_or(HeldWork::default(), |in_flight| work_of(&in_flight.drain()));
    ChildSpec::permanent(format!("writer-{index}"), Group::Writers, make, release)
}

fn association_thread(index: usize, shared: &Arc<Shared>) -> ChildSpec {
    let for_release = shared.clone();
    let shared = shared.clone();
    let make = move |liveness| Ok(AssociationThread::new(index, shared.clone(), liveness));
    ChildSpec::permanent(format!("associations-{index}"), Group::AssociationThreads, make, move || {
        for_release.threads.set_thread(index, None);
        for_release.threads.abort_all_on(index, |account| for_release.budget.by_stage_of(account))
    })
}

/// What tells whether a thread that serves associations still does.
#[derive(Debug)]
struct AssociationThread {
    index: usize,
    shared: Arc<Shared>,
    liveness: Option<Liveness>,
    _actor_count: ActorCount,
}

impl AssociationThread {
    fn new(index: usize, shared: Arc<Shared>, liveness: Liveness) -> Self {
        let _actor_count = ActorCount::new(&shared);
        Self { index, shared, liveness: Some(liveness), _actor_count }
    }
}

impl Actor for AssociationThread {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(liveness) = self.liveness.take() else { return };
        self.shared.threads.set_thread(self.index, Some(Arbiter::current()));
        liveness.ready();
        let name = format!("associations-{}", self.index);
        let work = async move { liveness.during(fault_points(&name)).await };
        ctx.spawn(work.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}
