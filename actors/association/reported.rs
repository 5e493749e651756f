//! Reports of destinations that this node has asked for commitment (PS3.4 §J.3.3): they come on an association that the destination has opened, in the
//! role of an SCP. A report is answered when what it says is durable.

use bytes::Bytes;
use tidegate_protocol::{ErrorComment, Operation, ReportRequest, ReportStatus};
use tracing::warn;

use super::connection::Connection;
use crate::delivery::report::{Arriving, MOST_WAITING, NotTaken, Taken};
use crate::gauges::incidents::Class;

impl Connection {
    /// An N-EVENT-REPORT has come.
    pub(super) fn on_report_request(&mut self, request: ReportRequest) {
        let has_data_set = request.has_data_set;
        self.clock.progress();
        self.commitment.reported = Some(Box::new(Arriving::new(request, self.leases.holder())));
        if !has_data_set {
            self.complete_report();
        }
    }

    /// The next bytes of its dataset.
    pub(super) fn on_report_fragment(&mut self, fragment: &Bytes) {
        self.clock.progress();
        if let Some(arriving) = &mut self.commitment.reported {
            arriving.push(fragment);
        }
    }

    /// Its dataset is complete: gives it to its destination, or refuses it.
    pub(super) fn complete_report(&mut self) {
        let Some(arriving) = self.commitment.reported.take() else { return };
        let (operation, report) = arriving.finish();
        let has_room = self.commitment.replying.len() < MOST_WAITING;
        let report = if has_room { report } else { Err(NotTaken::too_many()) };
        let given = report.and_then(|report| self.node.env.delivery.report(&self.peer.calling_ae_title, report));
        match given {
            Ok(receiver) => self.commitment.replying.push_back((operation, receiver)),
            Err(not_taken) => self.refuse_report(&operation, &not_taken),
        }
    }

    fn refuse_report(&mut self, operation: &Operation, not_taken: &NotTaken) {
        let NotTaken { status, cause } = not_taken;
        if let Some(unlogged) = self.worth_a_line(Class::Refusal, "report", status) {
            warn!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                %status,
                cause,
                unlogged,
                "report of commitment refused"
            );
        }
        self.session.respond_report(operation, *status, &ErrorComment::new(cause));
    }

    /// What the report says is durable, or is not.
    pub(super) fn reply_to_report(&mut self, taken: &Taken) {
        let Some((operation, _)) = self.commitment.replying.pop_front() else { return };
        match taken {
            Ok(()) => self.session.respond_report(&operation, ReportStatus::Success, &ErrorComment::default()),
            Err(not_taken) => self.refuse_report(&operation, not_taken),
        }
    }
}
