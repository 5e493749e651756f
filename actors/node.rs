//! The node: what its actors share, and the order in which they start and stop.
//!
//! Start: storage (recovery) → supervisor → writers → listener. Stop: listener → associations, which finish the instance they
//! are at → writers. Whoever accepts work starts last and stops first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_rt::Arbiter;
use dicom_core::Tag;
use tidegate_memory::MemoryBudget;
use tidegate_memory::allocator::{AllocatorError, AllocatorProbe};
use tidegate_memory::pressure::Level;
use tidegate_protocol::Policy;
use tidegate_storage::{Durability, OpenError, Outcome, Recovery, Store, Stored};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::admission::Admission;
use crate::listener::{Listener, bind};
use crate::mailbox::WriterMailbox;
use crate::observer::{Baseline, Observer};
use crate::settings::{AssociationSettings, NodeSettings};
use crate::statistics::Statistics;
use crate::supervisor::{Stop, Supervisor};

/// After the grace period, how long associations get to say A-ABORT.
const ABORT_GRACE: Duration = Duration::from_secs(3);

/// What the node is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything is served.
    Serving,
    /// No new associations; those that are open finish the instance they are at.
    Draining,
    /// The grace period is over: associations end now.
    Aborting,
}

/// What all actors of a node share.
pub struct Shared {
    pub(crate) associations: AssociationSettings,
    pub(crate) policy: Arc<Policy>,
    pub(crate) handoff_timeout: Duration,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) budget: MemoryBudget,
    pub(crate) admission: Arc<Admission>,
    pub(crate) statistics: Statistics,
    pub(crate) phase: watch::Receiver<Phase>,
    /// How short memory is, as the supervisor sees it.
    pub(crate) pressure: watch::Sender<Level>,
    /// The account of the association that is to end because memory is short.
    pub(crate) eviction: watch::Sender<Option<u64>>,
    pub(crate) probe: AllocatorProbe,
    pub(crate) baseline: Baseline,
    /// Elements the layout is made of.
    pub(crate) wanted: Arc<[Tag]>,
    pub(crate) durability: Durability,
}

impl Shared {
    /// Counts an acknowledged instance by what its acknowledgement means.
    pub(crate) fn count_acknowledged(&self, stored: &Stored, dataset_bytes: u64) {
        let statistics = &self.statistics;
        match (stored.outcome, self.durability) {
            (Outcome::Identical, _) => statistics.instances_identical.increment(),
            (Outcome::New | Outcome::Replaced | Outcome::KeptBoth { .. }, Durability::Fsync) => {
                statistics.instances_durable.increment()
            }
            (Outcome::New | Outcome::Replaced | Outcome::KeptBoth { .. }, Durability::None) => {
                statistics.instances_unsynced.increment();
            }
        }
        statistics.bytes_acknowledged.add(dataset_bytes);
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage root cannot be used.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// jemalloc does not tell its figures, so the budget could not be enforced.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    /// The listening socket cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    local_address: SocketAddr,
    recovery: Recovery,
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    supervisor: Addr<Supervisor>,
    /// The threads that serve associations.
    arbiters: Vec<Arbiter>,
    /// Dropped last: it holds the lock on the storage root.
    _store: Arc<Store>,
}

impl Node {
    /// Starts a node. Must be called on an actix system.
    ///
    /// # Errors
    /// If the storage cannot be opened or the address not be listened on.
    pub async fn start(settings: NodeSettings) -> Result<Self, StartError> {
        let durability = settings.storage.durability;
        let (store, recovery) = Store::open(settings.storage)?;
        let store = Arc::new(store);
        let (socket, local_address) =
            bind(settings.listen).map_err(|source| StartError::Listen { address: settings.listen, source })?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let writers = settings.writers;
        let associations = settings.associations;
        let shared = Arc::new(Shared {
            policy: Arc::new(associations.policy.clone()),
            handoff_timeout: writers.handoff_timeout,
            mailbox: Arc::new(WriterMailbox::new(writers.mailbox_capacity, writers.count)),
            budget: MemoryBudget::new(settings.memory_budget_bytes),
            admission: Arc::new(Admission::new(
                associations.max,
                associations.max_per_address,
                associations.max_per_calling_ae,
            )),
            statistics: Statistics::default(),
            phase: watched,
            pressure: watch::Sender::new(Level::Normal),
            eviction: watch::Sender::new(None),
            probe: AllocatorProbe::new()?,
            baseline: Baseline::default(),
            wanted: store.wanted(),
            durability,
            associations,
        });
        let supervisor = Supervisor::new(shared.clone(), store.clone(), writers, settings.statistics_interval).start();
        let arbiters: Vec<_> = (0..shared.associations.arbiters).map(|_| Arbiter::new()).collect();
        let handles = arbiters.iter().map(Arbiter::handle).collect();
        Listener::new(socket, handles, shared.clone()).start();
        Ok(Self { local_address, recovery, shared, phase, supervisor, arbiters, _store: store })
    }

    /// Where it listens; tells the port if any free one was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// A look into the running node, for whoever wants to know what it holds.
    pub fn observer(&self) -> Observer {
        Observer::new(self.shared.clone())
    }

    /// What an earlier end of the node left behind.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Stops the node: no new associations, those that are open get `grace` to finish the instance they are at, then they are
    /// aborted. What has been acknowledged is stored. Returns how many associations had to be aborted in the middle of an
    /// instance.
    pub async fn stop(self, grace: Duration) -> usize {
        let _ = self.phase.send(Phase::Draining);
        self.wait_for_associations(grace).await;
        let cut_off = self.shared.admission.open();
        let _ = self.phase.send(Phase::Aborting);
        self.wait_for_associations(ABORT_GRACE).await;
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        let _ = self.supervisor.send(Stop).await;
        cut_off
    }

    async fn wait_for_associations(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while self.shared.admission.open() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("budget", &self.budget)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}
