//! The node: the order in which its actors start and stop.
//!
//! Invariant: the part that accepts work starts last and stops first. Start: the storage with its recovery, then the supervisor, which
//! starts its children group after group, each when the one before is ready. Stop: the listener, the associations in both directions, which finish
//! their current instance, then the groups in the opposite order.

pub(crate) mod children;
mod delivery_settings;
pub(crate) mod event_settings;
pub(crate) mod live;
pub(crate) mod phase;
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
use tracing::warn;

use self::phase::Phase;
use self::settings::{LiveSettings, NodeSettings};
use self::shared::Shared;
use crate::committed::Subscriber;
use crate::gauges::audit::AuditEvent;
use crate::gauges::observer::Observer;
use crate::network::listener::{Sockets, bind};
use crate::patience::{AwakeClock, within};
use crate::supervision::exit::Exit;
use crate::supervision::service::Service;
use crate::supervision::spec::{Group, SHUTDOWN_GRACE};
use crate::supervision::supervisor::{StopGroup, Supervisor};
use crate::supervision::tree::Failure;

/// Time for associations to send A-ABORT after the grace period.
const ABORT_GRACE: Duration = Duration::from_secs(3);
/// Time for the last audit messages to be written.
const AUDIT_GRACE: Duration = Duration::from_secs(2);
/// Time for the children to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the supervisor to answer, beyond the time that its children have to end; also for the last actors to be dropped.
const LAST_GRACE: Duration = Duration::from_secs(1);
/// Interval at which the supervisor's heartbeat is checked.
const HEART_LOOK: Duration = Duration::from_millis(250);
/// The longest gap between two checks that counts: while the process is stopped, the supervisor has no heartbeat.
const LONGEST_GAP: Duration = HEART_LOOK.saturating_mul(2);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The storage root cannot be used.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// jemalloc's figures cannot be read, so memory pressure could not be watched.
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    /// The listening socket cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The supervisor's thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A child died or hung at its start, more often than it may be restarted.
    #[error("cannot start: {0}")]
    Failed(Failure),
    /// The children took too long.
    #[error("the node was not ready within {} s", START_TIMEOUT.as_secs())]
    NotReady,
}

/// How a node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Associations that were aborted in the middle of an instance.
    pub associations_aborted: usize,
    /// Actors that still exist: on hung threads, or leaked.
    pub actors_left: u64,
    /// Bytes that they still lease.
    pub leased_bytes_left: u64,
}

/// The supervisor's heartbeat, seen from outside: the count rises with each of its looks.
#[derive(Clone, Debug)]
pub struct Heart(watch::Receiver<u64>);

