//! Storage commitment on an association: an N-ACTION is read while it arrives, handed to the child, and answered when it is durable. A report
//! goes out when the association is idle. Meanwhile instances come in as ever.

use std::time::Duration;

use bytes::Bytes;
use tidegate_commitment::{Asked, MAX_REFERENCES, Peer};
use tidegate_protocol::commitment::{Encoding, Form, Information};
use tidegate_protocol::syntaxes::is_uid;
use tidegate_protocol::{ActionRequest, ActionStatus, ErrorComment, Operation, Response};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::commitment::{Arriving, IDLE, Recording, Said};
use super::connection::Connection;
use super::end::End;
use crate::commitment::caller::ended_by;
use crate::commitment::references::{NotAdded, References};
use crate::commitment::report::{Dataset, Unreadable};
use crate::commitment::shared::{Begun, Ended, LineEnd, NotRecorded, Recorded, Submission, Ticket};
use crate::gauges::audit::{AuditEvent, CommitmentStep};
use crate::gauges::incidents::{Class, Topic};

/// Time for the response to a report.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

impl Connection {
    /// The association is accepted: if it has a context for reports, reports may come by it.
    pub(super) fn open_line(&mut self) {
        if let Some(shared) = &self.node.env.commitment
            && self.session.report_encoding().is_some()
        {
            let line = LineEnd::open(shared.clone(), self.peer.association(), self.commitment_peer());
            self.commitment.line = Some(line);
        }
    }

    fn commitment_peer(&self) -> Peer {
        Peer { calling: self.peer.calling_ae_title.clone(), address: self.peer.address.ip().to_string() }
    }

    /// An N-ACTION has come.
    pub(super) fn on_action_request(&mut self, request: ActionRequest) {
        let refused = |status, cause: &str| Some(NotRecorded { status, cause: cause.to_owned() });
        let fault = match request.fault() {
            Some(status) => refused(status, "not a request of the storage commitment push model"),
            None if !self.may_ask_commitment() => {
                refused(ActionStatus::NotAuthorized, "storage commitment is not allowed")
            }
            None => None,
        };
        let information = Encoding::of(&request.transfer_syntax)
            .map(|encoding| Information::new(Form::Action, encoding, MAX_REFERENCES as u32));
        self.clock.progress();
        let has_data_set = request.has_data_set;
        let references = References::default();
        self.commitment.arriving = Some(Box::new(Arriving { request, information, references, fault }));
        if !has_data_set {
            self.complete_action();
        }
    }

    /// Whether the settings in force allow it, and not only those from the start of the association.
    fn may_ask_commitment(&self) -> bool {
        let live = self.node.env.live.get();
        let rule = self.rule();
        let terms = rule.and_then(|name| {
            let at = live.access.rules.list().iter().position(|rule| rule.name == name)?;
            live.access.terms.get(at)
        });
        live.commitment.is_enabled && terms.is_none_or(|terms| terms.commitment)
    }

    /// The next bytes of the dataset of an N-ACTION.
    pub(super) fn on_action_fragment(&mut self, fragment: &Bytes) {
        self.clock.progress();
        let holder = self.leases.holder();
        let Some(Arriving { information: Some(information), references, fault, .. }) =
            self.commitment.arriving.as_deref_mut()
        else {
            return;
        };
        if fault.is_some() {
            return;
        }
        let mut not_added = None;
        let read = information.push(fragment, &mut |reference, _| {
            if not_added.is_none() {
                not_added = references.push(reference, holder).err();
            }
        });
        if let Err(error) = read {
            *fault = Some(NotRecorded { status: error.status(), cause: error.to_string() });
        } else if let Some(not_added) = not_added {
            let (status, cause) = match not_added {
                NotAdded::NotAUid => (ActionStatus::InvalidArgument, "a reference has a value that is no uid"),
                NotAdded::NoMemory => (ActionStatus::ResourceLimitation, "memory.budget is exhausted"),
            };
            *fault = Some(NotRecorded { status, cause: cause.to_owned() });
        }
        if fault.is_some() {
            *references = References::default();
        }
    }

