//! The counts of a connection: for operators, the audit trail, the log line about its end, and its limits.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_protocol::syntaxes::is_uid;
use tidegate_storage::{Instance, Outcome};
use tokio::time::Instant;

use super::peer::Peer;
use crate::elements::STUDY_INSTANCE_UID;
use crate::gauges::activity::{ActivityGuard, Wish};
use crate::gauges::audit_queue::AuditTrail;
use crate::gauges::transfers::Transfers;
use crate::supervision::liveness::{LastMessages, MessageKind};

/// The counts of a connection.
pub(super) struct Record {
    last_messages: LastMessages,
    /// Instances still to be reported for the audit.
    transfers: Transfers,
    /// The evidence that must be written down before the peer is answered.
    ticket: u64,
    activity: ActivityGuard,
    /// C-STORE requests so far.
    requests: u64,
    /// Bytes of their datasets.
    dataset_bytes: u64,
    /// Requests for its memory since the last progress, and the bytes of datasets at the last one.
    asked: (u32, u64),
    opened: Instant,
    /// Studies of the instances acknowledged.
    studies: Studies,
    /// Instances acknowledged, by what became of them.
    outcomes: Outcomes,
    /// Where the time went.
    pub(super) times: Times,
    /// Whether the log has a line about its begin, and so gets one about its end.
    pub(super) is_logged: bool,
}

/// Where the time of an association's instances went, in sum: several may be on their way at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// From the command set to the last byte: sender and network.
    pub(super) receive: Duration,
    /// Waiting for a slot of the mailbox.
    pub(super) handoff: Duration,
    /// From the last byte to the outcome.
    pub(super) response: Duration,
}

impl Times {
    /// From the hand-off to the outcome: the writers' queue and the disk.
    pub(super) fn commit(&self) -> Duration {
        self.response.saturating_sub(self.handoff)
    }
}

impl Record {
    pub(super) fn new(activity: ActivityGuard) -> Self {
        let (last_messages, transfers) = (LastMessages::default(), Transfers::default());
        let (opened, studies, times) = (Instant::now(), Studies::default(), Times::default());
        Self {
            last_messages,
            transfers,
            ticket: 0,
            activity,
            requests: 0,
            dataset_bytes: 0,
            asked: (0, 0),
            opened,
            studies,
            outcomes: Outcomes::default(),
            times,
            is_logged: false,
        }
    }

    pub(super) fn note(&self, kind: MessageKind) {
        self.last_messages.note(kind);
    }

    /// The last messages, the latest last.
    pub(super) fn last_messages(&self) -> Vec<MessageKind> {
        self.last_messages.list()
    }

