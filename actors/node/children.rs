//! The children of the supervisor: name, group, restart policy and start of each.

use std::sync::Arc;

use actix_rt::Arbiter;
use parking_lot::Mutex;

use super::shared::Shared;
use crate::association;
use crate::catalogue::actor::CatalogueActor;
use crate::commitment::actor::CommitmentActor;
use crate::delivery::actor::DeliveryActor;
use crate::fault::fault_points;
use crate::gauges::observer::Observer;
use crate::gauges::statistics;
use crate::mailbox::InFlight;
use crate::mailbox::job::work_of;
use crate::network::listener::{self, Sockets};
use crate::network::transport::Port;
use crate::sinks::actor::SinkActor;
use crate::sources::SourcesActor;
use crate::supervision::child::ChildActor;
use crate::supervision::liveness::{HeldWork, Liveness};
use crate::supervision::service::Service;
use crate::supervision::spec::{ChildSpec, Group, Restart};
use crate::supervision::supervisor::Destinations;
use crate::supervision::threads::AssociationThreads;
use crate::writer::Writer;

/// What the name of the child of a destination begins with.
const DESTINATION: &str = "delivery-";
/// The same for a sink.
const SINK: &str = "sink-";
/// The child that asks the sources of studies.
const SOURCES: &str = "sources";

/// All children of a node, but for those that come and go with the settings: [`destinations`].
pub(crate) fn specs(
    shared: &Arc<Shared>,
    writers: usize,
    association_threads: usize,
    sockets: Sockets,
    services: Vec<Service>,
) -> Vec<ChildSpec> {
    let associations = Arc::new(shared.association_env());
    let mut specs = vec![statistics_spec(shared)];
    specs.extend(catalogue_spec(shared));
    specs.extend(commitment_spec(shared));
    specs.extend(sockets.plain.map(|socket| listener_spec("listener", Port::Plain, shared, &associations, socket)));
    specs.extend(sockets.tls.map(|socket| listener_spec("listener-tls", Port::Tls, shared, &associations, socket)));
    specs.extend((0..writers as u32).map(|index| writer_spec(index, shared)));
    specs.extend((0..association_threads).map(|index| association_thread_spec(index, shared)));
    specs.extend(
        services.into_iter().map(|service| service.spec(&shared.gauges.counters, Observer::new(shared.clone()))),
    );
    specs
}

fn statistics_spec(shared: &Arc<Shared>) -> ChildSpec {
    let shared = shared.clone();
    let make = move |liveness| Ok(statistics::child(&shared, liveness));
    ChildSpec::permanent("statistics".to_owned(), Group::Statistics, make, HeldWork::default)
}

fn catalogue_spec(shared: &Arc<Shared>) -> Option<ChildSpec> {
    shared.catalogue.as_ref()?;
    let shared = shared.clone();
    let make = move |liveness| {
        let env = shared.catalogue_env();
        Ok(ChildActor::new(&shared.gauges.counters, move || async move {
            if let Some(env) = env {
                CatalogueActor::new(env, liveness).run().await;
            }
        }))
    };
    let spec = ChildSpec::permanent("catalogue".to_owned(), Group::Catalogue, make, HeldWork::default);
    Some(ChildSpec { restart: Restart::Transient, ..spec })
}

fn commitment_spec(shared: &Arc<Shared>) -> Option<ChildSpec> {
    shared.commitment.as_ref()?;
    let shared = shared.clone();
    let make = move |liveness| {
        let env = shared.commitment_env();
        Ok(ChildActor::new(&shared.gauges.counters, move || async move {
            if let Some(env) = env {
                CommitmentActor::new(env, liveness).run().await;
            }
        }))
    };
    let spec = ChildSpec::permanent("commitment".to_owned(), Group::Commitment, make, HeldWork::default);
    Some(ChildSpec { restart: Restart::Transient, ..spec })
}

/// The children of the destinations and of the sinks, and the one that asks sources, which come and go with the settings. Without the catalogue there are none.
pub(crate) fn destinations(shared: &Arc<Shared>) -> Destinations {
    let (node, of_names, has_catalogue) = (shared.clone(), shared.clone(), shared.catalogue.is_some());
    let names = move || -> Vec<String> {
        let of_destinations = of_names.delivery.names().into_iter().map(|name| format!("{DESTINATION}{name}"));
        let of_sinks = of_names.event_sinks.names().into_iter().map(|name| format!("{SINK}{name}"));
        let asks = of_names.live().events.asks_sources.then(|| SOURCES.to_owned());
        if has_catalogue { of_destinations.chain(of_sinks).chain(asks).collect() } else { Vec::new() }
    };
    let spec = move |child: &str| match child.strip_prefix(SINK) {
        Some(sink) => sink_spec(&node, child, sink),
        None if child == SOURCES => sources_spec(&node),
        None => destination_spec(&node, child),
    };
    Destinations { names: Box::new(names), spec: Box::new(spec) }
}

