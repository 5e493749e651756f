//! The state that the parts of a node share, and the environment that each actor gets of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde_json::json;
use tidegate_catalogue::{EventKind, Told};
use tidegate_memory::allocator::{AllocatorError, AllocatorProbe};
use tidegate_memory::pressure::Level;
use tidegate_memory::{AllocatorStatistics, MemoryBudget};
use tidegate_storage::{Placement, Store};
use tokio::sync::watch;

use super::live::Live;
use super::phase::Phase;
use super::settings::{AssociationSettings, CatalogueSettings, LiveSettings};
use crate::association::{self, PasscodeQueue};
use crate::catalogue::deliveries::Deliveries;
use crate::catalogue::{self, Assumed, CatalogueSubscriber, RootDisk};
use crate::commitment;
use crate::committed::{Subscriber, Subscribers, clock_ms};
use crate::delivery;
use crate::elements::Catalogued;
use crate::gauges::Gauges;
use crate::mailbox::WriterMailbox;
use crate::network::admission::{Admission, Limits, floors_of};
use crate::network::listener;
use crate::senders::Senders;
use crate::sinks;
use crate::sources::{self, Sources};
use crate::supervision::supervisor;
use crate::supervision::threads::AssociationThreads;
use crate::writer;

/// The record of commitment requests, below the root. It is not derived from anything, so it is where the instances are.
const COMMITMENTS: &str = ".tidegate/commitments.sqlite";

/// The state that the parts of a node share. The node, the statistics actor and the [`Observer`](crate::gauges::observer::Observer) hold
/// all of it, because they report on every part. Each other actor gets an environment with the parts that it uses.
pub struct Shared {
    pub(crate) live: Arc<Live>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) budget: MemoryBudget,
    pub(crate) admission: Arc<Admission>,
    pub(crate) threads: Arc<AssociationThreads>,
    pub(crate) store: Store,
    pub(crate) started: SystemTime,
    pub(crate) phase: watch::Sender<Phase>,
    /// The pressure level, set by the statistics actor.
    pub(crate) pressure: watch::Sender<Level>,
    pub(crate) probe: AllocatorProbe,
    pub(crate) baseline: Baseline,
    /// Where and how an instance is stored of which no access rule says more.
    pub(crate) placement: Placement,
    /// The subscribers of committed instances.
    pub(crate) subscribers: Subscribers,
    pub(crate) passcodes: Arc<PasscodeQueue>,
    /// The catalogue, if there is one.
    pub(crate) catalogue: Option<Arc<catalogue::Shared>>,
    /// Storage commitment; `None`: there is none without the catalogue.
    pub(crate) commitment: Option<Arc<commitment::Shared>>,
    /// Who is sending of which study.
    pub(crate) senders: Arc<Senders>,
    /// The questions to the sources of studies.
    pub(crate) sources: Arc<Sources>,
    /// The sinks of events, whose queues are in the catalogue, too.
    pub(crate) event_sinks: Arc<sinks::Shared>,
    /// Delivery to destinations, whose queues are in the catalogue.
    pub(crate) delivery: Arc<delivery::Shared>,
}

impl Shared {
    /// The state of a node that starts with these settings.
    ///
    /// # Errors
    /// If jemalloc's figures cannot be read.
    pub(crate) fn new(
        live: LiveSettings,
        writers: usize,
        association_threads: usize,
        audits: bool,
        catalogue: Option<CatalogueSettings>,
        store: &Store,
        mut subscribers: Vec<Arc<dyn Subscriber>>,
    ) -> Result<Self, AllocatorError> {
        let of_catalogue = |settings: &CatalogueSettings| Catalogued::of(settings.keeps_patients);
        let catalogued = catalogue.as_ref().map_or(Catalogued::Nothing, of_catalogue);
        let gauges = Arc::new(Gauges::new(writers, audits, catalogued));
        let budget = MemoryBudget::new(live.memory_budget_bytes);
        // An association has the number of its account.
        budget.number_accounts_from(store.first_association());
        let catalogue = catalogue.map(|settings| catalogue::Shared::new(settings, &budget));
        subscribers.extend(
            catalogue.iter().map(|shared| Arc::new(CatalogueSubscriber::new(shared.clone())) as Arc<dyn Subscriber>),
        );
        let live = Arc::new(Live::new(live));
        let settings = live.get();
        let record = || store.settings().root.join(COMMITMENTS);
        let commitment = catalogue.as_ref().map(|_| commitment::Shared::new(record(), live.clone()));
        let shared = Self {
            passcodes: Arc::new(PasscodeQueue::new(&budget)),
            mailbox: Arc::new(WriterMailbox::new(settings.writers.mailbox_capacity, writers, gauges.latencies.clone())),
            gauges,
            store: store.clone(),
            started: SystemTime::now(),
            budget,
            admission: Arc::new(Admission::new(limits_of(&settings.associations))),
            threads: Arc::new(AssociationThreads::new(association_threads)),
            phase: watch::Sender::new(Phase::Serving),
            pressure: watch::Sender::new(Level::Normal),
            probe: AllocatorProbe::new()?,
            baseline: Baseline::default(),
            placement: store.settings().placement(),
            subscribers: Subscribers::new(subscribers),
            catalogue,
            commitment,
            senders: Arc::default(),
            sources: Arc::new(Sources::new()),
            event_sinks: sinks::Shared::new(live.clone()),
            delivery: delivery::Shared::new(live.clone()),
            live,
        };
        shared.apply_limits();
        Ok(shared)
    }

