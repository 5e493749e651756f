//! C-STORE: from the first fragment of a dataset to its response.

use tidegate_protocol::{ErrorComment, Operation, Status, StoreRequest};
use tidegate_storage::{Instance, Outcome, Stored};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::connection::{Connection, Request};
use super::end::End;
use super::file_meta::describe;
use super::leases::LEASE_RETRY;
use crate::elements::STUDY_INSTANCE_UID;
use crate::gauges::incidents::{Class, Topic};
use crate::gauges::transfers::uid_of;
use crate::ingest::sizing::FLOOR_SEGMENT;
use crate::ingest::{Ended, InstanceHandoff, Returned, SpoolExtent};
use crate::node::settings::AssociationSettings;
use crate::refusal::{Reason, Refusal, Refused};

/// Requests for its memory that a stalled association may get.
const MAX_ASKED: u32 = 3;

impl Connection {
    /// Counts a C-STORE-RQ. `Some`: the association has reached a limit and ends.
    pub(super) fn on_store_request(&mut self) -> Option<End> {
        let AssociationSettings { max_instances, max_bytes, .. } = self.node.live.associations;
        if self.clock.is_past_life(true, Instant::now()) {
            return Some(self.on_limit("max_lifetime"));
        }
        self.record.begin_request(max_instances, max_bytes).err().map(|limit| self.on_limit(limit))
    }

