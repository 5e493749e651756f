//! From the first fragment of a dataset to the answer about it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tidegate_memory::pressure::Level;
use tidegate_protocol::{ErrorComment, Operation, Status};
use tidegate_storage::{Cancellation, Durability, Instance, StoreError, Stored};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::connection::{Answer, Commit, Connection, Done};
use super::end::End;
use super::inbound_dataset::InboundDataset;
use super::receive_buffer::{BULK_SEGMENT, FIRST_SEGMENT, FLOOR_SEGMENT, LARGEST_SEGMENT};
use super::spool::MAX_RETRIES;
use crate::gauges::incidents::Class;
use crate::mailbox::job::{CommitJob, Job, Lane};
use crate::patience::Patience;
use crate::refusal::Refusal;

/// Bytes that come with those of a dataset, at most as a rule: its command set, and headers of PDUs.
const MESSAGE_SLACK: usize = 2 * 1024;

impl Connection {
    /// A C-STORE-RQ has come: whether the association may have one more.
    pub(super) fn on_store_request(&mut self) -> Option<End> {
        let settings = &self.live.associations;
        let reached = |limit: Option<u64>, so_far| limit.is_some_and(|limit| so_far >= limit);
        let limit = match () {
            () if reached(settings.max_instances, self.requests) => "max_instances",
            () if reached(settings.max_bytes, self.dataset_bytes) => "max_bytes",
            () => {
                self.requests += 1;
                return None;
            }
        };
        Some(self.on_limit(limit))
    }

    /// Ends the association at one of its limits; the instances the writers have are stored, but nobody is told.
    fn on_limit(&mut self, limit: &'static str) -> End {
        self.inbound = None;
        if let Some(unlogged) = self.incident(Class::Limit, limit) {
            warn!(
                peer = %self.peer.address,
                calling_ae = ?self.peer.calling_ae_title,
                limit,
                instances = self.requests,
                bytes = self.dataset_bytes,
                unlogged,
                "association beyond a limit, aborted"
            );
        }
        self.protocol.abort();
        End::LimitReached
    }

    pub(super) async fn on_fragment(&mut self, fragment: bytes::Bytes) -> Option<End> {
        if let Some(end) = self.on_dataset_bytes(fragment.len()) {
            return Some(end);
        }
        let inbound = self.inbound.as_mut()?;
        let spent = inbound.push(fragment, self.buffer.lease(), &self.holder).is_err();
        self.spool_if_due(spent).await;
        None
    }

    /// So many bytes of the dataset have come: whether it may have them.
    pub(super) fn on_dataset_bytes(&mut self, bytes: usize) -> Option<End> {
        self.dataset_bytes += bytes as u64;
        let is_over =
            |inbound: &InboundDataset| inbound.bytes + bytes as u64 > self.live.associations.max_dataset_bytes;
        if self.inbound.as_ref().is_some_and(is_over) { Some(self.on_limit("max_dataset")) } else { None }
    }

    /// Sends to the spool what should go there: all there is if the budget is `spent`.
    pub(super) async fn spool_if_due(&mut self, spent: bool) {
        let is_pressed = self.under_pressure(FIRST_SEGMENT).is_none();
        let all = spent || is_pressed;
        let threshold = if is_pressed { FLOOR_SEGMENT as u64 } else { self.live.associations.spool_threshold_bytes };
        if spent || self.inbound.as_ref().is_some_and(|inbound| inbound.wants_spooling(threshold, all)) {
            Box::pin(self.spool(all)).await;
        }
    }

    /// How large a receive segment may be under the present pressure; `None`: the floor must do.
    fn largest_segment(&self) -> Option<usize> {
        let is_spooling = self.inbound.as_ref().is_some_and(InboundDataset::is_spooling);
        self.under_pressure(if is_spooling { BULK_SEGMENT } else { self.fitting_segment() })
    }

    /// What the present pressure leaves of `bytes` that are wanted for receiving; `None`: nothing is to be held that can go to the
    /// spool.
    pub(super) fn under_pressure(&self, bytes: usize) -> Option<usize> {
        match *self.shared.pressure.borrow() {
            Level::Normal | Level::Purge => Some(bytes),
            Level::Shrink => Some(FIRST_SEGMENT),
            Level::Spool | Level::PauseAccept | Level::Abort => None,
        }
    }