    /// The settings of this moment, as [`Live::get`].
    pub(crate) fn live(&self) -> Arc<LiveSettings> {
        self.live.get()
    }

    /// Applies new settings, all at once.
    pub(crate) fn apply(&self, mut live: LiveSettings) {
        if live.tls.is_none() {
            let current = self.live();
            live.tls.clone_from(&current.tls); // the port stays open until the node stops
            live.client_verifier.clone_from(&current.client_verifier);
        }
        self.live.set(live);
        self.apply_limits();
    }

    /// Applies the limits of the settings to the parts that keep a copy.
    fn apply_limits(&self) {
        let live = self.live();
        self.admission.set_limits(limits_of(&live.associations));
        self.budget.set_limit(live.memory_budget_bytes);
        // Datasets cannot use up the floor leases of connections that are yet to come.
        self.budget.set_floor_reserve(floors_of(live.associations.max));
        self.budget.set_control_reserve(live.control_reserve_bytes());
        // If the budget is full at a reload, the first verification reserves it.
        self.passcodes.reserve(live.access.users.as_ref().map_or(0, |users| users.memory_bytes()));
        self.mailbox.set_capacity(live.writers.mailbox_capacity);
        self.gauges.incidents.set_repeat_interval(live.log_repeat_interval);
    }

    /// The environment of all associations.
    pub(crate) fn association_env(&self) -> association::Env {
        association::Env {
            live: self.live.clone(),
            gauges: self.gauges.clone(),
            mailbox: self.mailbox.clone(),
            phase: self.phase.subscribe(),
            pressure: self.pressure.subscribe(),
            wanted: self.gauges.wanted_beside(self.store.wanted()),
            placement: self.placement.clone(),
            subscribers: self.subscribers.clone(),
            passcodes: self.passcodes.clone(),
            delivery: self.delivery.clone(),
            commitment: self.commitment.clone(),
            senders: self.catalogue.as_ref().map(|_| self.senders.clone()),
        }
    }

    /// The environment of a listener.
    pub(crate) fn listener_env(&self, associations: &Arc<association::Env>) -> listener::Env {
        listener::Env {
            live: self.live.clone(),
            gauges: self.gauges.clone(),
            budget: self.budget.clone(),
            admission: self.admission.clone(),
            threads: self.threads.clone(),
            pressure: self.pressure.subscribe(),
            writers: self.mailbox.writers(),
            associations: associations.clone(),
        }
    }

    /// The environment of a writer.
    pub(crate) fn writer_env(&self) -> writer::Env {
        writer::Env {
            store: self.store.clone(),
            live: self.live.clone(),
            gauges: self.gauges.clone(),
            mailbox: self.mailbox.clone(),
            subscribers: self.subscribers.clone(),
        }
    }

    /// The environment of the catalogue, if there is one.
    pub(crate) fn catalogue_env(self: &Arc<Self>) -> Option<catalogue::actor::Env<RootDisk>> {
        let shared = self.catalogue.clone()?;
        let node = self.clone();
        let (store, keeps_patients) = (self.store.clone(), shared.settings.keeps_patients);
        let (of_root, live) = (store.clone(), self.live.clone());
        let (of_retention, requests) = (self.live.clone(), self.commitment.clone());
        let retention = catalogue::retention::Env {
            settings: Box::new(move || of_retention.get().retention),
            store: self.store.clone(),
            are_awaited: Box::new(move |uids| {
                requests.as_ref().map_or(Ok(vec![false; uids.len()]), |it| it.are_awaited(uids))
            }),
            gauges: self.gauges.clone(),
        };
        let assumed: Assumed = Arc::new(move |calling, class| live.get().assumed_destinations(calling, class));
        Some(catalogue::actor::Env {
            shared,
            budget: self.budget.clone(),
            mailbox: self.mailbox.clone(),
            is_measured: Box::new(move || node.baseline.is_set()),
            root_id: Box::new(move || Ok((of_root.root_id()?, of_root.settings().root.clone()))),
            open_disk: Box::new(move || RootDisk::new(&store, keeps_patients, assumed.clone())),
            retention: Some(retention),
            completeness: Some(catalogue::completeness::Env {
                live: self.live.clone(),
                senders: self.senders.clone(),
                sources: self.sources.clone(),
            }),
        })
    }

