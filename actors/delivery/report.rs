//! A report of commitment (PS3.4 §J.3.3), from its first byte to the answer: on an association of this node or on one that the destination has opened.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tidegate_catalogue::{Generation, PackedUid};
use tidegate_memory::{Holder, MemoryLease, Stage};
use tidegate_protocol::commitment::{Encoding, Form, Information, InformationFault};
use tidegate_protocol::{Operation, ReportRequest, ReportStatus};
use tokio::sync::{Notify, oneshot};

/// References of a request, and so of a report, at most.
pub(super) const MOST_REFERENCES: u32 = 4096;
/// Memory of a report: its references.
const REPORT_BYTES: u64 = 512 << 10;
/// Reports of a destination that wait for its child.
const MOST_WAITING: usize = 16;

/// A report that has arrived.
pub(crate) struct Report {
    pub(crate) transaction_uid: String,
    /// Each with the Failure Reason (0008,1197) of one that is not committed.
    pub(super) referenced: Vec<(PackedUid, Option<u16>)>,
    _lease: Option<MemoryLease>,
}

/// Why a report is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotTaken {
    pub(crate) status: ReportStatus,
    pub(crate) cause: String,
}

impl NotTaken {
    fn because(status: ReportStatus, cause: impl Into<String>) -> Self {
        Self { status, cause: cause.into() }
    }
}

/// A report that arrives.
pub(crate) struct Arriving {
    pub(crate) request: ReportRequest,
    information: Option<Information>,
    referenced: Vec<(PackedUid, Option<u16>)>,
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
            Ok(uid) => referenced.push((uid, reason)),
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
        let report = transaction_uid.map(|transaction_uid| Report { transaction_uid, referenced, _lease: lease });
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
    pub(super) transaction: i64,
    pub(super) report: Report,
    pub(super) reply: oneshot::Sender<ReportStatus>,
}

/// The reports of a destination that wait for its child.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    given: Notify,
}

#[derive(Default)]
struct InboxState {
    /// The catalogue and the number of the destination in it; `None`: its child does not know them yet.
    identity: Option<(Generation, i64)>,
    waiting: VecDeque<Given>,
}

impl Inbox {
    /// The child knows which transactions are its own.
    pub(super) fn open(&self, generation: Generation, destination: i64) {
        self.state.lock().identity = Some((generation, destination));
    }

    /// The child has ended: who waits gets no answer.
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

    /// Gives it a report, if the transaction is its own. `Err`: that is not so, or cannot be told.
    fn give(&self, report: Report) -> Result<oneshot::Receiver<ReportStatus>, (Report, NotTaken)> {
        let mut state = self.state.lock();
        let Some((generation, destination)) = state.identity else {
            let unknown = NotTaken::because(ReportStatus::ProcessingFailure, "the catalogue is not available");
            return Err((report, unknown));
        };
        let transaction = generation.transaction_of(&report.transaction_uid);
        let Some((_, transaction)) = transaction.filter(|(of, _)| *of == destination) else {
            let unknown = NotTaken::because(ReportStatus::InvalidArgument, "the transaction is none of this node");
            return Err((report, unknown));
        };
        if state.waiting.len() >= MOST_WAITING {
            let full = NotTaken::because(ReportStatus::ResourceLimitation, "too many reports wait");
            return Err((report, full));
        }
        let (reply, receiver) = oneshot::channel();
        state.waiting.push_back(Given { transaction, report, reply });
        self.given.notify_one();
        Ok(receiver)
    }
}

/// Gives a report to the one of these destinations whose transaction it is of. The answer comes when what it says is durable.
pub(super) fn give(
    report: Report,
    inboxes: impl Iterator<Item = std::sync::Arc<Inbox>>,
) -> Result<oneshot::Receiver<ReportStatus>, NotTaken> {
    let mut not_taken = NotTaken::because(ReportStatus::InvalidArgument, "the transaction is none of this node");
    let mut report = report;
    for inbox in inboxes {
        match inbox.give(report) {
            Ok(receiver) => return Ok(receiver),
            Err((back, why)) => {
                report = back;
                // One that may be asked again is worth it.
                if why.status != ReportStatus::InvalidArgument {
                    not_taken = why;
                }
            }
        }
    }
    Err(not_taken)
}
