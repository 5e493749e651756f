//! An association on the acceptor's side: it takes bytes, and produces events and answers.

use std::sync::Arc;

use bytes::BytesMut;

use crate::command::{Command, Invocation, Operation, Request, command_field};
use crate::event::{ActionRequest, Event, NotDicom, StoreRequest, Violation, input_of};
use crate::exchange::{Exchange, Step};
use crate::framing::{PduHeader, RESERVED_FIELDS, ReservedFields, pdu_type, write_acceptance, write_rejection};
use crate::message::Completed;
use crate::negotiation::{
    AeTitles, AssociateRequest, Negotiated, Policy, RefusedContexts, Rejection, negotiate, read_request,
};
use crate::sending::CannotSend;
use crate::state::{Action, Input, Side, State, action};
use crate::status::{ActionStatus, ErrorComment, ReportStatus, Status};
use crate::syntaxes::STORAGE_COMMITMENT;

/// The acceptor's side of one association. The page of the crate says how to use it.
#[derive(Debug)]
pub struct Association {
    policy: Arc<Policy>,
    exchange: Exchange,
    /// The request that awaits an answer. There is one in Sta3 only.
    pending: Option<Box<Pending>>,
    /// The AE titles of a request that was malformed, too long or rejected, as far as they have come.
    refused_titles: Option<Box<AeTitles>>,
}

#[derive(Debug)]
struct Pending {
    negotiated: Negotiated,
    reserved_fields: ReservedFields,
}

impl Association {
    /// An association whose transport connection has just been opened (Sta2).
    pub fn new(policy: Arc<Policy>) -> Self {
        let exchange = Exchange::new(Side::Acceptor, State::Sta2, policy.max_command_set);
        Self { policy, exchange, pending: None, refused_titles: None }
    }

    /// The state of the association.
    pub fn state(&self) -> State {
        self.exchange.state()
    }

    /// Consumes bytes of `input` until there is an event. `None`: more input is needed, at least up to [`Self::needed`] contiguous bytes,
    /// and `input` has fewer left. PDU headers, PDV headers and the A-ASSOCIATE-RQ are consumed whole; everything else is consumed as it
    /// arrives, whatever the length of its PDU.
    ///
    /// After every event there may be output; a caller that goes on polling without sending it lets it grow by one answer for
    /// each request in `input`.
    pub fn poll(&mut self, input: &mut BytesMut) -> Option<Event> {
        loop {
            let outcome = match self.exchange.step(input)? {
                Ok(Step::Pdu(header)) => self.begin_pdu(header, input),
                Ok(Step::Control(pdu_type, pdu)) => self.control_pdu(pdu_type, &pdu),
                Ok(Step::Fragment(fragment)) => Ok(Some(Event::Fragment(fragment))),
                Ok(Step::Completed(completed)) => self.complete(completed),
                Err(violation) => Err(violation),
            };
            let event = outcome.unwrap_or_else(|violation| {
                self.pending = None;
                self.exchange.violated(violation).map(Event::Violated)
            });
            if event.is_some() {
                return event;
            }
        }
    }

    /// After [`Self::poll`] has consumed all input: the number of bytes of the dataset of a C-STORE-RQ that come next. The caller may
    /// read them, or the first of them, directly to their destination, and report them to [`Self::pass_dataset`].
    pub fn dataset_left(&self) -> usize {
        self.exchange.instance_left()
    }

    /// Reports that the caller has read so many bytes of [`Self::dataset_left`].
    pub fn pass_dataset(&mut self, bytes: usize) {
        self.exchange.pass_value(bytes);
    }

    /// How many contiguous bytes the input must be able to hold for [`Self::poll`] to go on: never more than
    /// [`Policy::max_request_length`] and a header. It is what the peer has announced, not what it has sent: let the input grow
    /// towards it as bytes come.
    pub fn needed(&self) -> usize {
        self.exchange.needed()
    }

    /// Whether a PDU or a DIMSE message is incomplete: the peer owes the rest of it.
    pub fn is_inside_message(&self) -> bool {
        self.exchange.is_inside_message()
    }