    /// The dataset of an N-ACTION is complete: hands it to the child, or refuses it.
    pub(super) fn complete_action(&mut self) {
        let Some(Arriving { request, information, references, fault }) =
            self.commitment.arriving.take().map(|arriving| *arriving)
        else {
            return;
        };
        let operation = request.operation.clone();
        let missing = || NotRecorded {
            status: ActionStatus::InvalidArgument,
            cause: "the request has no action information".to_owned(),
        };
        let transaction_uid = match (fault, information) {
            (Some(fault), _) => Err(fault),
            (None, None) => Err(missing()),
            (None, Some(information)) => {
                information.finish().map_err(|error| NotRecorded { status: error.status(), cause: error.to_string() })
            }
        };
        let uid = transaction_uid.and_then(|uid| match is_uid(&uid) {
            true => Ok(uid),
            false => Err(NotRecorded {
                status: ActionStatus::InvalidArgument,
                cause: "the transaction uid is none".to_owned(),
            }),
        });
        let submitted = uid.and_then(|uid| self.submit(operation.clone(), uid, references));
        if let Err(refused) = submitted {
            self.refuse_action(&operation, &refused);
        }
    }

    fn submit(
        &mut self,
        operation: Operation,
        transaction_uid: String,
        references: References,
    ) -> Result<(), NotRecorded> {
        let none = || NotRecorded {
            status: ActionStatus::ProcessingFailure,
            cause: "storage commitment needs the catalogue".to_owned(),
        };
        let shared = self.node.env.commitment.clone().ok_or_else(none)?;
        let asked = Asked {
            transaction_uid: transaction_uid.clone(),
            peer: self.commitment_peer(),
            called: self.peer.called_ae_title.clone(),
            association: u32::try_from(self.peer.association()).unwrap_or(u32::MAX),
        };
        let instances = references.len();
        let (sender, reply) = oneshot::channel();
        shared.submit(Submission { asked, references, reply: sender })?;
        let until = Instant::now() + self.node.live.writers.commit_timeout;
        self.commitment.recording = Some(Box::new(Recording { operation, transaction_uid, instances, until, reply }));
        Ok(())
    }