fn sources_spec(shared: &Arc<Shared>) -> ChildSpec {
    let shared = shared.clone();
    let make = move |liveness| {
        let env = shared.sources_env();
        Ok(ChildActor::new(&shared.gauges.counters, move || SourcesActor::new(env, liveness).run()))
    };
    let spec = ChildSpec::permanent(SOURCES.to_owned(), Group::Delivery, make, HeldWork::default);
    ChildSpec { restart: Restart::Transient, ..spec }
}

fn sink_spec(shared: &Arc<Shared>, child: &str, sink: &str) -> ChildSpec {
    let (shared, sink) = (shared.clone(), sink.to_owned());
    let make = move |liveness| {
        let env = shared.sink_env(&sink);
        Ok(ChildActor::new(&shared.gauges.counters, move || async move {
            if let Some(actor) = env.and_then(|env| SinkActor::new(env, liveness)) {
                actor.run().await;
            }
        }))
    };
    let spec = ChildSpec::permanent(child.to_owned(), Group::Delivery, make, HeldWork::default);
    ChildSpec { restart: Restart::Transient, ..spec }
}

/// The child of a destination, by the name of the child.
fn destination_spec(shared: &Arc<Shared>, child: &str) -> ChildSpec {
    let destination = child.strip_prefix(DESTINATION).unwrap_or(child).to_owned();
    let shared = shared.clone();
    let make = move |liveness| {
        let env = shared.delivery_env(&destination);
        Ok(ChildActor::new(&shared.gauges.counters, move || async move {
            if let Some(actor) = env.and_then(|env| DeliveryActor::new(env, liveness)) {
                actor.run().await;
            }
        }))
    };
    let spec = ChildSpec::permanent(child.to_owned(), Group::Delivery, make, HeldWork::default);
    ChildSpec { restart: Restart::Transient, ..spec }
}

fn listener_spec(
    name: &str,
    port: Port,
    shared: &Arc<Shared>,
    associations: &Arc<association::Env>,
    socket: std::net::TcpListener,
) -> ChildSpec {
    let (shared, associations) = (shared.clone(), associations.clone());
    let make =
        move |liveness| Ok(listener::child(socket.try_clone()?, port, shared.listener_env(&associations), liveness));
    ChildSpec::permanent(name.to_owned(), Group::Listener, make, HeldWork::default)
}

fn writer_spec(index: u32, shared: &Arc<Shared>) -> ChildSpec {
    let shared = shared.clone();
    // Each start has its own `InFlight`, so that a late writer never drops the jobs of its successor.
    let current = Arc::new(Mutex::new(None::<Arc<InFlight>>));
    let last = current.clone();
    let make = move |liveness| {
        let in_flight = Arc::new(shared.mailbox.in_flight());
        *current.lock() = Some(in_flight.clone());
        let writer = Writer::new(index, shared.writer_env(), in_flight, liveness);
        Ok(ChildActor::new(&shared.gauges.counters, move || writer.run()))
    };
    let release = move || last.lock().take().map_or(HeldWork::default(), |in_flight| work_of(&in_flight.drain()));
    ChildSpec::permanent(format!("writer-{index}"), Group::Writers, make, release)
}

fn association_thread_spec(index: usize, shared: &Arc<Shared>) -> ChildSpec {
    let for_release = shared.clone();
    let shared = shared.clone();
    let make = move |liveness| {
        let threads = shared.threads.clone();
        Ok(ChildActor::new(&shared.gauges.counters, move || serve_associations(index, threads, liveness)))
    };
    ChildSpec::permanent(format!("associations-{index}"), Group::AssociationThreads, make, move || {
        for_release.threads.set_thread(index, None);
        for_release.threads.abort_all_on(index, |account| for_release.budget.by_stage_of(account))
    })
}

/// Makes this thread available to associations, and sends its heartbeat.
fn serve_associations(
    index: usize,
    threads: Arc<AssociationThreads>,
    liveness: Liveness,
) -> impl Future<Output = ()> + 'static {
    threads.set_thread(index, Some(Arbiter::current()));
    liveness.ready();
    async move { liveness.during(fault_points(&format!("associations-{index}"))).await }
}
