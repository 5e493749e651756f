//! An association's part of commitment: it sends a request between instances, and takes reports whenever they come.

use std::time::Duration;

use tidegate_protocol::commitment::{EventInformation, Reference, Terms};
use tidegate_protocol::{ErrorComment, Invocation, Operation, ReportStatus, Response};
use tokio::time::Instant;
use tracing::warn;

use super::asking::Awaited;
use super::association::Association;
use super::report::{Arriving, NotTaken, Taken, give};
use crate::gauges::incidents::{NO_PEER, Topic};
use crate::network::calling::CallError;

/// An association is kept open for the report of its request for so long. Later ones come on an association of the destination.
const AWAITS_REPORT: Duration = Duration::from_secs(10);
/// An association that begins nothing more is kept open for so long after the answer to its last report.
const AFTER_REPORT: Duration = Duration::from_secs(1);

impl Association {
    /// Sends the request that is ready, or says why it cannot.
    pub(super) async fn ask(&mut self) -> Result<(), CallError> {
        let Some(asked) = self.hub.borrow_mut().ask() else { return Ok(()) };
        let transaction = asked.transaction;
        let (context, encoding) = match &self.asking.context {
            Some(Ok(context)) => *context,
            Some(Err(why)) => {
                self.hub.borrow_mut().ask_failed(transaction, why);
                return Ok(());
            }
            None => {
                let why = "the association has no context for storage commitment";
                self.hub.borrow_mut().ask_failed(transaction, why);
                return Ok(());
            }
        };
        self.has_probed = true;
        let begun = self.call.requestor.begin(context, &Invocation::RequestCommitment);
        let message_id = match begun {
            Ok(message_id) => message_id,
            Err(error) => {
                self.hub.borrow_mut().ask_failed(transaction, &error.to_string());
                return Err(CallError::Unexpected);
            }
        };
        self.asking.awaited = Some(Awaited { message_id, transaction, sent: Instant::now() });
        let mut out = Vec::new();
        let terms = Terms { transaction_uid: &asked.transaction_uid, retrieve_ae_title: None };
        // Action information is event information of which nothing has failed (PS3.4 tables J.3-1 and J.3-2).
        let mut information = EventInformation::begin(&mut out, encoding, &terms);
        for (sop_class, sop_instance) in &asked.references {
            let sop_instance = sop_instance.to_string();
            information.committed(&mut out, Reference { sop_class, sop_instance: &sop_instance });
        }
        information.end(&mut out);
        self.call.requestor.push_dataset(&out);
        self.call.requestor.end_dataset();
        self.call.flush().await?;
        if let Some(awaited) = &mut self.asking.awaited {
            awaited.sent = Instant::now();
        }
        Ok(())
    }

    /// The response to the request will not come.
    pub(super) fn not_asked(&mut self, why: &str) {
        if let Some(Awaited { transaction, .. }) = self.asking.awaited.take() {
            self.hub.borrow_mut().ask_refused(transaction, why);
        }
    }

    /// Takes the response to the request. False: it is to something else.
    pub(super) fn ask_answered(&mut self, response: &Response) -> bool {
        let is_own = |awaited: &mut Awaited| awaited.message_id == response.message_id;
        let Some(Awaited { transaction, .. }) = self.asking.awaited.take_if(is_own) else { return false };
        self.has_served = true;
        let mut hub = self.hub.borrow_mut();
        hub.answered = Some(Instant::now());
        hub.succeeded(Instant::now());
        if response.status == 0 {
            self.asking.reports_until = Some(Instant::now() + AWAITS_REPORT);
            self.asking.unreported += 1;
            hub.ask_taken(transaction);
        } else {
            let comment = response.comment.as_str();
            let gap = if comment.is_empty() { "" } else { ": " };
            let why = format!("the destination answers with status {:04X}{gap}{comment}", response.status);
            hub.ask_refused(transaction, &why);
        }
        true
    }

    /// A report begins.
    pub(super) fn begin_report(&mut self, request: tidegate_protocol::ReportRequest) {
        let has_data_set = request.has_data_set;
        self.asking.arriving = Some(Arriving::new(request, &self._holder));
        if !has_data_set {
            self.end_report();
        }
    }

    /// The next bytes of a dataset: that of a report is the only one that means anything.
    pub(super) fn push_report(&mut self, bytes: &[u8]) {
        if let Some(arriving) = &mut self.asking.arriving {
            arriving.push(bytes);
        }
    }

    /// The dataset of a report is complete.
    pub(super) fn end_report(&mut self) {
        let Some(arriving) = self.asking.arriving.take() else { return };
        let (operation, report) = arriving.finish();
        let inbox = self.hub.borrow().committing.inbox.clone();
        let report = if self.asking.has_room() { report } else { Err(NotTaken::too_many()) };
        match report.and_then(|report| give(report, [inbox].into_iter())) {
            Ok(receiver) => self.asking.replying.push_back((operation, receiver)),
            Err(not_taken) => self.refuse_report(&operation, &not_taken),
        }
    }

    fn refuse_report(&mut self, operation: &Operation, not_taken: &NotTaken) {
        let hub = self.hub.borrow();
        let NotTaken { status, cause } = not_taken;
        let incidents = &hub.gauges.incidents;
        if let Some(unlogged) =
            incidents.worth_a_line_about(Topic::Contexts, "delivery_report", NO_PEER, (&hub.name, cause))
        {
            warn!(destination = hub.name, peer = hub.settings.peer(), %status, cause, unlogged, "destination's report refused");
        }
        self.call.requestor.respond_report(operation, *status, &ErrorComment::new(cause));
    }

    /// Answers a report.
    pub(super) async fn reply(&mut self, taken: Taken) -> Result<(), CallError> {
        if let Some((operation, _)) = self.asking.replying.pop_front() {
            match taken {
                Ok(()) => {
                    self.call.requestor.respond_report(&operation, ReportStatus::Success, &ErrorComment::default());
                }
                Err(not_taken) => self.refuse_report(&operation, &not_taken),
            }
            self.asking.unreported = self.asking.unreported.saturating_sub(1);
            if self.asking.unreported == 0 {
                // Some peers lose an answer that is followed by a release at once.
                self.asking.reports_until = self.is_late.then(|| Instant::now() + AFTER_REPORT);
            }
        }
        self.call.flush().await
    }
}
