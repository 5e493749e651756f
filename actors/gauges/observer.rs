//! What the running node says of itself: who holds what, since when, and what the allocator makes of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_memory::allocator::AllocatorError;
use tidegate_memory::snapshot::unattributed;
use tidegate_memory::{AllocatorStatistics, Holder, Level, Location, MemorySnapshot, StageBytes};
use tidegate_storage::{Durability, Space, StoreError};
use tracing::warn;

use super::activity::{AssociationUse, WriterUse};
use super::alarm::Alarm;
use super::audit::{AuditEvent, AuditPeer, Denial, Operation};
use super::audit_queue::AuditTrail;
use super::counters::Counters;
use super::history::Point;
use super::incidents::Class;
use super::latency::Latencies;
use super::recent::{ChildEnded, Refused};
use crate::node::phase::Phase;
use crate::node::shared::Shared;
use crate::supervision::tree::ChildStatus;

/// A look into the running node, from any thread.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Shared>);

impl Observer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The figures of this moment.
    ///
    /// # Errors
    /// If jemalloc does not tell its figures.
    pub fn statistics(&self) -> Result<StatisticsSnapshot, AllocatorError> {
        StatisticsSnapshot::of(&self.0)
    }

    /// What the node has counted since it started.
    pub fn counters(&self) -> &Counters {
        &self.0.gauges.counters
    }

    /// What peers did amiss since it started, by kind; rejections and refusals are among [`Self::counters`].
    pub fn incidents(&self) -> BTreeMap<(Class, &'static str), u64> {
        self.0.gauges.incidents.counts()
    }

    /// How long the steps of instances took since it started.
    pub fn latencies(&self) -> &Latencies {
        &self.0.gauges.latencies
    }

    /// Every child of the supervisor, as it last saw them: a second ago at most.
    pub fn children(&self) -> Arc<[ChildStatus]> {
        self.0.gauges.children.read().clone()
    }

    /// What was refused lately, the latest first.
    pub fn recently_refused(&self) -> Vec<Refused> {
        self.0.gauges.recent.refused()
    }

    /// Children that ended lately, the latest first.
    pub fn recently_ended(&self) -> Vec<ChildEnded> {
        self.0.gauges.recent.ended()
    }

    /// The last `count` seconds, oldest first; there are [`crate::gauges::history::POINTS`] at most.
    pub fn history(&self, count: usize) -> Vec<Point> {
        self.0.gauges.history.last(count)
    }

    /// What the node is about.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// How short memory is.
    pub fn pressure(&self) -> Level {
        *self.0.pressure.borrow()
    }

    /// When the node started.
    pub fn started(&self) -> SystemTime {
        self.0.started
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        let live = self.0.live();
        Limits {
            ae_title: live.associations.policy.ae_title.clone(),
            associations: live.associations.max,
            mailbox_capacity: live.writers.mailbox_capacity,
            min_free_bytes: self.0.store.settings().min_free_bytes,
            durability: self.0.durability,
        }
    }

    /// Every open association, the oldest first.
    pub fn associations(&self) -> Vec<AssociationUse> {
        self.0.gauges.open.all(|account| self.0.budget.by_stage_of(account).total())
    }

    /// Associations open.
    pub fn open_associations(&self) -> usize {
        self.0.admission.open()
    }

    /// Every writer since it was last started, in the order of [`Self::children`].
    pub fn writers(&self) -> Vec<WriterUse> {
        self.0.gauges.writers.all()
    }

    /// The longest time that a writer has had its jobs.
    pub fn longest_busy(&self) -> Duration {
        self.0.gauges.writers.longest_busy()
    }

    /// Jobs waiting for a writer.
    pub fn mailbox_depth(&self) -> usize {
        self.0.mailbox.depth()
    }

    /// Aborts the association with this [`AssociationUse::id`], because an operator wants it; false if there is none. Its peer gets
    /// an A-ABORT, its unfinished dataset is dropped.
    pub fn abort(&self, id: u64) -> bool {
        let found = self.0.gauges.open.end(id);
        if found {
            warn!(id, "association aborted by an operator");
            self.record_operation(Operation::Abort(id));
        }
        found
    }

    /// No new associations from now on; those that are open go on. A node that is stopping goes on with that.
    pub fn drain(&self) {
        if self.change_phase(Phase::Serving, Phase::Drained) {
            warn!("drained by an operator; new associations are rejected");
            self.record_operation(Operation::Drain);
        }
    }

    /// New associations again; false if the node is stopping.
    pub fn undrain(&self) -> bool {
        if self.change_phase(Phase::Drained, Phase::Serving) {
            warn!("drain ended by an operator");
            self.record_operation(Operation::EndDrain);
        }
        self.phase() == Phase::Serving
    }

    fn change_phase(&self, from: Phase, to: Phase) -> bool {
        self.0.phase.send_if_modified(|phase| {
            let is_it = *phase == from;
            if is_it {
                *phase = to;
            }
            is_it
        })
    }

    /// Looks at the storage, by asking for its space and by writing a small file. Blocks for as long as the disk does.
    pub fn look_at_storage(&self) -> StorageLook {
        let store = &self.0.store;
        StorageLook { space: store.space(), written: store.try_write(), set_aside: store.set_aside() }
    }

    /// Waits for the next alarm, for `patience`: a flight record is due. Called by one thread, which may block.
    pub fn wait_for_alarm(&self, patience: Duration) -> Option<Alarm> {
        self.0.gauges.alarms.next(patience)
    }

    /// The alarm that [`Self::wait_for_alarm`] returned is dealt with.
    pub fn alarm_handled(&self) {
        self.0.gauges.alarms.handled();
    }

    /// Asks for a flight record.
    pub fn raise(&self, alarm: Alarm) {
        self.0.gauges.alarms.raise(alarm);
    }

    /// Whether every alarm raised so far is dealt with.
    pub fn alarms_are_handled(&self) -> bool {
        self.0.gauges.alarms.are_handled()
    }

    /// What is to be written down for an audit; `None`: nothing is.
    pub fn audit(&self) -> Option<Arc<AuditTrail>> {
        self.0.gauges.audit.clone()
    }

    /// Records for the audit what an operator did.
    pub fn record_operation(&self, operation: Operation) {
        self.0.gauges.record(|| AuditEvent::Operated(operation));
    }

    /// Records for the audit that a client of the admin surface has not shown the token.
    pub fn record_wrong_token(&self, address: SocketAddr) {
        let peer = AuditPeer { address, calling_ae_title: String::new(), certificate: String::new() };
        self.0.gauges.record(|| AuditEvent::Denied { peer, denial: Denial::Token });
    }

    /// An account for someone outside the actors who will hold leases of the node's budget.
    pub fn open_account(&self, label: &str) -> Holder {
        self.0.budget.open_account(label)
    }

    /// The memory of this moment. A lease that waits in the mailbox says how many jobs stand before it.
    ///
    /// # Errors
    /// If jemalloc does not tell its figures.
    pub fn memory(&self) -> Result<MemorySnapshot, AllocatorError> {
        let shared = &self.0;
        let pressure = *shared.pressure.borrow();
        let mut snapshot = shared.budget.snapshot(shared.probe.read()?, shared.baseline.get(), pressure);
        let taken = shared.mailbox.taken_so_far();
        let locations =
            snapshot.holders.iter_mut().flat_map(|holder| &mut holder.leases).map(|lease| &mut lease.location);
        for location in locations {
            if let Location::Mailbox { ticket } = location {
                *ticket = ticket.saturating_sub(taken);
            }
        }
        Ok(snapshot)
    }
}

