//! Storage commitment at the destination (PS3.4 annex J), of which this node is the SCU: the request that is prepared, and the reports that are noted.
//!
//! One request at a time. Its transaction is in the catalogue before the request is sent, so a report of it is known whenever it comes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidegate_catalogue::{DeliveryNote, Outcome, Owed, OwedKey, PackedUid};
use tidegate_memory::MemoryLease;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::report::{Inbox, MOST_REFERENCES, Taken};

/// An instance is asked for so long after it was sent. The next request waits as long, unless this one is full: what is sent meanwhile is asked for together.
pub(super) const GATHER: Duration = Duration::from_secs(2);
/// The part of the hub that is about commitment.
pub(super) struct Committing {
    pub(super) inbox: Arc<Inbox>,
    pub(super) asking: Option<Asking>,
    /// Nothing is asked before.
    pub(super) ask_at: Instant,
    /// Requests in a row that were not taken.
    pub(super) failures: u32,
    /// Instances of a request at most: half as many after each that was refused, so that one that cannot be asked for does not stop the others.
    pub(super) most: u32,
    /// The last transaction.
    pub(super) last: i64,
    /// Why instances are not committed.
    pub(super) trouble: Option<String>,
    /// Reports whose notes are not durable yet.
    pub(super) reports: Vec<Reported>,
}

/// A request.
pub(super) struct Asking {
    pub(super) transaction: i64,
    pub(super) uid: String,
    pub(super) owed: Vec<Owed>,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// So many of its notes are not durable.
    Noting(usize),
    /// It can be sent.
    Ready,
    /// An association sends it.
    Sent,
}

pub(super) struct Reported {
    pub(super) left: HashSet<OwedKey>,
    /// Pays for them.
    pub(super) _lease: Option<MemoryLease>,
    pub(super) taken: Taken,
    pub(super) reply: oneshot::Sender<Taken>,
}

/// What is asked.
pub(super) struct Asked {
    /// The number of the transaction.
    pub(super) transaction: i64,
    pub(super) transaction_uid: String,
    /// SOP class and instance.
    pub(super) references: Vec<(Arc<str>, PackedUid)>,
}

impl Committing {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        let ask_at = Instant::now();
        Self {
            inbox,
            asking: None,
            ask_at,
            failures: 0,
            most: MOST_REFERENCES,
            last: 0,
            trouble: None,
            reports: Vec::new(),
        }
    }

    /// Takes the request back, if that is the one under way: the settings may have changed since it was sent.
    pub(super) fn take(&mut self, transaction: i64) -> Option<Asking> {
        self.asking.take_if(|asking| asking.transaction == transaction)
    }

    /// Whether a request can be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.stage == Stage::Ready)
    }

    /// Another configuration of the destination: it is asked anew, without delay.
    pub(super) fn begin_again(&mut self) {
        (self.asking, self.ask_at, self.failures, self.most) = (None, Instant::now(), 0, MOST_REFERENCES);
    }

    /// Notes are durable. Whether a request can be sent now that could not before.
    pub(super) fn noted(&mut self, notes: &[DeliveryNote]) -> bool {
        let mut reports = std::mem::take(&mut self.reports);
        for report in &mut reports {
            let judges = |note: &&DeliveryNote| !matches!(note.outcome, Outcome::Asked { .. });
            for note in notes.iter().filter(judges) {
                report.left.remove(&note.key);
            }
        }
        let (ended, open): (Vec<_>, Vec<_>) = reports.into_iter().partition(|report| report.left.is_empty());
        self.reports = open;
        for report in ended {
            let _ = report.reply.send(report.taken); // the association may have ended
        }
        let Some(Asking { transaction, stage: stage @ Stage::Noting(_), .. }) = &mut self.asking else { return false };
        let Stage::Noting(left) = *stage else { return false };
        let is_own =
            |note: &&DeliveryNote| matches!(note.outcome, Outcome::Asked { transaction: of, .. } if of == *transaction);
        let left = left.saturating_sub(notes.iter().filter(is_own).count());
        *stage = if left == 0 { Stage::Ready } else { Stage::Noting(left) };
        left == 0
    }
}
