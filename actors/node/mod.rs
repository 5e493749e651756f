//! The node: the order in which its actors start and stop.
//!
//! Start: storage (recovery), then the supervisor, which starts its children group after group, each when the one before is
//! ready. Stop: the listener, the associations, which finish the instance they are at, then the groups in the opposite order.
//! Whoever accepts work starts last and stops first.

pub(crate) mod children;
pub mod settings;
pub mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_rt::Arbiter;
use tidegate_memory::allocator::AllocatorError;
use tidegate_storage::{OpenError, Recovery, Store};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::settings::{LiveSettings, NodeSettings};
use self::shared::{Phase, Shared};
use crate::gauges::audit::AuditEvent;
use crate::gauges::observer::Observer;
use crate::network::listener::{Sockets, bind};
use crate::patience::{AwakeClock, within};
use crate::supervision::exit::Exit;
use crate::supervision::service::Service;
use crate::supervision::spec::{Group, SHUTDOWN_GRACE};
use crate::supervision::supervisor::{StopGroup, Supervisor};
use crate::supervision::tree::Failure;

/// After the grace period, how long associations get to say A-ABORT.
const ABORT_GRACE: Duration = Duration::from_secs(3);
/// At the end, how long the last audit messages get to be written.
const AUDIT_GRACE: Duration = Duration::from_secs(2);
/// How long the children have to get ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the supervisor has to answer, beyond what its children have to end; and the last actors to be dropped.
const LAST_GRACE: Duration = Duration::from_secs(1);
/// Between two looks whether the supervisor lives.
const HEART_LOOK: Duration = Duration::from_millis(250);
/// The longest time between two of these looks that counts: the supervisor cannot do its rounds while the process is stopped.
const LONGEST_GAP: Duration = HEART_LOOK.saturating_mul(2);

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
    /// There is no thread for the supervisor.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A child died or hung as it started, again and again.
    #[error("cannot start: {0}")]
    Failed(Failure),
    /// The children took too long.
    #[error("the node was not ready within {} s", START_TIMEOUT.as_secs())]
    NotReady,
}

/// How a node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Associations that had to be aborted in the middle of an instance.
    pub associations_aborted: usize,
    /// Actors that are still there: of threads that hang, or leaked.
    pub actors_left: u64,
    /// Bytes that are still leased, by them.
    pub leased_bytes_left: u64,
}

/// Tells from outside whether the supervisor lives: its count rises as long as it does its rounds.
#[derive(Clone, Debug)]
pub struct Heart(watch::Receiver<u64>);