    fn refuse_action(&mut self, operation: &Operation, refused: &NotRecorded) {
        let NotRecorded { status, cause } = refused;
        if let Some(shared) = &self.node.env.commitment {
            shared.count_refused(*status);
        }
        if let Some(unlogged) = self.worth_a_line(Class::Refusal, "commitment", status) {
            warn!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                message_id = operation.message_id,
                %status,
                cause,
                unlogged,
                "commitment request refused"
            );
        }
        self.session.respond_action(operation, *status, &ErrorComment::new(cause));
    }

    /// Handles what has come for the association.
    pub(super) async fn on_said(&mut self, said: Said) -> Option<End> {
        match said {
            Said::Wanted => return None,
            Said::Idle => {
                if let Some(line) = &self.commitment.line {
                    line.ready();
                }
                return None;
            }
            Said::Recorded(recorded) => return self.on_recorded(recorded).await,
            Said::Report(ticket) => {
                if !self.session.is_releasing() && !self.session.is_reporting() {
                    self.commitment.step = Some(Box::pin(async move {
                        let begun = ticket.begin().await;
                        Said::Begun(ticket, begun)
                    }));
                }
                return None; // a ticket that is dropped is lost, and told so
            }
            Said::Begun(ticket, begun) => {
                self.commitment.step = None;
                self.begin_report(ticket, begun);
            }
            Said::Bytes(ticket, dataset, bytes) => {
                self.commitment.step = None;
                match bytes {
                    Ok(Some(bytes)) => {
                        self.session.push_report(&bytes);
                        self.next_bytes(ticket, dataset);
                    }
                    Ok(None) => {
                        self.session.end_report(); // and what was deferred follows
                        self.commitment.awaiting = Some((ticket, Instant::now() + ANSWER_TIMEOUT));
                    }
                    Err(Unreadable) => {
                        let cause = "the record of commitment requests cannot be read";
                        ticket.end(Ended::hindered(cause));
                        return Some(self.on_unreadable(cause));
                    }
                }
            }
            Said::Replied(taken) => self.reply_to_report(&taken),
            Said::Silent => {
                self.commitment.line = None; // its report is still outstanding, and there is one at a time
                if let Some((ticket, _)) = self.commitment.awaiting.take() {
                    ticket.end(Ended::because("the peer gave no response to the report in time"));
                }
            }
        }
        self.commitment.note();
        let sent = self.flush().await;
        self.answered();
        sent.is_err().then_some(End::ConnectionLost)
    }

    /// The report that was being sent could not be read to its end.
    fn on_unreadable(&mut self, cause: &str) -> End {
        if let Some(unlogged) = self.worth_a_line(Class::Limit, "commitment_unreadable", ()) {
            let (calling, called, association) = (self.peer.calling(), self.peer.called(), self.peer.association());
            warn!(peer = %self.peer.address, calling, called, association, cause, unlogged, "commitment report cut short, aborted");
        }
        self.session.abort(); // within a message, there is no other way
        End::ReportCut
    }

    /// What was to be sent is on the socket. Reports may follow those responses that do not wait behind a report.
    fn answered(&mut self) {
        if !self.session.is_sending_report() {
            self.commitment.unanswered.clear();
        }
    }

    async fn on_recorded(&mut self, recorded: Result<Recorded, NotRecorded>) -> Option<End> {
        let Recording { operation, transaction_uid, instances, .. } = *self.commitment.recording.take()?;
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(refused) => {
                self.refuse_action(&operation, &refused);
                self.commitment.note();
                return self.flush().await.is_err().then_some(End::ConnectionLost);
            }
        };
        self.session.respond_action(&operation, ActionStatus::Success, &ErrorComment::default());
        let sent = self.flush().await;
        self.commitment.note();
        self.note_recorded(recorded.request, &transaction_uid, instances);
        self.commitment.unanswered.push(recorded);
        self.answered();
        sent.is_err().then_some(End::ConnectionLost)
    }

    fn note_recorded(&mut self, request: i64, transaction_uid: &str, instances: usize) {
        if let Some(unlogged) = self.line_about(Topic::Stored, "commitment_requested", ()) {
            info!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                request,
                transaction = transaction_uid,
                instances,
                unlogged,
                "commitment requested"
            );
        }
        self.node.env.gauges.record(|| AuditEvent::Commitment {
            peer: self.peer.for_audit(),
            transaction_uid: transaction_uid.to_owned(),
            step: CommitmentStep::Requested { instances: instances as u64 },
        });
    }

    fn begin_report(&mut self, ticket: Ticket, begun: Result<Begun, String>) {
        let begun = match begun {
            Ok(begun) => begun,
            Err(why) => return ticket.end(Ended::hindered(why)),
        };
        let Some(encoding) = self.session.report_encoding() else { return };
        if self.session.begin_event_report(begun.event_type()).is_err() {
            self.commitment.line = None; // it is being released
            return;
        }
        let title = &self.node.live.associations.policy.ae_title;
        let dataset = Dataset::new(&ticket, begun, encoding, title);
        self.next_bytes(ticket, dataset);
    }

    fn next_bytes(&mut self, ticket: Ticket, mut dataset: Dataset) {
        self.commitment.step = Some(Box::pin(async move {
            let bytes = dataset.next(&ticket).await;
            Said::Bytes(ticket, dataset, bytes)
        }));
    }

    /// The peer has answered a report.
    pub(super) fn on_report_response(&mut self, response: &Response) {
        if let Some((ticket, _)) = self.commitment.awaiting.take() {
            ticket.end(ended_by(response.status, response.comment.as_str()));
            // The next one need not wait.
            self.commitment.quiet_since = Instant::now().checked_sub(IDLE).unwrap_or_else(Instant::now);
        }
        self.clock.progress();
    }
}