    /// Bytes to be sent to the peer, in one write if possible. Empty if there are none.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.exchange.output)
    }

    /// Whether [`Self::take_output`] has something.
    pub fn has_output(&self) -> bool {
        !self.exchange.output.is_empty()
    }

    /// The AE titles of a request that was malformed or too long, or that [`Self::poll`] has rejected, as far as they have come.
    pub fn refused_titles(&self) -> Option<&AeTitles> {
        self.refused_titles.as_deref()
    }

    /// Accepts the request reported last (AE-7). Does nothing outside Sta3.
    pub fn accept(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let Pending { negotiated, reserved_fields } = *pending;
        self.exchange.act(Input::Accept);
        self.exchange.contexts = negotiated.contexts;
        self.exchange.sending.peer_max_pdu_length = negotiated.peer_max_pdu_length;
        if write_acceptance(&mut self.exchange.output, negotiated.answer, &reserved_fields).is_err() {
            self.abort();
        }
    }

    /// Refuses the accepted presentation contexts of the last reported request whose abstract syntax is `denied`, and adds them to
    /// `refused`. Does nothing outside Sta3.
    pub fn reject_contexts(&mut self, denied: impl Fn(&str) -> bool, refused: &mut RefusedContexts) {
        if let Some(pending) = &mut self.pending {
            pending.negotiated.reject_contexts(denied, refused);
        }
    }

    /// Whether a presentation context of the last reported request will be accepted on which instances can be stored. False outside Sta3.
    pub fn can_store(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.negotiated.can_store())
    }

    /// The abstract syntaxes of the accepted presentation contexts, one for each context. None before [`Self::accept`].
    pub fn abstract_syntaxes(&self) -> impl Iterator<Item = &str> {
        self.exchange.contexts.iter().map(|context| &*context.abstract_syntax)
    }

    /// The user of the last reported request is verified: the acceptance says so if the peer asks for it (PS3.7 §D.3.3.7.2). Does nothing
    /// outside Sta3.
    pub fn confirm_user(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.negotiated.confirm_user();
        }
    }

    /// Rejects the request reported last (AE-8). Does nothing outside Sta3.
    pub fn reject(&mut self, rejection: Rejection) {
        if self.exchange.act(Input::Reject).is_some() {
            self.pending = None;
            write_rejection(&mut self.exchange.output, rejection);
        }
    }

    /// Answers a request. The response goes out in the order of these calls, but behind a report that is being sent. Does nothing once the
    /// association is over.
    pub fn respond(&mut self, operation: &Operation, status: Status, comment: &ErrorComment) {
        self.exchange.respond(operation, status.code(), comment);
    }

    /// Answers an N-ACTION-RQ, as [`Self::respond`] does any request.
    pub fn respond_action(&mut self, operation: &Operation, status: ActionStatus, comment: &ErrorComment) {
        self.exchange.respond(operation, status.code(), comment);
    }

    /// Answers an N-EVENT-REPORT-RQ, as [`Self::respond`] does any request.
    pub fn respond_report(&mut self, operation: &Operation, status: ReportStatus, comment: &ErrorComment) {
        self.exchange.respond(operation, status.code(), comment);
    }

    /// The requestor of the last reported request may take the role of an SCP of the Storage Commitment Push Model, if it has asked for that (PS3.7
    /// §D.3.3.4): reports of it are taken. Does nothing outside Sta3.
    pub fn take_reports(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.negotiated.take_reports();
        }
    }

    /// The first accepted presentation context of the Storage Commitment Push Model on which this node may report: the requestor is an SCU of
    /// it (PS3.7 §D.3.3.4). Its ID, and its transfer syntax, which is the encoding of the event information. `None` before [`Self::accept`].
    pub fn report_context(&self) -> Option<(u8, &Arc<str>)> {
        let of_commitment = self.exchange.contexts.with_ids().filter(|(_, context)| context.is_scp);
        let mut of_commitment = of_commitment.filter(|(_, context)| &*context.abstract_syntax == STORAGE_COMMITMENT);
        of_commitment.next().map(|(id, context)| (id, &context.transfer_syntax))
    }

    /// Begins an N-EVENT-REPORT-RQ (PS3.7 §10.3.1.1) on [`Self::report_context`], with Event Type ID 1 or 2 (PS3.4 §J.3.3). Its dataset follows
    /// with [`Self::push_report`] and [`Self::end_report`]. Returns its Message ID. Its response is an [`Event::EventReported`].
    ///
    /// # Errors
    /// One report at a time: the one before must have been answered. No report outside Sta6, or without a context for it.
    pub fn begin_event_report(&mut self, event_type: u16) -> Result<u16, CannotSend> {
        let context_id = self.report_context().map(|(id, _)| id).ok_or(CannotSend::ContextNotAccepted)?;
        self.exchange.begin(context_id, &Invocation::ReportCommitment { event_type })
    }

    /// Sends the next bytes of the report's dataset, cut to what the peer takes: up to 128 KiB are held back, the rest is in the output.
    /// Does nothing if no report is being sent.
    pub fn push_report(&mut self, bytes: &[u8]) {
        self.exchange.push(bytes);
    }

    /// Ends the report's dataset. Responses given meanwhile follow it. Does nothing if no report is being sent.
    pub fn end_report(&mut self) {
        self.exchange.end();
    }

    /// Whether a report is being sent, or awaits its response.
    pub fn is_reporting(&self) -> bool {
        self.exchange.sending.outstanding() > 0 || self.exchange.sending.is_under_way()
    }

    /// Whether so many responses wait for the end of the report that is being sent (64 KiB) that the caller is to read, and to poll, no more
    /// until it has ended.
    pub fn is_congested(&self) -> bool {
        self.exchange.sending.is_congested()
    }

    /// Whether the dataset of a report is being sent. Responses given meanwhile wait for its end.
    pub fn is_sending_report(&self) -> bool {
        self.exchange.sending.is_under_way()
    }

    /// Answers the request for release (AR-4). A report that is being sent is void. Does nothing outside Sta8.
    pub fn answer_release(&mut self) {
        self.exchange.answer_release();
    }

    /// Aborts the association from this side: an A-ABORT is sent (AA-1), unless there is no association. An incomplete dataset is void.
    pub fn abort(&mut self) {
        self.exchange.abort();
        self.pending = None;
    }

    /// Whether the PDU may come now and be of that length, told from its header alone.
    fn begin_pdu(&mut self, header: PduHeader, input: &[u8]) -> Result<Option<Event>, Violation> {
        let PduHeader { pdu_type, length } = header;
        let expected = input_of(pdu_type);
        // After a valid PDU header, `input` may hold any bytes of the peer.
        if self.exchange.state() == State::Sta2
            && expected.is_none()
            && let Some(stranger) = NotDicom::recognize(input)
        {
            self.exchange.act(Input::ArtimExpired); // AA-2 as well: no word to who does not understand it
            self.exchange.close();
            return Ok(Some(Event::NotDicom(stranger)));
        }
        let event = expected.ok_or(Violation::UnrecognizedPdu(pdu_type))?;
        match action(self.exchange.state(), event) {
            Some(Action::Ae6 | Action::Dt2 | Action::Ar2 | Action::Aa2 | Action::Aa3) => {}
            _ => return Err(Violation::UnexpectedPdu(pdu_type)),
        }
        if pdu_type == pdu_type::A_ASSOCIATE_RQ {
            let allowed = self.policy.max_request_length;
            if length > allowed {
                // As far as they have come with the header.
                self.refused_titles = Some(Box::new(AeTitles::read(input, self.policy.strict)));
                return Err(Violation::RequestLength { length, allowed });
            }
            return Ok(None);
        }
        match Exchange::fits(header, self.policy.max_pdu_length) {
            true => Ok(None),
            false => Err(Violation::PduLength { pdu_type, length }),
        }
    }

    /// A whole PDU that [`Self::begin_pdu`] has let in: A-ASSOCIATE-RQ, A-RELEASE-RQ or A-ABORT.
    fn control_pdu(&mut self, pdu_type: u8, pdu: &[u8]) -> Result<Option<Event>, Violation> {
        if pdu_type == pdu_type::A_ASSOCIATE_RQ {
            return self.associate(pdu).map(Some);
        }
        if pdu_type == pdu_type::A_RELEASE_RQ {
            self.exchange.drop_received();
            self.exchange.act(Input::ReleaseRequest);
            return Ok(Some(Event::ReleaseRequested));
        }
        self.pending = None;
        Ok(Some(Event::PeerAborted(self.exchange.aborted(pdu))))
    }

    fn associate(&mut self, pdu: &[u8]) -> Result<Event, Violation> {
        let titles = AeTitles::read(pdu, self.policy.strict);
        let request = match read_request(pdu, &titles) {
            Ok(request) => request,
            Err(fault) => {
                self.refused_titles = Some(Box::new(titles));
                return Err(Violation::MalformedRequest(fault));
            }
        };
        let reserved_fields = pdu.get(RESERVED_FIELDS).and_then(<[u8]>::first_chunk).copied();
        let reserved_fields = reserved_fields.unwrap_or([0; 64]); // a request that was read has them
        self.exchange.act(Input::AssociateRequest);
        Ok(match negotiate(&self.policy, request) {
            Ok(negotiated) => {
                let request = AssociateRequest { titles_are_cut: titles.are_cut, ..negotiated.request.clone() };
                self.pending = Some(Box::new(Pending { negotiated, reserved_fields }));
                Event::AssociateRequested(request)
            }
            Err(rejection) => {
                self.refused_titles = Some(Box::new(titles));
                self.reject(rejection);
                Event::Rejected(rejection)
            }
        })
    }

    fn complete(&mut self, completed: Completed) -> Result<Option<Event>, Violation> {
        let command = match completed {
            Completed::Dataset => return Ok(Some(Event::DatasetComplete)),
            Completed::Command(Command::Request(request)) if is_store(&request) => {
                return Ok(self.store_requested(request));
            }
            Completed::Command(Command::Request(request)) if self.is_commitment(&request) => {
                return Ok(self.action_requested(request));
            }
            Completed::Command(command) => {
                if let Command::Request(request) = &command
                    && let Some(report) = self.exchange.report_requested(request)
                {
                    return Ok(Some(Event::ReportRequested(report)));
                }
                if let Command::Response(response) = &command {
                    self.exchange.responded(response)?;
                }
                if command.has_data_set() {
                    self.exchange.drop_dataset(command);
                    return Ok(None);
                }
                command
            }
            Completed::Dropped(command) => command,
        };
        Ok(match command {
            Command::Request(request) => self.answer_at_once(&request.operation),
            Command::Response(response) => Some(Event::EventReported(response)),
        })
    }

    fn is_commitment(&self, request: &Request) -> bool {
        let context = self.exchange.contexts.get(request.operation.context_id);
        request.operation.command_field == command_field::N_ACTION_RQ
            && context.is_some_and(|context| &*context.abstract_syntax == STORAGE_COMMITMENT)
    }

    fn store_requested(&mut self, request: Request) -> Option<Event> {
        let Request { operation, has_data_set, has_foreign_elements } = request;
        if has_data_set {
            self.exchange.pass_dataset(operation.context_id, true);
        }
        let context = self.exchange.contexts.get(operation.context_id)?; // every PDV was checked for it
        Some(Event::StoreRequested(StoreRequest {
            abstract_syntax: context.abstract_syntax.clone(),
            transfer_syntax: context.transfer_syntax.clone(),
            has_data_set,
            has_foreign_elements,
            operation,
        }))
    }

    fn action_requested(&mut self, request: Request) -> Option<Event> {
        let Request { operation, has_data_set, .. } = request;
        if has_data_set {
            self.exchange.pass_dataset(operation.context_id, false);
        }
        let context = self.exchange.contexts.get(operation.context_id)?; // every PDV was checked for it
        let transfer_syntax = context.transfer_syntax.clone();
        Some(Event::ActionRequested(ActionRequest { operation, transfer_syntax, has_data_set }))
    }

    /// Answers a command other than C-STORE: C-ECHO is served, a C-CANCEL has no response, all others are refused (PS3.7 §9.1.5, §C.5).
    fn answer_at_once(&mut self, operation: &Operation) -> Option<Event> {
        match operation.command_field {
            command_field::C_ECHO_RQ => {
                self.respond(operation, Status::Success, &ErrorComment::default());
                Some(Event::Echoed)
            }
            command_field::C_CANCEL_RQ => None,
            other => {
                let comment = ErrorComment::new(match self.policy.storage_commitment {
                    true => "this node serves C-STORE, C-ECHO and storage commitment only",
                    false => "this node serves C-STORE and C-ECHO only",
                });
                self.respond(operation, Status::UnrecognizedOperation, &comment);
                Some(Event::OperationRefused(other))
            }
        }
    }
}

fn is_store(request: &Request) -> bool {
    request.operation.command_field == command_field::C_STORE_RQ
}

#[cfg(test)]
mod tests;