impl Heart {
    /// Rounds so far.
    pub fn beats(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until there was a round since this was last called. False: there will be none.
    pub async fn beats_again(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    local_address: Option<SocketAddr>,
    tls_address: Option<SocketAddr>,
    recovery: Recovery,
    shared: Arc<Shared>,
    supervisor: Addr<Supervisor>,
    supervisor_thread: Arbiter,
    failure: watch::Receiver<Option<Failure>>,
    heart: Heart,
    /// Dropped last: it holds the lock on the storage root.
    store: Store,
}

impl Node {
    /// Starts a node, with `services` as further children of its supervisor, and waits until all of it is ready. Must be called
    /// on an actix system.
    ///
    /// # Errors
    /// If the storage cannot be opened, the address not be listened on, or a child does not come up.
    pub async fn start(settings: NodeSettings, services: Vec<Service>) -> Result<Self, StartError> {
        let NodeSettings { listen, tls_listen, association_threads, writers, storage, audits, live } = settings;
        let (store, recovery) = Store::open(storage)?;
        let (plain, local_address) = bind_if(listen)?.unzip();
        let (tls, tls_address) = bind_if(tls_listen)?.unzip();
        let sockets = Sockets { plain, tls };
        let shared = Arc::new(Shared::new(live, writers, association_threads, audits, &store)?);
        let specs = children::specs(&shared, &store, writers, association_threads, sockets, services);
        let supervisor_thread = Arbiter::try_new().map_err(StartError::Thread)?;
        let (supervisor, signs) = Supervisor::start(&supervisor_thread, specs, shared.clone());
        let (mut up, failure, heart) = (signs.up, signs.failure, Heart(signs.heart));
        let node =
            Self { local_address, tls_address, recovery, shared, supervisor, supervisor_thread, failure, heart, store };
        let refused = tokio::select! {
            up = within(START_TIMEOUT, up.wait_for(|up| *up)) => match up {
                Ok(Ok(_)) => {
                    node.shared.record(|| AuditEvent::Started);
                    return Ok(node);
                }
                Ok(Err(_)) => StartError::Failed(Failure::Supervisor(Exit::ThreadDied)),
                Err(_) => StartError::NotReady,
            },
            failure = node.failed() => StartError::Failed(failure),
        };
        node.stop(Duration::ZERO).await;
        Err(refused)
    }

    /// Where it listens without TLS, if it does; tells the port if any free one was asked for.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local_address
    }

    /// Where it listens for TLS, if it does.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// A look into the running node, for whoever wants to know what it holds.
    pub fn observer(&self) -> Observer {
        Observer::new(self.shared.clone())
    }

    /// What an earlier end of the node left behind.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What filesystem the storage root is on.
    pub fn filesystem(&self) -> tidegate_storage::fs::Filesystem {
        self.store.filesystem()
    }

    /// The supervisor's heart.
    pub fn heart(&self) -> Heart {
        self.heart.clone()
    }

    /// Puts other settings in force, all at once. Open associations keep their timers and what they have negotiated.
    pub fn apply(&self, live: LiveSettings) {
        self.shared.apply(live);
    }

    /// Waits until the node cannot go on; the evidence is in the log by then. Stop it.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.clone();
        let told = async {
            match failure.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
                Ok(Some(failure)) => failure,
                Ok(None) | Err(_) => Failure::Supervisor(Exit::ThreadDied),
            }
        };
        tokio::select! {
            failure = told => failure,
            quiet_for = self.supervisor_hangs() => Failure::Supervisor(Exit::Hung { quiet_for }),
        }
    }

    /// Waits until the supervisor has not done a round for as long as any child may hang.
    async fn supervisor_hangs(&self) -> Duration {
        let mut clock = AwakeClock::new(LONGEST_GAP, Instant::now());
        let (mut beats, mut since) = (self.heart.beats(), clock.look(Instant::now()));
        loop {
            sleep(HEART_LOOK).await;
            let now = clock.look(Instant::now());
            if self.heart.beats() != beats {
                (beats, since) = (self.heart.beats(), now);
            }
            if now - since >= self.shared.live().supervision.hang_timeout {
                return now - since;
            }
        }
    }

    /// Stops the node: no new associations, those that are open get `grace` to finish the instance they are at, then they are
    /// aborted. What has been acknowledged is stored.
    pub async fn stop(self, grace: Duration) -> Stopped {
        self.shared.phase.send_replace(Phase::Draining);
        let mut answers = self.stop_group(Group::Listener).await;
        self.wait_for_associations(grace).await;
        let associations_aborted = self.shared.admission.open();
        self.shared.phase.send_replace(Phase::Aborting);
        self.wait_for_associations(ABORT_GRACE).await;
        self.shared.record(|| AuditEvent::Stopping);
        self.wait_for_audit().await;
        for group in Group::ALL.into_iter().rev() {
            // A supervisor that does not answer is the failure that brought the node down.
            answers = answers && self.stop_group(group).await;
        }
        self.supervisor_thread.stop();
        self.wait_for_actors().await;
        Stopped {
            associations_aborted,
            actors_left: self.shared.counters.actors.get(),
            leased_bytes_left: self.shared.budget.held(),
        }
    }

    /// Stops a group; whether the supervisor has answered.
    async fn stop_group(&self, group: Group) -> bool {
        let patience = SHUTDOWN_GRACE + LAST_GRACE;
        within(patience, self.supervisor.send(StopGroup(group))).await.is_ok_and(|answer| answer.is_ok())
    }

    async fn wait_for_associations(&self, patience: Duration) {
        wait_until(patience, || self.shared.admission.open() == 0).await;
    }

    /// What has happened is written down before the node is gone, unless that takes too long.
    async fn wait_for_audit(&self) {
        wait_until(AUDIT_GRACE, || self.shared.audit.as_ref().is_none_or(|trail| trail.is_done())).await;
    }

    /// Threads that were told to end drop their actors a moment later.
    async fn wait_for_actors(&self) {
        wait_until(LAST_GRACE, || self.shared.counters.actors.get() == 0 && self.shared.budget.held() == 0).await;
    }
}

/// Looks again and again whether something has come about, for as long as `patience`.
async fn wait_until(patience: Duration, has_come: impl Fn() -> bool) {
    let looks = async {
        while !has_come() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = within(patience, looks).await; // what is left is counted by the caller
}

fn bind_if(address: Option<SocketAddr>) -> Result<Option<(std::net::TcpListener, SocketAddr)>, StartError> {
    let bound = |address| bind(address).map_err(|source| StartError::Listen { address, source });
    address.map(bound).transpose()
}
