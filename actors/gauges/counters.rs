//! The counters that all actors share. A counter only rises; a gauge is marked as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_protocol::{ContextRefusal, Rejection};
use tidegate_storage::{Durability, Outcome};

use crate::refusal::Reason;

/// A number that several threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts `n`: gauges only.
    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets the number: gauges with one writing thread only.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The reason to spool a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolReason {
    /// It is longer than `[memory] spool_threshold`.
    Threshold,
    /// The budget had no memory for its next bytes.
    Budget,
    /// Memory pressure asks for it: the level `Spool` or above.
    Pressure,
}

impl SpoolReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Threshold, Self::Budget, Self::Pressure];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Budget => "budget",
            Self::Pressure => "pressure",
        }
    }
}

/// The counts of the node since its start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Associations accepted.
    pub associations_accepted: Counter,
    /// Associations that the peer aborted, or whose connection broke.
    pub associations_lost: Counter,
    /// Associations aborted for a violation of the protocol or a timeout.
    pub associations_aborted: Counter,
    /// Of them, those that a reload of the configuration ended.
    pub associations_superseded: Counter,
    /// Connections that did not send DICOM, or sent nothing.
    pub connections_not_dicom: Counter,
    /// Connections to the TLS port that did not send TLS.
    pub connections_not_tls: Counter,
    /// Connections from a balancer that did not begin with a PROXY header.
    pub proxy_headers_missing: Counter,
    /// Associations that no access rule allows.
    pub associations_denied: Counter,
    /// Associations whose user identity was missing or wrong.
    pub users_rejected: Counter,
    /// TLS handshakes that succeeded.
    pub tls_handshakes: Counter,
    /// TLS handshakes that failed: no version, suite or certificate in common, or one that is not trusted.
    pub tls_handshakes_failed: Counter,
    /// Bytes read from connections, protocol included.
    pub bytes_received: Counter,
    /// Dataset bytes of the acknowledged instances.
    pub bytes_acknowledged: Counter,
    /// Gauge: bytes in spool files of datasets that are still arriving.
    pub spool_bytes: Counter,
    /// Gauge: writers with jobs in flight.
    pub writers_busy: Counter,
    /// Microseconds that writers were at work, together. A batch counts when it ends.
    pub writers_busy_us: Counter,
    /// Datasets handed to another writer because their writer died.
    pub handed_over_again: Counter,
    /// Datasets refused because no writer had answered within `commit_timeout`.
    pub commits_timed_out: Counter,
    /// Writers replaced.
    pub writers_replaced: Counter,
    /// Restarts of children, writers included.
    pub restarts: Counter,
    /// Associations that a panic ended.
    pub associations_panicked: Counter,
    /// Gauge: hung threads that have not ended.
    pub hung_threads: Counter,
    /// Milliseconds in which the process should have run and did not: stopped, suspended, or without CPU.
    pub stalled_ms: Counter,
    /// Gauge: seconds on end in which a newcomer was refused memory.
    pub memory_short_seconds: Counter,
    /// Gauge: 1 if the last reload of the configuration failed.
    pub reload_failed: Counter,
    /// Gauge: actors that exist.
    pub actors: Counter,
    /// Times the sentinel suspected a leak.
    pub leaks_suspected: Counter,
    /// Gauge: bytes a second by which the floor of unattributed memory rises; 0 if it does not rise.
    pub unattributed_slope_bytes_per_s: Counter,
    acknowledged: [[Counter; Outcome::NAMES.len()]; Durability::ALL.len()],
    refused: [Counter; Reason::ALL.len()],
    rejected: [Counter; Rejection::ALL.len()],
    contexts_refused: [Counter; ContextRefusal::ALL.len()],
    spooled: [Counter; SpoolReason::ALL.len()],
}

impl Counters {
    /// Instances acknowledged, by the position of their outcome in [`Outcome::NAMES`].
    pub fn acknowledged(&self, durability: Durability) -> &[Counter; Outcome::NAMES.len()] {
        &self.acknowledged[durability as usize]
    }

    /// Instances refused for `reason`.
    pub fn refused(&self, reason: Reason) -> &Counter {
        &self.refused[reason as usize]
    }

    /// Associations rejected for this reason.
    pub fn rejected(&self, rejection: Rejection) -> &Counter {
        &self.rejected[rejection as usize]
    }

    /// Presentation contexts refused for this reason.
    pub fn contexts_refused(&self, reason: ContextRefusal) -> &Counter {
        &self.contexts_refused[reason as usize]
    }

    /// Datasets that went to the spool for this reason.
    pub fn spooled(&self, reason: SpoolReason) -> &Counter {
        &self.spooled[reason as usize]
    }

    /// Instances refused.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().map(Counter::get).sum()
    }

    /// Instances acknowledged.
    pub fn acknowledged_total(&self) -> u64 {
        self.acknowledged.iter().flatten().map(Counter::get).sum()
    }
}

/// Counts an actor while it exists. It is a field of the actor, so every way to drop the actor is counted.
#[derive(Debug)]
pub(crate) struct ActorCount(Arc<Counters>);

impl ActorCount {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.actors.increment();
        Self(counters.clone())
    }
}

impl Drop for ActorCount {
    fn drop(&mut self) {
        self.0.actors.subtract(1);
    }
}
