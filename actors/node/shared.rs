//! What all actors of a node share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use dicom_core::Tag;
use parking_lot::RwLock;
use tidegate_memory::allocator::{AllocatorError, AllocatorProbe};
use tidegate_memory::pressure::Level;
use tidegate_memory::{AllocatorStatistics, MemoryBudget};
use tidegate_protocol::Rejection;
use tidegate_storage::{Durability, Outcome, Placement, Store, Stored};
use tokio::sync::{Semaphore, watch};

use super::settings::LiveSettings;
use crate::gauges::activity::{OpenAssociations, WriterList};
use crate::gauges::audit::{AuditEvent, AuditTrail, widened};
use crate::gauges::counters::Counters;
use crate::gauges::history::History;
use crate::gauges::incidents::{Class, Incidents};
use crate::gauges::latency::Latencies;
use crate::gauges::recent::{Recent, RefusedWhat};
use crate::ingest::Ingest;
use crate::mailbox::WriterMailbox;
use crate::network::admission::{Admission, FLOOR_LEASE_BYTES};
use crate::network::descriptors::descriptors_of_writers;
use crate::refusal::Refusal;
use crate::supervision::threads::AssociationThreads;
use crate::supervision::tree::ChildStatus;

/// What the node is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything is served.
    Serving,
    /// An operator asked for it: no new associations; those that are open go on.
    Drained,
    /// The node stops: no new associations; those that are open finish the instance they are at.
    Draining,
    /// The grace period is over: associations end now.
    Aborting,
}

/// What all actors of a node share.
pub struct Shared {
    live: RwLock<Arc<LiveSettings>>,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) budget: MemoryBudget,
    pub(crate) admission: Arc<Admission>,
    pub(crate) threads: Arc<AssociationThreads>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) latencies: Arc<Latencies>,
    pub(crate) recent: Recent,
    pub(crate) history: History,
    /// The supervisor's children, as it last saw them.
    pub(crate) children: RwLock<Arc<[ChildStatus]>>,
    pub(crate) store: Store,
    pub(crate) started: SystemTime,
    pub(crate) incidents: Incidents,
    pub(crate) phase: watch::Sender<Phase>,
    /// How short memory is, as the statistics actor sees it.
    pub(crate) pressure: watch::Sender<Level>,
    pub(crate) open: Arc<OpenAssociations>,
    pub(crate) writers: WriterList,
    pub(crate) probe: AllocatorProbe,
    pub(crate) baseline: Baseline,
    /// Elements the layout is made of.
    pub(crate) wanted: Arc<[Tag]>,
    pub(crate) durability: Durability,
    pub(crate) audit: Option<Arc<AuditTrail>>,
    /// Passcodes are looked at one at a time: each takes some MiB and tens of milliseconds.
    pub(crate) verifying: Semaphore,
    writer_count: usize,
}

impl Shared {
    /// For a node that begins with these settings.
    ///
    /// # Errors
    /// If jemalloc does not tell its figures.
    pub(crate) fn new(
        live: LiveSettings,
        writers: usize,
        association_threads: usize,
        audit_queue: Option<usize>,
        store: &Store,
    ) -> Result<Self, AllocatorError> {
        let limits = &live.associations;
        let latencies = Arc::<Latencies>::default();
        let shared = Self {
            mailbox: Arc::new(WriterMailbox::new(live.writers.mailbox_capacity, writers, latencies.clone())),
            latencies,
            recent: Recent::new(),
            history: History::new(),
            children: RwLock::new(Arc::new([])),
            store: store.clone(),
            started: SystemTime::now(),
            budget: MemoryBudget::new(live.memory_budget_bytes),
            admission: Arc::new(Admission::new(limits.max, limits.max_per_address, limits.max_per_calling_ae)),
            threads: Arc::new(AssociationThreads::new(association_threads)),
            counters: Arc::default(),
            incidents: Incidents::default(),
            phase: watch::Sender::new(Phase::Serving),
            pressure: watch::Sender::new(Level::Normal),
            open: Arc::default(),
            writers: WriterList::new(writers),
            probe: AllocatorProbe::new()?,
            baseline: Baseline::default(),
            wanted: if audit_queue.is_some() { widened(&store.wanted()) } else { store.wanted() },
            audit: audit_queue.map(AuditTrail::new),
            durability: store.settings().durability,
            verifying: Semaphore::new(1),
            writer_count: writers,
            live: RwLock::new(Arc::new(live)),
        };
        shared.reserve_floors();
        Ok(shared)
    }

    /// The settings of this moment. Who needs them to agree with each other keeps what this returns.
    pub(crate) fn live(&self) -> Arc<LiveSettings> {
        self.live.read().clone()
    }