/// What of the settings in force an observer needs to judge the figures.
#[derive(Clone, Debug)]
pub struct Limits {
    /// AE title of the node.
    pub ae_title: String,
    /// Associations that may be open.
    pub associations: usize,
    /// Datasets that may wait for a writer.
    pub mailbox_capacity: usize,
    /// Space to be kept free.
    pub min_free_bytes: u64,
    /// What an acknowledgement means.
    pub durability: Durability,
}

/// What the storage was like at one moment.
#[derive(Clone, Debug)]
pub struct StorageLook {
    /// Its space.
    pub space: Result<Space, StoreError>,
    /// Whether a file could be written.
    pub written: Result<(), StoreError>,
    /// Files quarantined below `.tidegate/lost`.
    pub set_aside: Result<u64, StoreError>,
}

/// The node's figures at one moment: what the statistics line says, and what the admin surface will. Fields with `_total` only
/// rise.
#[derive(Clone, Copy, Debug)]
pub struct StatisticsSnapshot {
    /// When it was taken.
    pub at: Instant,
    /// jemalloc's figures.
    pub allocator: AllocatorStatistics,
    /// What all leases together may hold.
    pub budget_bytes: u64,
    /// What they hold, by stage.
    pub leased: StageBytes,
    /// Of that, leased for later and not allocated now.
    pub leased_unused_bytes: u64,
    /// The most they have held.
    pub leased_highest_bytes: u64,
    /// In use beyond leases when the node had started.
    pub baseline_bytes: u64,
    /// In use, and neither leased nor in the baseline.
    pub unattributed_bytes: i64,
    /// How short memory is.
    pub pressure: Level,
    /// Associations open.
    pub associations: usize,
    /// Datasets waiting for a writer.
    pub mailbox_depth: usize,
    /// Writers with work in hand.
    pub writers_busy: u64,
    /// In spool files of datasets that are still arriving.
    pub spool_bytes: u64,
    /// Instances acknowledged.
    pub acknowledged_total: u64,
    /// Bytes of their datasets.
    pub acknowledged_bytes_total: u64,
    /// Instances answered with anything but success.
    pub refused_total: u64,
    /// Writers that died and were replaced.
    pub writers_replaced_total: u64,
    /// Children of the supervisor started again, writers included.
    pub restarts_total: u64,
    /// Associations that a panic ended.
    pub associations_panicked_total: u64,
    /// Threads that were given up because they hung, and still do.
    pub hung_threads: u64,
    /// Actors there are.
    pub actors: u64,
}

impl StatisticsSnapshot {
    pub(crate) fn of(shared: &Shared) -> Result<Self, AllocatorError> {
        let allocator = shared.probe.read()?;
        let counters = &shared.gauges.counters;
        let (leased, baseline_bytes) = (shared.budget.by_stage(), shared.baseline.get());
        Ok(Self {
            at: Instant::now(),
            allocator,
            budget_bytes: shared.budget.limit(),
            leased,
            leased_highest_bytes: shared.budget.highest(),
            baseline_bytes,
            leased_unused_bytes: shared.budget.unused(),
            unattributed_bytes: unattributed(&allocator, shared.budget.in_use(), baseline_bytes),
            pressure: *shared.pressure.borrow(),
            associations: shared.admission.open(),
            mailbox_depth: shared.mailbox.depth(),
            writers_busy: counters.writers_busy.get(),
            spool_bytes: counters.spool_bytes.get(),
            acknowledged_total: counters.acknowledged_total(),
            acknowledged_bytes_total: counters.bytes_acknowledged.get(),
            refused_total: counters.refused_total(),
            writers_replaced_total: counters.writers_replaced.get(),
            restarts_total: counters.restarts.get(),
            associations_panicked_total: counters.associations_panicked.get(),
            hung_threads: counters.hung_threads.get(),
            actors: counters.actors.get(),
        })
    }
}