    /// Counts a C-STORE request. An error: the name of the limit that the association has reached.
    pub(super) fn begin_request(
        &mut self,
        max_instances: Option<u64>,
        max_bytes: Option<u64>,
    ) -> Result<(), &'static str> {
        let is_reached = |limit: Option<u64>, so_far| limit.is_some_and(|limit| so_far >= limit);
        if is_reached(max_instances, self.requests) {
            return Err("max_instances");
        }
        if is_reached(max_bytes, self.dataset_bytes) {
            return Err("max_bytes");
        }
        self.requests += 1;
        Ok(())
    }

    /// Adds bytes of a dataset.
    pub(super) fn add_dataset_bytes(&mut self, bytes: usize) {
        self.dataset_bytes += bytes as u64;
    }

    /// C-STORE requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Bytes of their datasets.
    pub(super) fn dataset_bytes(&self) -> u64 {
        self.dataset_bytes
    }

    /// Since the connection was opened.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Studies of the instances acknowledged; [`MOST_STUDIES`] means that or more. 0 if the layout does not read their UIDs.
    pub(super) fn studies(&self) -> usize {
        self.studies.hashes.len()
    }

    /// The study of the instances acknowledged, if it is one.
    pub(super) fn study(&self) -> Option<&str> {
        (self.studies() == 1 && is_uid(&self.studies.first)).then_some(&self.studies.first)
    }

    /// Instances acknowledged, by what became of them.
    pub(super) fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    /// Adds bytes read from the peer.
    pub(super) fn received(&self, bytes: u64) {
        self.activity.received(bytes);
    }

    /// The association is accepted.
    pub(super) fn accepted(&self, peer: SocketAddr, calling: &str, called: &str) {
        self.activity.requested(peer, calling, called);
    }

    /// An instance was acknowledged.
    pub(super) fn acknowledged(
        &mut self,
        instance: &Instance,
        outcome: &Outcome,
        peer: &Peer,
        trail: Option<&AuditTrail>,
    ) {
        self.activity.acknowledged();
        self.studies.add(instance);
        self.outcomes.add(outcome);
        if let Some(trail) = trail {
            self.ticket = self.ticket.max(self.transfers.add(instance, outcome, &peer.for_audit(), trail));
        }
    }

    /// An instance was refused.
    pub(super) fn refused(&self) {
        self.activity.refused();
    }

    /// Instances acknowledged and refused so far.
    pub(super) fn answered(&self) -> (u64, u64) {
        self.activity.answered()
    }

    /// Reports the stored instances for the audit.
    pub(super) fn report(&mut self, peer: &Peer, trail: &AuditTrail) {
        let reported = self.transfers.report(&peer.for_audit(), self.activity.answered().1, trail);
        self.ticket = self.ticket.max(reported);
    }

    /// The evidence that must be written down before the next answer, if there is any since the last call.
    pub(super) fn take_ticket(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.ticket)).filter(|ticket| *ticket > 0)
    }

    /// Waits until an operator or the node wants something of the association.
    pub(super) async fn wish(&self) -> Wish {
        self.activity.wish().await
    }

    /// Counts a request for the memory of the association, and returns how many came without progress in between.
    pub(super) fn asked_to_give_back(&mut self) -> u32 {
        let (count, at_bytes) = self.asked;
        let has_progressed = self.dataset_bytes.saturating_sub(at_bytes) >= PROGRESS_BYTES;
        self.asked = (if has_progressed { 1 } else { count + 1 }, self.dataset_bytes);
        self.asked.0
    }
}

/// Bytes of datasets between two requests for its memory after which an association does not stall.
const PROGRESS_BYTES: u64 = 64 * 1024;

/// Studies of one association that are counted apart.
const MOST_STUDIES: usize = 256;

/// Instances acknowledged, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    /// Stored under a path that nothing had.
    pub(super) new: u64,
    /// Stored already, with the same bytes.
    pub(super) identical: u64,
    /// Stored in place of another dataset of the same UID.
    pub(super) replaced: u64,
    /// Stored beside another dataset of the same UID.
    pub(super) kept_both: u64,
}

impl Outcomes {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::New => self.new += 1,
            Outcome::Identical => self.identical += 1,
            Outcome::Replaced => self.replaced += 1,
            Outcome::KeptBoth { .. } => self.kept_both += 1,
        }
    }
}

/// The studies seen, by a hash of their UIDs: an association is to hold no more than it must.
#[derive(Debug, Default)]
struct Studies {
    hashes: Vec<u64>,
    /// The UID of the first, for the log.
    first: String,
}

impl Studies {
    fn add(&mut self, instance: &Instance) {
        let Some(uid) = instance.head.value(STUDY_INSTANCE_UID) else { return };
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        let hash = hasher.finish();
        // Those of a series follow each other.
        let hashes = &mut self.hashes;
        if hashes.last() != Some(&hash) && hashes.len() < MOST_STUDIES && !hashes.contains(&hash) {
            if hashes.is_empty() {
                let uid = String::from_utf8_lossy(uid.get(..64).unwrap_or(uid));
                self.first = uid.trim_matches(['\0', ' ']).to_owned();
            }
            hashes.push(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gauges::activity::OpenAssociations;

    #[test]
    fn the_request_beyond_a_limit_is_not_counted() {
        let open = Arc::<OpenAssociations>::default();
        let mut record = Record::new(open.register(1, "127.0.0.1:104".parse().unwrap()));
        for _ in 0..2 {
            assert_eq!(record.begin_request(Some(2), Some(100)), Ok(()));
            record.add_dataset_bytes(50);
        }
        assert_eq!(record.begin_request(Some(2), Some(100)), Err("max_instances"));
        assert_eq!(record.begin_request(None, Some(100)), Err("max_bytes"));
        assert_eq!((record.requests(), record.dataset_bytes()), (2, 100));
        assert_eq!(record.begin_request(None, None), Ok(()));
    }
}