    /// Puts other settings in force, all at once.
    pub(crate) fn apply(&self, mut live: LiveSettings) {
        let mut current = self.live.write();
        if live.tls.is_none() {
            live.tls.clone_from(&current.tls); // the port stays open to the end of the node
        }
        let limits = &live.associations;
        self.admission.set_limits(limits.max, limits.max_per_address, limits.max_per_calling_ae);
        self.budget.set_limit(live.memory_budget_bytes);
        self.mailbox.set_capacity(live.writers.mailbox_capacity);
        *current = Arc::new(live);
        drop(current);
        self.reserve_floors();
    }

    /// Puts down what has just happened, if anybody wants to know.
    pub(crate) fn record(&self, event: impl FnOnce() -> AuditEvent) {
        if let Some(trail) = &self.audit {
            trail.record(event());
        }
    }

    /// Writers there should be.
    pub(crate) fn writer_count(&self) -> usize {
        self.writer_count
    }

    /// The way in for a source that begins with these settings.
    pub(crate) fn ingest(&self, live: &LiveSettings) -> Ingest {
        Ingest {
            mailbox: self.mailbox.clone(),
            counters: self.counters.clone(),
            latencies: self.latencies.clone(),
            pressure: self.pressure.subscribe(),
            durability: self.durability,
            writers: live.writers,
            spool_threshold_bytes: live.associations.spool_threshold_bytes,
        }
    }

    /// The elements to be read of a dataset that is stored so.
    pub(crate) fn wanted_for(&self, placement: Option<&Placement>) -> Arc<[Tag]> {
        match placement {
            None => self.wanted.clone(),
            Some(placement) if self.audit.is_some() => widened(&placement.layout.wanted()),
            Some(placement) => placement.layout.wanted(),
        }
    }

    /// Who may come must find his floor, however much datasets hold by then.
    fn reserve_floors(&self) {
        self.budget.set_floor_reserve(self.live().associations.max as u64 * FLOOR_LEASE_BYTES);
    }

    /// Counts an instance that was refused, and remembers it for a while.
    pub(crate) fn count_refused(&self, refusal: &Refusal, peer: SocketAddr, calling_ae_title: &str) {
        let reason = refusal.reason();
        self.counters.refused(reason).increment();
        self.recent.add_refused(peer, calling_ae_title, RefusedWhat::Instance(reason), refusal);
    }

    /// Counts an association that was rejected, and remembers it for a while.
    pub(crate) fn count_rejected(&self, rejection: Rejection, peer: SocketAddr, calling_ae_title: &str) {
        self.counters.rejected(rejection).increment();
        self.recent.add_refused(peer, calling_ae_title, RefusedWhat::Association(rejection), "association rejected");
    }

    /// File descriptors that are not for associations.
    pub(crate) fn descriptor_reserve(&self) -> u64 {
        descriptors_of_writers(self.writer_count, self.live().writers.batch)
    }

    /// Counts what a peer did amiss. `Some`: it is to be logged, with how many of its kind were not since the last line.
    pub(crate) fn incident(&self, class: Class, kind: &'static str, peer: IpAddr) -> Option<u64> {
        self.incidents.note(class, kind, peer, self.live().log_repeat_interval)
    }

    /// The same for what is counted elsewhere.
    pub(crate) fn worth_a_line(&self, class: Class, kind: &'static str, peer: IpAddr) -> Option<u64> {
        self.incidents.worth_a_line(class, kind, peer, self.live().log_repeat_interval)
    }

    /// Counts an acknowledged instance by what its acknowledgement means.
    pub(crate) fn count_acknowledged(&self, stored: &Stored, durability: Durability, dataset_bytes: u64) {
        let counters = &self.counters;
        match (stored.outcome, durability) {
            (Outcome::Identical, _) => counters.instances_identical.increment(),
            (Outcome::New | Outcome::Replaced | Outcome::KeptBoth { .. }, Durability::Fsync) => {
                counters.instances_durable.increment()
            }
            (Outcome::New | Outcome::Replaced | Outcome::KeptBoth { .. }, Durability::None) => {
                counters.instances_unsynced.increment();
            }
        }
        counters.bytes_acknowledged.add(dataset_bytes);
    }
}

/// What the program held beyond all leases when the node had started: its own tables, the state of its threads, the mailbox.
#[derive(Debug, Default)]
pub(crate) struct Baseline(AtomicU64);

impl Baseline {
    /// Takes the measure.
    pub(crate) fn set(&self, allocator: &AllocatorStatistics, budget: &MemoryBudget) {
        self.0.store(allocator.in_use().saturating_sub(budget.in_use()), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether it has been measured: nothing allocated at all is no measure.
    pub(crate) fn is_set(&self) -> bool {
        self.get() > 0
    }
}

/// Counts an actor as long as there is one: it goes with the actor's value, on whatever way that goes.
#[derive(Debug)]
pub(crate) struct ActorCount(Arc<Shared>);

impl ActorCount {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.counters.actors.increment();
        Self(shared.clone())
    }
}

impl Drop for ActorCount {
    fn drop(&mut self) {
        self.0.counters.actors.subtract(1);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("budget", &self.budget).field("counters", &self.counters).finish_non_exhaustive()
    }
}