    /// Ends the association at a limit. Instances at the writers are stored, but their responses are not sent.
    pub(super) fn on_limit(&mut self, limit: &'static str) -> End {
        if let Some(unlogged) = self.incident(Class::Limit, limit, ()) {
            let AssociationSettings { max_instances, max_bytes, max_dataset_bytes, .. } = self.node.live.associations;
            let allowed = match limit {
                "max_instances" => max_instances,
                "max_bytes" => max_bytes,
                "max_dataset" => Some(max_dataset_bytes),
                _ => None,
            };
            warn!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                limit,
                allowed,
                sop_instance = self.inbound.request().and_then(|request| request.operation.sop_instance()),
                instances = self.record.requests(),
                bytes = self.record.dataset_bytes(),
                unlogged,
                "association over a limit, aborted"
            );
        }
        self.inbound.discard();
        self.session.abort();
        End::LimitReached
    }

    /// Begins the dataset of a C-STORE-RQ.
    pub(super) fn begin_dataset(&mut self, request: StoreRequest) {
        let description = describe(&request, &self.peer, &self.node.env, &self.node.live);
        if let Ok(description) = &description {
            self.note_unusual_request(&request, &description.meta);
        }
        self.inbound.begin(request, description);
    }

    pub(super) async fn on_fragment(&mut self, fragment: bytes::Bytes) -> Option<End> {
        if let Some(end) = self.on_dataset_bytes(fragment.len()) {
            return Some(end);
        }
        let is_exhausted = self.inbound.push(fragment, self.io.segment_lease(), self.leases.holder()).is_err();
        self.spool_if_due(is_exhausted).await;
        None
    }

    /// Adds `bytes` of the dataset. `Some`: the dataset exceeds its limit, and the association ends.
    pub(super) fn on_dataset_bytes(&mut self, bytes: usize) -> Option<End> {
        self.record.add_dataset_bytes(bytes);
        if bytes > 0 {
            self.clock.progress();
        }
        let is_over = self.inbound.is_receiving()
            && self.inbound.bytes() + bytes as u64 > self.node.live.associations.max_dataset_bytes;
        is_over.then(|| self.on_limit("max_dataset"))
    }

    /// Spools the dataset as far as that is due; if the budget is exhausted, all of it.
    pub(super) async fn spool_if_due(&mut self, is_exhausted: bool) {
        if let Some(extent) = self.inbound.spooling_due(is_exhausted) {
            Box::pin(self.spool(extent)).await;
        }
    }

    async fn spool(&mut self, extent: SpoolExtent) {
        let Some(mut current) = self.inbound.take() else {
            return;
        };
        self.attend(current.1.spool(extent)).await;
        self.inbound.put_back(current);
    }

    /// Spools what the association holds of a dataset, because others wait for memory while its peer stalls. False: it was asked for the third
    /// time, without progress in between.
    pub(super) async fn give_back(&mut self) -> bool {
        let asked = self.record.asked_to_give_back();
        if asked >= MAX_ASKED {
            if let Some(unlogged) = self.incident(Class::Limit, "stalled_holder", ()) {
                let (calling, called, association) = (self.peer.calling(), self.peer.called(), self.peer.association());
                let held_bytes = self.leases.by_stage().total();
                warn!(peer = %self.peer.address, calling, called, association, held_bytes, unlogged, "association stalls while others wait for memory, aborted");
            }
            return false;
        }
        self.inbound.be_modest();
        self.spool(SpoolExtent::Everything).await;
        self.settle_spool().await;
        self.io.trim(self.session.needed());
        self.leases.set_segment(!self.io.is_parked());
        true
    }

    /// Waits until the spool file has all parts that were sent to it.
    async fn settle_spool(&mut self) {
        if let Some(mut current) = self.inbound.take() {
            self.attend(current.1.settle()).await;
            self.inbound.put_back(current);
        }
    }

    /// Hands a complete dataset to the writers, or responds with its refusal. `Some`: the association has ended.
    pub(super) async fn complete(&mut self) -> Option<End> {
        let (StoreRequest { operation, .. }, dataset) = self.inbound.complete()?;
        let complete = Instant::now();
        self.record.times.receive += dataset.receive_time(complete);
        let finished = self.attend(dataset.finish(complete)).await;
        if let Some(end) = self.review_if_due().await {
            return Some(end);
        }
        match finished {
            Ok(store) => self.hand_off(self.handoffs.begin(Request { operation, complete }, store)).await,
            Err(Refused { refusal, study }) => self.refuse(&operation, &refusal, study.as_deref()),
        }
        None
    }

    /// Submits an instance to the writers, and meanwhile answers the instances that they return.
    async fn hand_off(&mut self, mut instance: InstanceHandoff<Request>) {
        let began = Instant::now();
        let submitted = self.attend(instance.submit()).await;
        self.record.times.handoff += began.elapsed();
        match submitted {
            Ok(reply) => self.handoffs.push(instance, reply),
            Err(outcome) => self.answer(&instance.end(outcome)),
        }
    }

    /// Submits the instances whose writer was lost again. An error: the peer does not read its responses.
    pub(super) async fn retry_lost(&mut self) -> std::io::Result<()> {
        while let Some(instance) = self.handoffs.take_lost() {
            Box::pin(self.hand_off(instance)).await;
            // The retry may have ended in a refusal.
            self.flush().await?;
        }
        Ok(())
    }

    /// Handles an instance that has returned from the writers.
    pub(super) fn settle(&mut self, returned: Returned<Request>) {
        match returned {
            Returned::Ended(ended) => self.answer(&ended),
            Returned::Lost => {}
        }
        self.clock.progress();
    }

    fn answer(&mut self, ended: &Ended<Request>) {
        self.record.times.response += ended.request.complete.elapsed();
        match &ended.outcome {
            Ok(stored) => self.acknowledge(ended, stored),
            Err(refusal) => {
                let study = uid_of(ended.store.instance.head.value(STUDY_INSTANCE_UID));
                self.refuse(&ended.request.operation, refusal, study.as_deref());
            }
        }
    }

    fn acknowledge(&mut self, Ended { request, store, durability, .. }: &Ended<Request>, stored: &Stored) {
        let instance = &store.instance;
        let bytes = instance.dataset_bytes();
        debug!(
            peer = %self.peer.address,
            calling = self.peer.calling(),
            association = self.peer.association(),
            sop_instance = instance.meta.sop_instance_uid.loggable(),
            bytes,
            outcome = stored.outcome.name(),
            durability = %durability,
            "instance stored"
        );
        self.log_duplicate(instance, stored);
        self.note_unusual_dataset(instance);
        self.node.env.gauges.count_acknowledged(stored, *durability, bytes);
        self.node.env.gauges.latencies.response.record(request.complete.elapsed());
        self.record.acknowledged(instance, &stored.outcome, &self.peer, self.node.env.gauges.audit.as_deref());
        self.note_sent(&request.operation, false);
        self.session.respond(&request.operation, Status::Success, &ErrorComment::default());
    }

    /// Logs that other bytes were stored under the UID of the instance.
    fn log_duplicate(&self, instance: &Instance, stored: &Stored) {
        if matches!(stored.outcome, Outcome::New | Outcome::Identical) {
            return;
        }
        let outcome = stored.outcome.name();
        if let Some(unlogged) = self.line_about(Topic::Duplicate, outcome, ()) {
            let layout = &self.node.env.placement_of(instance).layout;
            info!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                sop_instance = instance.meta.sop_instance_uid.loggable(),
                path = %layout.loggable(&stored.path).display(),
                outcome,
                unlogged,
                "other bytes under a stored SOP Instance UID"
            );
        }
    }

    fn refuse(&mut self, operation: &Operation, refusal: &Refusal, study: Option<&str>) {
        let status = refusal.status();
        if let Some(unlogged) = self.worth_a_line(Class::Refusal, refusal.reason().name(), study) {
            warn!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                sop_instance = operation.sop_instance(),
                study,
                message_id = operation.message_id,
                reason = refusal.reason().name(),
                %status,
                cause = %refusal,
                unlogged,
                "instance refused"
            );
        }
        self.node.env.gauges.count_refused(refusal, self.peer.sender());
        self.record.refused();
        if refusal.reason() == Reason::Duplicate {
            self.note_sent(operation, true);
        }
        self.session.respond(operation, status, &refusal.comment());
    }

    /// Storage commitment has to know, before the response, whether the instance that is stored is the one that the peer has.
    fn note_sent(&self, operation: &Operation, is_refused: bool) {
        if let Some(commitment) = &self.node.env.commitment
            && let Some(sop_instance) = operation.sop_instance()
        {
            commitment.note_sent(&self.peer.calling_ae_title, sop_instance, is_refused);
        }
    }

    /// Makes room for the next read. If the budget is exhausted, the association spools its dataset, or waits for the writers, until its
    /// floor segment is free again. So every association makes progress, and none waits for another.
    pub(super) async fn make_room(&mut self) -> Option<End> {
        let needed = self.session.needed();
        if self.io.has_room(needed) { None } else { Box::pin(self.find_room(needed)).await }
    }

    async fn find_room(&mut self, needed: usize) -> Option<End> {
        loop {
            if self.io.has_room(needed) {
                return None;
            }
            let grown = match self.inbound.largest_segment() {
                Some(largest) => self.io.grow(self.leases.holder(), needed, largest).is_ok(),
                None => needed > FLOOR_SEGMENT && self.io.grow(self.leases.holder(), needed, FLOOR_SEGMENT).is_ok(),
            };
            if grown || self.io.shrink(needed) {
                return None;
            }
            if self.inbound.holds_memory() {
                self.spool(SpoolExtent::Everything).await;
                self.settle_spool().await;
            } else if self.handoffs.has_lost() {
                if self.retry_lost().await.is_err() {
                    return Some(End::ConnectionLost);
                }
            } else if let Some(returned) = self.handoffs.next().await {
                self.settle(returned);
                if self.flush().await.is_err() {
                    return Some(End::ConnectionLost);
                }
            } else if !self.session.is_requested() && !self.clock.is_request_overdue() {
                sleep(LEASE_RETRY).await;
                self.clock.spend_on_request(LEASE_RETRY);
            } else {
                if let Some(unlogged) = self.incident(Class::Limit, "memory_budget", ()) {
                    let (peer, limit) = (self.peer.address, "memory_budget");
                    warn!(%peer, limit, bytes = needed, unlogged, "memory budget is exhausted, association request dropped");
                }
                self.session.abort();
                return Some(End::OutOfMemory);
            }
        }
    }
}