impl Heart {
    /// Heartbeats so far.
    pub fn beats(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits for a heartbeat since the last call. False: the supervisor has ended.
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
    /// Starts a node, with `services` as further children of its supervisor and `subscribers` that are told of committed instances, and waits
    /// until every child is ready. Must be called on an actix system.
    ///
    /// # Errors
    /// If the storage cannot be opened, an address cannot be bound, or a child does not become ready.
    pub async fn start(
        settings: NodeSettings,
        services: Vec<Service>,
        subscribers: Vec<Arc<dyn Subscriber>>,
    ) -> Result<Self, StartError> {
        let NodeSettings { listen, tls_listen, association_threads, writers, storage, audits, catalogue, live } =
            settings;
        // A recovery may take long, and the thread that waits for signals must not.
        let open = move || {
            let opened = Store::open(storage)?;
            if let Err(error) = opened.0.begin_associations() {
                warn!(%error, "numbers of associations cannot be read; instances are stored without receipts");
            }
            Ok::<_, OpenError>(opened)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let (store, recovery) = opened.map_err(|error| StartError::Thread(error.into()))??;
        let (plain, local_address) = bind_if(listen)?.unzip();
        let (tls, tls_address) = bind_if(tls_listen)?.unzip();
        let sockets = Sockets { plain, tls };
        let shared = Shared::new(live, writers, association_threads, audits, catalogue, &store, subscribers)?;
        let shared = Arc::new(shared);
        if shared.commitment.is_none() && shared.live().commitment.is_enabled {
            warn!("storage commitment is not served: it needs the catalogue (catalogue.path)");
        }
        let specs = children::specs(&shared, writers, association_threads, sockets, services);
        let supervisor_thread = Arbiter::try_new().map_err(StartError::Thread)?;
        let (supervisor, signs) =
            Supervisor::start(&supervisor_thread, specs, shared.supervisor_env(children::destinations(&shared)));
        let (mut up, failure, heart) = (signs.up, signs.failure, Heart(signs.heart));
        let node =
            Self { local_address, tls_address, recovery, shared, supervisor, supervisor_thread, failure, heart, store };
        let refused = tokio::select! {
            up = within(START_TIMEOUT, up.wait_for(|up| *up)) => match up {
                Ok(Ok(_)) => {
                    node.shared.gauges.record(|| AuditEvent::Started);
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

    /// The address without TLS, if any, with the actual port.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local_address
    }

    /// The address with TLS, if any.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// A view of the running node, for the surfaces of operators.
    pub fn observer(&self) -> Observer {
        Observer::new(self.shared.clone())
    }

    /// The result of the recovery at the start.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The filesystem of the storage root.
    pub fn filesystem(&self) -> tidegate_storage::fs::Filesystem {
        self.store.filesystem()
    }

    /// The supervisor's heartbeat.
    pub fn heart(&self) -> Heart {
        self.heart.clone()
    }

    /// Applies new settings, all at once. Open associations keep their timers and their negotiated values.
    pub fn apply(&self, live: LiveSettings) {
        self.shared.apply(live);
    }

    /// Waits until the node fails. The evidence is in the log by then; the caller must stop the node.
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

    /// Waits until the supervisor has had no heartbeat for the time after which a child counts as hung.
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

    /// Stops the node. No new associations are accepted; open ones have `grace` to finish their current instance and are then aborted.
    /// Acknowledged instances are stored.
    pub async fn stop(self, grace: Duration) -> Stopped {
        if self.shared.phase.send_replace(Phase::Draining) == Phase::Serving {
            self.shared.tell_draining("stop");
        }
        let mut answers = self.stop_group(Group::Listener).await;
        self.wait_for_associations(grace).await;
        let associations_aborted = self.shared.admission.open();
        self.shared.phase.send_replace(Phase::Aborting);
        self.wait_for_associations(ABORT_GRACE).await;
        self.shared.gauges.record(|| AuditEvent::Stopping);
        self.wait_for_audit().await;
        for group in Group::ALL.into_iter().rev() {
            // A supervisor that does not answer is the very failure that stops the node.
            answers = answers && self.stop_group(group).await;
        }
        self.supervisor_thread.stop();
        self.wait_for_actors().await;
        Stopped {
            associations_aborted,
            actors_left: self.shared.gauges.counters.actors.get(),
            leased_bytes_left: self.shared.budget.held(),
        }
    }

    /// Stops a group. False: the supervisor did not answer.
    async fn stop_group(&self, group: Group) -> bool {
        let patience = SHUTDOWN_GRACE + LAST_GRACE;
        within(patience, self.supervisor.send(StopGroup(group))).await.is_ok_and(|answer| answer.is_ok())
    }

    async fn wait_for_associations(&self, patience: Duration) {
        let calls = || self.shared.commitment.as_ref().map_or(0, |commitment| commitment.calls());
        let deliveries = || self.shared.delivery.connections();
        wait_until(patience, || self.shared.admission.open() == 0 && calls() == 0 && deliveries() == 0).await;
    }

    /// Waits until the audit has written its last messages, for a bounded time.
    async fn wait_for_audit(&self) {
        wait_until(AUDIT_GRACE, || self.shared.gauges.audit.as_ref().is_none_or(|trail| trail.is_done())).await;
    }

    /// Waits for ending threads to drop their actors, for a bounded time.
    async fn wait_for_actors(&self) {
        self.shared.passcodes.release();
        if let Some(catalogue) = &self.shared.catalogue {
            catalogue.clear();
        }
        if let Some(commitment) = &self.shared.commitment {
            commitment.clear();
        }
        wait_until(LAST_GRACE, || self.shared.gauges.counters.actors.get() == 0 && self.shared.budget.held() == 0)
            .await;
    }
}

/// Polls a condition until it holds, for at most `patience`.
async fn wait_until(patience: Duration, has_come: impl Fn() -> bool) {
    let looks = async {
        while !has_come() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = within(patience, looks).await; // the caller counts what is left
}

fn bind_if(address: Option<SocketAddr>) -> Result<Option<(std::net::TcpListener, SocketAddr)>, StartError> {
    let bound = |address| bind(address).map_err(|source| StartError::Listen { address, source });
    address.map(bound).transpose()
}