    /// The smallest that holds the rest of a dataset like the one before: what is beyond it would be held in vain until that is
    /// stored.
    fn fitting_segment(&self) -> usize {
        let received = self.inbound.as_ref().map_or(0, |inbound| inbound.bytes);
        match self.typical_dataset_bytes.checked_sub(received) {
            Some(rest) => (rest as usize + MESSAGE_SLACK).next_power_of_two().clamp(FIRST_SEGMENT, LARGEST_SEGMENT),
            None => LARGEST_SEGMENT,
        }
    }

    async fn spool(&mut self, all: bool) {
        let Some(mut inbound) = self.inbound.take() else {
            return;
        };
        let (shared, live) = (self.shared.clone(), self.live.clone());
        self.attend(inbound.spool(all, &shared, &live.writers)).await;
        self.inbound = Some(inbound);
    }

    /// The dataset is complete: to the writers with it, or the answer why not.
    pub(super) async fn complete(&mut self) {
        let Some(inbound) = self.inbound.take() else {
            return;
        };
        self.typical_dataset_bytes = inbound.bytes;
        let (operation, complete) = (inbound.request.operation.clone(), Instant::now());
        self.shared.latencies.receive.record(complete - inbound.began);
        let (shared, live) = (self.shared.clone(), self.live.clone());
        match self.attend(inbound.finish(&shared, &live.writers)).await {
            Ok(store) => {
                let patience = Patience::new(self.live.writers.commit_timeout);
                self.commit(Commit { operation, store: Arc::new(store), retries: 0, complete, patience }).await;
            }
            Err(refusal) => self.refuse(&operation, &refusal),
        }
    }

    pub(super) async fn commit(&mut self, mut commit: Commit) {
        if commit.retries > MAX_RETRIES {
            return self.give_up(&commit, &Refusal::WriterLost);
        }
        let (reply, outcome) = oneshot::channel();
        let (store, shared) = (commit.store.clone(), self.shared.clone());
        let mut handoff = commit.patience.for_step(self.live.writers.handoff_timeout);
        let lane = Lane::of(&store.instance, self.durability(&store.instance));
        let submitted = shared.mailbox.submit(&mut handoff, || Job::Commit(CommitJob { store, lane, reply }));
        let submitted = self.attend(submitted).await;
        commit.patience.spend(handoff.spent());
        match submitted {
            Ok(()) => self.pending.push(Box::pin(async move {
                let answer = match commit.patience.wait(outcome).await {
                    Ok(Ok(outcome)) => Answer::Outcome(outcome),
                    Ok(Err(_)) => Answer::WriterLost,
                    Err(_) => Answer::TimedOut,
                };
                Done { commit, answer }
            })),
            Err(timeout) => self.give_up(&commit, &timeout.into()),
        }
    }

    /// Hands the instances that lost their writer to another. An error: the peer does not take its answers.
    pub(super) async fn retry_lost(&mut self) -> std::io::Result<()> {
        while let Some(commit) = self.to_retry.pop() {
            Box::pin(self.commit(commit)).await;
            // It may have been answered: that nobody can store it.
            self.flush().await?;
        }
        Ok(())
    }

    /// How durable an instance is to be before it is acknowledged.
    fn durability(&self, instance: &Instance) -> Durability {
        instance.placement().map_or(self.shared.durability, |placement| placement.durability)
    }

    /// A writer has an outcome, or died, or takes too long.
    pub(super) fn settle(&mut self, done: Done) {
        let Done { mut commit, answer } = done;
        match answer {
            Answer::Outcome(Ok(stored)) => self.acknowledge(&commit, &stored),
            Answer::WriterLost | Answer::Outcome(Err(StoreError::Contended)) => {
                commit.retries += 1;
                self.shared.counters.handed_over_again.increment();
                self.to_retry.push(commit);
            }
            Answer::Outcome(Err(error)) => self.refuse(&commit.operation, &error.into()),
            Answer::TimedOut => {
                self.shared.counters.commits_timed_out.increment();
                self.give_up(&commit, &Refusal::CommitTimeout);
            }
        }
        self.silent_for = Duration::ZERO; // the peer waited for us, not we for it
    }

