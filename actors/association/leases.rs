//! The resources granted to a connection: its place, its thread, and its account, with the leases of the connection itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_memory::{Holder, MemoryLease, Stage, StageBytes};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::ingest::sizing::FLOOR_SEGMENT;
use crate::network::admission::{FLOOR_LEASE_BYTES, Limit, Place};
use crate::network::transport::TLS_LEASE_BYTES;
use crate::patience::within;
use crate::supervision::threads::Assignment;

/// Pause between two attempts to lease memory.
pub(super) const LEASE_RETRY: Duration = Duration::from_millis(10);
/// Bytes of an accepted presentation context, its two UIDs included.
const CONTEXT_BYTES: u64 = 160;

/// Bytes of an association that waits for its peer, as measured with 480 of them. The rest of the floor is allocated when it is needed.
const ASSOCIATION_BYTES: u64 = 5632;
/// Bytes of its TLS session, as measured with 200 of them.
const TLS_IDLE_BYTES: u64 = 42 << 10;

/// The resources granted to a connection.
pub(super) struct Leases {
    /// Leased by a test, through the fault port.
    test_lease: Option<MemoryLease>,
    holder: Holder,
    place: Place,
    assignment: Assignment,
    floor: MemoryLease,
    /// Whether the floor has a segment.
    has_segment: bool,
    /// The lease of the buffers of TLS.
    tls: Option<MemoryLease>,
    /// The lease of the presentation contexts.
    contexts: Option<MemoryLease>,
}

impl Leases {
    pub(super) fn new(holder: Holder, place: Place, assignment: Assignment, floor: MemoryLease) -> Self {
        floor.set_unused(FLOOR_LEASE_BYTES - ASSOCIATION_BYTES);
        Self { test_lease: None, holder, place, assignment, floor, has_segment: false, tls: None, contexts: None }
    }

    /// The account of the connection.
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    pub(super) fn set_label(&self, label: String) {
        self.holder.set_label(label);
    }

    /// Bytes that the account holds, by stage.
    pub(super) fn by_stage(&self) -> StageBytes {
        self.holder.by_stage()
    }

    /// Sets whether the floor has a segment at the moment.
    pub(super) fn set_segment(&mut self, is_there: bool) {
        if self.has_segment != is_there {
            self.has_segment = is_there;
            let segment = if is_there { FLOOR_SEGMENT as u64 } else { 0 };
            self.floor.set_unused(FLOOR_LEASE_BYTES - ASSOCIATION_BYTES - segment);
            self.note_tls();
        }
    }

    /// Sets the bytes that TLS holds: all of its lease while bytes arrive.
    fn note_tls(&self) {
        if let Some(tls) = &self.tls {
            tls.set_unused(if self.has_segment { 0 } else { TLS_LEASE_BYTES - TLS_IDLE_BYTES });
        }
    }

    /// Leases `bytes` for a test, and keeps them.
    pub(super) fn hold_for_test(&mut self, bytes: u64) {
        self.test_lease = self.holder.lease(Stage::Receiving, bytes).ok();
    }

    /// Leases the memory of TLS, as soon as the budget has it.
    pub(super) async fn lease_tls(&mut self) {
        self.tls = Some(self.lease_patiently(Stage::Tls, TLS_LEASE_BYTES).await);
        self.note_tls();
    }

    /// Leases the memory of `count` presentation contexts; `false`: the budget did not have it in time. Datasets that hold the whole budget
    /// are on their way to the disk, so the wait is usually short.
    pub(super) async fn lease_contexts(&mut self, count: usize, patience: Duration) -> bool {
        let lease = self.lease_patiently(Stage::Negotiating, count as u64 * CONTEXT_BYTES);
        self.contexts = within(patience, lease).await.ok();
        self.contexts.is_some()
    }

    /// Waits until the budget has `bytes`. The caller bounds the wait.
    pub(super) async fn lease_patiently(&self, stage: Stage, bytes: u64) -> MemoryLease {
        loop {
            match self.holder.lease(stage, bytes) {
                Ok(lease) => return lease,
                Err(_) => sleep(LEASE_RETRY).await,
            }
        }
    }

    /// As [`Place::come_from`].
    pub(super) fn come_from(&mut self, address: IpAddr) {
        self.place.come_from(address);
    }

    /// As [`Place::requested`].
    pub(super) fn requested(&self) {
        self.place.requested();
    }

    /// As [`Place::prove`].
    pub(super) fn prove(&self) {
        self.place.prove();
    }

    /// As [`Place::associate`].
    pub(super) fn associate(&mut self, calling_ae: &str, rule: Option<(&str, Option<usize>)>) -> Result<(), Limit> {
        self.place.associate(calling_ae, rule)
    }

    /// As [`Place::give_way`].
    pub(super) fn give_way(&self) -> Arc<Notify> {
        self.place.give_way()
    }

    /// As [`Place::end`].
    pub(super) fn end(&mut self) {
        self.place.end();
    }

    /// Waits before an identity of the source is verified, if some of late were wrong.
    pub(super) async fn wait_for_identity(&self) {
        let wait = self.place.identity_wait();
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// As [`Place::note_failed_identity`].
    pub(super) fn note_failed_identity(&self) {
        self.place.note_failed_identity();
    }

    /// Whether the peer has closed its side of the connection.
    pub(super) fn has_peer_left(&self) -> bool {
        self.assignment.has_peer_left()
    }

    /// Waits until the peer has closed its side of the connection, whatever it has sent before.
    pub(super) fn peer_left(&self) -> impl Future<Output = ()> + use<> {
        self.assignment.peer_left()
    }

    /// As [`Assignment::abort`].
    pub(super) fn abort(&self) {
        self.assignment.abort();
    }
}
