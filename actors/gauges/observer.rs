//! The view that surfaces for operators have of the running node: its figures, the holders of its memory, and their age.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_commitment::Retried;
use tidegate_memory::allocator::AllocatorError;
use tidegate_memory::snapshot::unattributed;
use tidegate_memory::{AllocatorStatistics, Holder, Level, Location, MemorySnapshot, StageBytes};
use tidegate_storage::{Durability, Space, StoreError};
use tracing::field::display;
use tracing::warn;

use super::activity::{AssociationUse, EndCause, WriterUse};
use super::alarm::Alarm;
use super::audit::{AuditEvent, AuditPeer, AuditQuery, Denial, Operation, Operator};
use super::audit_queue::AuditTrail;
use super::counters::Counters;
use super::ended::EndedAssociation;
use super::history::Point;
use super::incidents::Class;
use super::latency::{Distribution, Latencies};
use super::recent::{ChildEnded, Refused};
use crate::catalogue::state::{CatalogueRequest, CatalogueState, Condition};
use crate::commitment::state::CommitmentState;
use crate::delivery::state::DestinationState;
use crate::network::handshake::HandshakeFailure;
use crate::node::phase::Phase;
use crate::node::settings::CertificateEnds;
use crate::node::shared::Shared;
use crate::supervision::spec::Group;
use crate::supervision::status::{ChildState, ChildStatus};

/// A view of the running node, for any thread.
#[derive(Clone, Debug)]
pub struct Observer(pub(super) Arc<Shared>);