    /// Ends the wait for an instance: a writer that hangs over it does not store it later, unless it is stored already.
    fn give_up(&mut self, commit: &Commit, refusal: &Refusal) {
        match commit.store.instance.cancel() {
            Cancellation::TooLate(stored) => self.acknowledge(commit, &stored),
            // Being renamed just now: it may get stored whole, and an identical resend is answered with success.
            Cancellation::Cancelled | Cancellation::Undecided => self.refuse(&commit.operation, refusal),
        }
    }

    fn acknowledge(&mut self, commit: &Commit, stored: &Stored) {
        let instance = &commit.store.instance;
        let bytes = instance.dataset_bytes();
        let durability = self.durability(instance);
        debug!(
            peer = %self.peer.address,
            sop_instance_uid = commit.store.instance.meta.sop_instance_uid.as_str(),
            bytes,
            outcome = ?stored.outcome,
            durability = %durability,
            "instance stored"
        );
        self.shared.count_acknowledged(stored, durability, bytes);
        self.shared.latencies.response.record(commit.complete.elapsed());
        self.activity.acknowledged();
        if let Some(trail) = &self.shared.audit {
            self.transfers.add(&commit.store.instance, &self.peer.for_audit(), trail);
        }
        self.protocol.respond(&commit.operation, Status::Success, &ErrorComment::default());
    }

    pub(super) fn refuse(&mut self, operation: &Operation, refusal: &Refusal) {
        let status = refusal.status();
        if let Some(unlogged) = self.worth_a_line(Class::Refusal, refusal.reason().name()) {
            warn!(
                peer = %self.peer.address,
                calling_ae = ?self.peer.calling_ae_title,
                message_id = operation.message_id,
                %status,
                %refusal,
                unlogged,
                "instance refused"
            );
        }
        self.shared.count_refused(refusal, self.peer.address, &self.peer.calling_ae_title);
        self.activity.refused();
        self.protocol.respond(operation, status, &refusal.comment());
    }

    /// Makes room for the next read. When the budget is spent, what is held goes to the spool or to the writers until the
    /// floor is free again: every association can always go on, so none waits for another.
    pub(super) async fn make_room(&mut self) -> Option<End> {
        let needed = self.protocol.needed();
        if self.buffer.has_room(needed) { None } else { Box::pin(self.find_room(needed)).await }
    }

    async fn find_room(&mut self, needed: usize) -> Option<End> {
        loop {
            if self.buffer.has_room(needed) {
                return None;
            }
            let grown = match self.largest_segment() {
                Some(largest) => self.buffer.grow(&self.holder, needed, largest).is_ok(),
                None => needed > FLOOR_SEGMENT && self.buffer.grow(&self.holder, needed, FLOOR_SEGMENT).is_ok(),
            };
            if grown || self.buffer.shrink(needed) {
                return None;
            }
            if let Some(inbound) = &mut self.inbound
                && inbound.holds_memory()
            {
                self.spool(true).await;
                if let Some(mut inbound) = self.inbound.take() {
                    let (shared, live) = (self.shared.clone(), self.live.clone());
                    self.attend(inbound.settle(&shared, &live.writers)).await;
                    self.inbound = Some(inbound);
                }
            } else if !self.to_retry.is_empty() {
                if self.retry_lost().await.is_err() {
                    return Some(End::ConnectionLost);
                }
            } else if let Some(done) = self.pending.next().await {
                self.settle(done);
                if self.flush().await.is_err() {
                    return Some(End::ConnectionLost);
                }
            } else {
                if let Some(unlogged) = self.incident(Class::Limit, "memory_budget") {
                    let peer = self.peer.address;
                    warn!(%peer, bytes = needed, unlogged, "memory budget is spent, association request given up");
                }
                self.protocol.abort();
                return Some(End::OutOfMemory);
            }
        }
    }
}
