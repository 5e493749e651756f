//! A report of commitment (PS3.4 §J.3.3), from its first byte to the answer: on an association of this node or on one that the destination has opened.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_catalogue::{Generation, PackedUid};
use tidegate_memory::{Holder, MemoryLease, Stage};
use tidegate_protocol::commitment::{Encoding, Form, Information, InformationFault};
use tidegate_protocol::{Operation, ReportRequest, ReportStatus};
use tokio::sync::{Notify, oneshot};

/// References of a request, and so of a report, at most.
pub(super) const MOST_REFERENCES: u32 = 4096;
/// Memory of a report: its references.
const REPORT_BYTES: u64 = 768 << 10;
/// Reports of a destination that wait for its child; and those of an association that wait for their answer.
pub(crate) const MOST_WAITING: usize = 16;

/// A report that has arrived.
pub(crate) struct Report {
    pub(crate) transaction_uid: String,
    pub(super) referenced: Vec<Referenced>,
    pub(super) lease: Option<MemoryLease>,
}

/// An instance of a report.
#[derive(Debug)]
pub(super) struct Referenced {
    pub(super) sop_class: Arc<str>,
    pub(super) sop_instance: PackedUid,
    /// The Failure Reason (0008,1197) if it is not committed.
    pub(super) reason: Option<u16>,
}

/// What becomes of a report: what it says is durable, or is not taken.
pub(crate) type Taken = Result<(), NotTaken>;

/// Why a report is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotTaken {
    pub(crate) status: ReportStatus,
    pub(crate) cause: String,
}

impl NotTaken {
    pub(crate) fn too_many() -> Self {
        Self::because(ReportStatus::ResourceLimitation, "too many reports wait")
    }

    /// It cannot be noted at the moment, or the child has ended over it.
    pub(crate) fn failed() -> Self {
        Self::because(ReportStatus::ProcessingFailure, "it cannot be noted at the moment")
    }

    pub(super) fn of_another_class() -> Self {
        Self::because(ReportStatus::InvalidArgument, "it names instances with another sop class than was asked for")
    }

    pub(super) fn unknown() -> Self {
        Self::because(ReportStatus::InvalidArgument, "the transaction is none of this node")
    }

    fn because(status: ReportStatus, cause: impl Into<String>) -> Self {
        Self { status, cause: cause.into() }
    }
}

/// A report that arrives.
pub(crate) struct Arriving {
    pub(crate) request: ReportRequest,
    information: Option<Information>,
    referenced: Vec<Referenced>,
    lease: Option<MemoryLease>,
    fault: Option<NotTaken>,
}

impl Arriving {
    pub(crate) fn new(request: ReportRequest, holder: &Holder) -> Self {
        let mut fault = request
            .fault()
            .map(|status| NotTaken::because(status, "not a report of the storage commitment push model"));
        let lease = holder.lease(Stage::Commitment, REPORT_BYTES).ok();
        if lease.is_none() && fault.is_none() {
            fault = Some(NotTaken::because(ReportStatus::ResourceLimitation, "memory.budget is exhausted"));
        }
        let information = Encoding::of(&request.transfer_syntax)
            .map(|encoding| Information::new(Form::Event, encoding, MOST_REFERENCES));
        Self { request, information, referenced: Vec::new(), lease, fault }
    }