impl Observer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The figures of this moment.
    ///
    /// # Errors
    /// If jemalloc's figures cannot be read.
    pub fn statistics(&self) -> Result<StatisticsSnapshot, AllocatorError> {
        StatisticsSnapshot::of(&self.0)
    }

    /// The counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.gauges.counters
    }

    /// Incidents of peers since the start, by kind; rejections and refusals are among [`Self::counters`].
    pub fn incidents(&self) -> BTreeMap<(Class, &'static str), u64> {
        self.0.gauges.incidents.counts()
    }

    /// Durations of the steps of instances since the start.
    pub fn latencies(&self) -> &Latencies {
        &self.0.gauges.latencies
    }

    /// Every child of the supervisor, at most a second old.
    pub fn children(&self) -> Arc<[ChildStatus]> {
        self.0.gauges.children.read().clone()
    }

    /// The last refusals, the latest first.
    pub fn recently_refused(&self) -> Vec<Refused> {
        self.0.gauges.recent.refused()
    }

    /// The children that ended lately, the latest first.
    pub fn recently_ended(&self) -> Vec<ChildEnded> {
        self.0.gauges.recent.ended()
    }

    /// The associations that ended in the last hour, the latest first, at most `most`; [`super::ended::KEPT`] are kept.
    pub fn ended_associations(&self, most: usize) -> Vec<EndedAssociation> {
        self.0.gauges.ended.list(SystemTime::now(), most)
    }

    /// The last `count` seconds, oldest first; there are [`crate::gauges::history::POINTS`] at most.
    pub fn history(&self, count: usize) -> Vec<Point> {
        self.0.gauges.history.last(count)
    }

    /// The phase of the node.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// The pressure level.
    pub fn pressure(&self) -> Level {
        *self.0.pressure.borrow()
    }

    /// The time of the start.
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
            durability: self.0.placement.durability,
            certificate_ends: live.certificate_ends,
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

    /// Associations that hold a place of `associations.max`.
    pub fn places_taken(&self) -> usize {
        self.0.admission.associations()
    }

    /// Seconds on end in which a connection was refused memory for its negotiation.
    pub fn memory_short_seconds(&self) -> u64 {
        self.0.gauges.counters.memory_short_seconds.get()
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

    /// Aborts the association with this [`AssociationUse::id`] at the request of an operator; false if there is none. Its peer gets an
    /// A-ABORT, and its unfinished dataset is dropped.
    pub fn abort(&self, id: u64, by: &Operator) -> bool {
        let found = self.0.gauges.open.end(id, EndCause::Operator);
        if found {
            let address = by.address.map(display);
            warn!(association = id, operator = by.identity.as_str(), address, "association aborted by an operator");
            self.record_operation(Operation::Abort(id), by);
        }
        found
    }

    /// Drains the node: it accepts no new associations, and open ones continue. A node that is stopping stays so.
    pub fn drain(&self, by: &Operator) {
        if self.change_phase(Phase::Serving, Phase::Drained) {
            let address = by.address.map(display);
            warn!(operator = by.identity.as_str(), address, "drained by an operator; new associations are rejected");
            self.record_operation(Operation::Drain, by);
            self.0.tell_draining("operator");
        }
    }

    /// Ends the drain; false if the node is stopping.
    pub fn undrain(&self, by: &Operator) -> bool {
        if self.change_phase(Phase::Drained, Phase::Serving) {
            let address = by.address.map(display);
            warn!(operator = by.identity.as_str(), address, "drain ended by an operator");
            self.record_operation(Operation::EndDrain, by);
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

    /// Looks at the storage: asks for its space and writes a small file. Blocks for as long as the disk does.
    pub fn look_at_storage(&self) -> StorageLook {
        let store = &self.0.store;
        StorageLook { space: store.space(), written: store.try_write(), set_aside: store.set_aside() }
    }

    /// Waits for the next alarm, for `patience`: a flight record is due. Called by one thread, which may block.
    pub fn wait_for_alarm(&self, patience: Duration) -> Option<Alarm> {
        self.0.gauges.alarms.next(patience)
    }

    /// Marks the alarm that [`Self::wait_for_alarm`] returned as handled.
    pub fn alarm_handled(&self) {
        self.0.gauges.alarms.handled();
    }

    /// Requests a flight record.
    pub fn raise(&self, alarm: Alarm) {
        self.0.gauges.alarms.raise(alarm);
    }

    /// Whether every alarm raised so far is handled.
    pub fn alarms_are_handled(&self) -> bool {
        self.0.gauges.alarms.are_handled()
    }

    /// The queue of audit records; `None`: there is no audit trail.
    pub fn audit(&self) -> Option<Arc<AuditTrail>> {
        self.0.gauges.audit.clone()
    }

    /// The state of the catalogue; `None`: there is none.
    pub fn catalogue(&self) -> Option<CatalogueState> {
        let mut state = self.0.catalogue.as_ref()?.state();
        let is_given_up = |child: &ChildStatus| child.group == Group::Catalogue && child.state == ChildState::Down;
        if self.children().iter().any(is_given_up) {
            state.condition = Condition::Unavailable {
                reason: "the thread of the catalogue ended too often, and was given up".to_owned(),
                remedy: "report the panics in the log, and start the node again".to_owned(),
            };
        }
        Some(state)
    }

    /// Durations of the transactions of the catalogue.
    pub fn catalogue_batches(&self) -> Option<Distribution> {
        self.0.catalogue.as_ref().map(|catalogue| catalogue.batches().read())
    }

    /// Begins work on the catalogue, and returns its number at once: the state says how far it has come. `None`: there is no catalogue.
    pub fn ask_catalogue(&self, request: CatalogueRequest) -> Option<u64> {
        Some(self.0.catalogue.as_ref()?.ask(request))
    }

    /// The state of storage commitment; `None`: there is none without the catalogue.
    pub fn commitment(&self) -> Option<CommitmentState> {
        self.0.commitment.as_ref().map(|commitment| commitment.state())
    }

    /// The file of the requests for storage commitment, whether they are served or not.
    pub fn commitment_record(&self) -> PathBuf {
        self.0.commitment_record()
    }

    /// The states of the destinations.
    pub fn destinations(&self) -> Vec<DestinationState> {
        self.0.delivery.states()
    }

    /// The times from requests for storage commitment to their reports; `None` without the catalogue.
    pub fn commitment_delays(&self) -> Option<Distribution> {
        self.0.commitment.as_ref().map(|commitment| commitment.delays().read())
    }

    /// Has a request for storage commitment evaluated and reported again. `None`: there is no storage commitment without the catalogue.
    ///
    /// # Errors
    /// Why that is not possible now, for people.
    pub async fn retry_commitment(&self, request: i64) -> Option<Result<Retried, String>> {
        let commitment = self.0.commitment.clone()?;
        Some(commitment.retry(request).await)
    }

    /// Records the outcome of a reload of the configuration, for the metrics.
    pub fn note_reload(&self, succeeded: bool) {
        self.0.gauges.counters.reload_failed.set(u64::from(!succeeded));
    }

    /// Records a change by an operator for the audit.
    pub fn record_operation(&self, operation: Operation, by: &Operator) {
        self.0.gauges.record(|| AuditEvent::Operated { operator: by.clone(), operation });
    }

    /// Records for the audit what an operator asks of the catalogue.
    pub fn record_query(&self, query: AuditQuery, by: &Operator) {
        self.0.gauges.record(|| AuditEvent::Queried { operator: by.clone(), query });
    }

    /// Records for the audit that a client of the admin surface is no operator: no token, a wrong one, or a certificate that may only read.
    /// `certificate`: what it shows of itself, if it has one.
    pub fn record_denied_operator(&self, address: SocketAddr, certificate: String) {
        let peer = AuditPeer { address, ae_title: String::new(), certificate };
        self.0.gauges.record(|| AuditEvent::Denied { peer, denial: Denial::Operator });
    }

    /// Logs that a TLS handshake at the admin surface has failed. To be called on the thread of the handshake, before it polls anything else.
    pub fn report_admin_handshake(&self, peer: SocketAddr, error: &std::io::Error) {
        let failure = HandshakeFailure::of(error);
        let (incidents, cause) = (&self.0.gauges.incidents, failure.summary());
        if let Some(unlogged) = incidents.worth_a_line(Class::Denial, "admin_tls_handshake", peer.ip(), cause) {
            failure.log(peer, "admin", unlogged);
        }
    }

    /// An account for leases of a holder that is no actor.
    pub fn open_account(&self, label: &str) -> Holder {
        self.0.budget.open_account(label)
    }

    /// The leases of this moment. For a lease whose job waits in the mailbox, the number of jobs before it.
    ///
    /// # Errors
    /// If jemalloc's figures cannot be read.
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

/// The settings in force that figures are compared with.
#[derive(Clone, Debug)]
pub struct Limits {
    /// AE title of the node.
    pub ae_title: String,
    /// Limit of open associations.
    pub associations: usize,
    /// Slots of the mailbox.
    pub mailbox_capacity: usize,
    /// Bytes to be kept free.
    pub min_free_bytes: u64,
    /// The durability that an acknowledgement stands for.
    pub durability: Durability,
    /// The ends of the node's own certificates.
    pub certificate_ends: CertificateEnds,
}

/// The state of the storage at one moment.
#[derive(Clone, Debug)]
pub struct StorageLook {
    /// The space of its filesystem.
    pub space: Result<Space, StoreError>,
    /// Whether a file could be written.
    pub written: Result<(), StoreError>,
    /// Files quarantined below `.tidegate/lost`.
    pub set_aside: Result<u64, StoreError>,
}

/// The node's figures at one moment, for the statistics line and the surfaces. Fields with `_total` only rise.
#[derive(Clone, Copy, Debug)]
pub struct StatisticsSnapshot {
    /// The moment.
    pub at: Instant,
    /// jemalloc's figures.
    pub allocator: AllocatorStatistics,
    /// Limit of the sum of all leases.
    pub budget_bytes: u64,
    /// Leased bytes by stage.
    pub leased: StageBytes,
    /// Part of the leased bytes that is reserved and not allocated.
    pub leased_unused_bytes: u64,
    /// Peak of the leased bytes.
    pub leased_highest_bytes: u64,
    /// Bytes in use beyond leases when the node had started.
    pub baseline_bytes: u64,
    /// Bytes in use that are neither leased nor in the baseline.
    pub unattributed_bytes: u64,
    /// The pressure level.
    pub pressure: Level,
    /// Associations open.
    pub associations: usize,
    /// Datasets waiting for a writer.
    pub mailbox_depth: usize,
    /// Writers with jobs in flight.
    pub writers_busy: u64,
    /// Writers that may commit large instances at a time: the limit that follows the disk.
    pub writers_allowed: usize,
    /// Bytes in spool files of datasets that are still arriving.
    pub spool_bytes: u64,
    /// Instances acknowledged.
    pub acknowledged_total: u64,
    /// Bytes of their datasets.
    pub acknowledged_bytes_total: u64,
    /// Instances refused.
    pub refused_total: u64,
    /// Writers that died and were replaced.
    pub writers_replaced_total: u64,
    /// Restarts of children, writers included.
    pub restarts_total: u64,
    /// Associations that a panic ended.
    pub associations_panicked_total: u64,
    /// Hung threads that have not ended.
    pub hung_threads: u64,
    /// Actors that exist.
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
            writers_allowed: shared.mailbox.writers_allowed(),
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