    /// The file of the requests for storage commitment.
    pub(crate) fn commitment_record(&self) -> PathBuf {
        self.store.settings().root.join(COMMITMENTS)
    }

    /// The environment of storage commitment, if there is one.
    pub(crate) fn commitment_env(self: &Arc<Self>) -> Option<commitment::actor::Env> {
        let (shared, catalogue) = (self.commitment.clone()?, self.catalogue.clone()?);
        let node = self.clone();
        Some(commitment::actor::Env {
            shared,
            store: self.store.clone(),
            catalogue,
            mailbox: self.mailbox.clone(),
            gauges: self.gauges.clone(),
            budget: self.budget.clone(),
            threads: self.threads.clone(),
            phase: self.phase.subscribe(),
            is_measured: Box::new(move || node.baseline.is_set()),
        })
    }

    /// The environment of a destination, if there is a catalogue.
    pub(crate) fn delivery_env(self: &Arc<Self>, name: &str) -> Option<delivery::actor::Env> {
        let catalogue = self.catalogue.clone()?;
        let node = self.clone();
        Some(delivery::actor::Env {
            name: name.to_owned(),
            shared: self.delivery.clone(),
            live: self.live.clone(),
            store: self.store.clone(),
            catalogue: catalogue.settings.path.clone(),
            deliveries: Deliveries::new(catalogue, self.budget.clone()),
            gauges: self.gauges.clone(),
            budget: self.budget.clone(),
            phase: self.phase.subscribe(),
            is_measured: Box::new(move || node.baseline.is_set()),
        })
    }

    /// The environment of a sink of events, if there is a catalogue.
    pub(crate) fn sink_env(&self, name: &str) -> Option<sinks::actor::Env> {
        let catalogue = self.catalogue.clone()?;
        Some(sinks::actor::Env {
            name: name.to_owned(),
            shared: self.event_sinks.clone(),
            live: self.live.clone(),
            catalogue: catalogue.settings.path.clone(),
            deliveries: Deliveries::new(catalogue, self.budget.clone()),
            budget: self.budget.clone(),
            gauges: self.gauges.clone(),
            phase: self.phase.subscribe(),
        })
    }

    /// The environment of the child that asks the sources of studies.
    pub(crate) fn sources_env(&self) -> sources::Env {
        sources::Env { sources: self.sources.clone(), live: self.live.clone(), budget: self.budget.clone() }
    }

    /// Tells sinks and people that no associations are accepted any more. A node that cannot tell it drains all the same.
    pub(crate) fn tell_draining(&self, reason: &str) {
        let Some(catalogue) = self.catalogue.clone() else { return };
        let (at_ms, live) = (clock_ms(), self.live.get());
        let subject = live.events.source.rsplit('/').next().unwrap_or_default().to_owned();
        let data = json!({ "reason": reason, "associations": self.admission.open() }).to_string();
        let (kind, origin) = (EventKind::NodeDraining, format!("draining {at_ms}"));
        let _ =
            Deliveries::new(catalogue, self.budget.clone()).tell_at_once(Told { kind, origin, subject, at_ms, data });
    }

    /// The environment of the supervisor.
    pub(crate) fn supervisor_env(&self, destinations: supervisor::Destinations) -> supervisor::Env {
        supervisor::Env {
            destinations,
            live: self.live.clone(),
            gauges: self.gauges.clone(),
            mailbox: self.mailbox.clone(),
            budget: self.budget.clone(),
            store: self.store.clone(),
        }
    }
}

fn limits_of(settings: &AssociationSettings) -> Limits {
    let AssociationSettings { max, max_per_address, max_per_calling_ae, .. } = *settings;
    Limits { max, per_address: max_per_address, per_calling_ae: max_per_calling_ae }
}

/// Bytes allocated beyond all leases when the node had started: tables, threads, the mailbox.
#[derive(Debug, Default)]
pub(crate) struct Baseline(AtomicU64);

impl Baseline {
    /// Measures the baseline.
    pub(crate) fn set(&self, allocator: &AllocatorStatistics, budget: &MemoryBudget) {
        self.0.store(allocator.in_use().saturating_sub(budget.in_use()), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the baseline is measured. A measured one is never 0.
    pub(crate) fn is_set(&self) -> bool {
        self.get() > 0
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("budget", &self.budget)
            .field("counters", &self.gauges.counters)
            .finish_non_exhaustive()
    }
}