    /// The next bytes of its dataset.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let (Some(information), None) = (&mut self.information, &self.fault) else { return };
        let (referenced, mut odd) = (&mut self.referenced, false);
        let read = information.push(bytes, &mut |reference, reason| match reference.sop_instance.parse() {
            Ok(sop_instance) => {
                // One class after the other, mostly.
                let last = referenced.last().map(|last| &last.sop_class).filter(|last| ***last == *reference.sop_class);
                let sop_class = last.cloned().unwrap_or_else(|| reference.sop_class.into());
                referenced.push(Referenced { sop_class, sop_instance, reason });
            }
            Err(_) => odd = true,
        });
        self.fault = match read {
            Err(error) => Some(fault(error)),
            Ok(()) if odd => {
                Some(NotTaken::because(ReportStatus::InvalidArgument, "a reference has a value that is no uid"))
            }
            Ok(()) => None,
        };
    }

    /// It is complete.
    pub(crate) fn finish(self) -> (Operation, Result<Report, NotTaken>) {
        let Self { request, information, referenced, lease, fault: failed } = self;
        let missing = || NotTaken::because(ReportStatus::InvalidArgument, "the report has no event information");
        let transaction_uid = match (failed, information) {
            (Some(failed), _) => Err(failed),
            (None, Some(information)) if request.has_data_set => information.finish().map_err(fault),
            (None, _) => Err(missing()),
        };
        let report = transaction_uid.map(|transaction_uid| Report { transaction_uid, referenced, lease });
        (request.operation, report)
    }
}

fn fault(error: InformationFault) -> NotTaken {
    let status = match error {
        InformationFault::TooManyReferences { .. } => ReportStatus::ResourceLimitation,
        _ => ReportStatus::InvalidArgument,
    };
    NotTaken::because(status, error.to_string())
}

/// A report for the child of its destination, and who waits until it is durable.
pub(super) struct Given {
    pub(super) report: Report,
    pub(super) reply: oneshot::Sender<Taken>,
}

/// The reports of a destination that wait for its child.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    given: Notify,
}

#[derive(Default)]
struct InboxState {
    /// The catalogue and the number of the destination in it; `None`: no child has seen them yet. It outlives the child: what comes between two
    /// children waits for the second.
    identity: Option<(Generation, i64)>,
    waiting: VecDeque<Given>,
}

impl Inbox {
    /// The child knows which transactions are its own.
    pub(super) fn open(&self, generation: Generation, destination: i64) {
        self.state.lock().identity = Some((generation, destination));
    }

    /// The destination is no longer configured: who waits gets no answer.
    pub(super) fn close(&self) {
        *self.state.lock() = InboxState::default();
    }

    /// The reports that have come.
    pub(super) fn take(&self) -> VecDeque<Given> {
        std::mem::take(&mut self.state.lock().waiting)
    }

    /// Waits for a report.
    pub(super) async fn given(&self) {
        self.given.notified().await;
    }

    /// Whether a transaction is its own; `None`: that cannot be told yet.
    fn owns(&self, transaction_uid: &str) -> Option<bool> {
        let (generation, destination) = self.state.lock().identity?;
        Some(generation.transaction_of(transaction_uid).is_some_and(|(of, _)| of == destination))
    }

    fn give(&self, report: Report) -> Result<oneshot::Receiver<Taken>, NotTaken> {
        let mut state = self.state.lock();
        if state.waiting.len() >= MOST_WAITING {
            return Err(NotTaken::too_many());
        }
        let (reply, receiver) = oneshot::channel();
        state.waiting.push_back(Given { report, reply });
        self.given.notify_one();
        Ok(receiver)
    }
}

/// Gives a report to the one of these destinations whose transaction it is of. The answer comes when what it says is durable.
pub(super) fn give(
    report: Report,
    inboxes: impl Iterator<Item = Arc<Inbox>>,
) -> Result<oneshot::Receiver<Taken>, NotTaken> {
    let mut undecided = Vec::new();
    for inbox in inboxes {
        match inbox.owns(&report.transaction_uid) {
            Some(true) => return inbox.give(report),
            Some(false) => {}
            None => undecided.push(inbox),
        }
    }
    // Soon after the start of the node: a child that is the only one left tells when it can.
    match (undecided.pop(), undecided.is_empty()) {
        (Some(only), true) => only.give(report),
        (Some(_), false) => Err(NotTaken::because(ReportStatus::ProcessingFailure, "the catalogue is not available")),
        (None, _) => Err(NotTaken::unknown()),
    }
}
