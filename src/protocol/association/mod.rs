//! An association on the acceptor's side: it takes bytes, and produces events and answers.

use std::sync::Arc;

use bytes::BytesMut;

use crate::command::{Operation, Request, command_field, response};
use crate::deframer::{Deframer, Frame};
use crate::event::{Event, NotDicom, PeerAbort, StoreRequest, Violation, input_of};
use crate::framing::{
    PduHeader, PdvHeader, RESERVED_FIELDS, ReservedFields, pdu_type, write_abort, write_acceptance, write_command,
    write_rejection, write_release_reply,
};
use crate::message::{Completed, Message};
use crate::negotiation::{
    AeTitles, AssociateRequest, Contexts, Negotiated, Policy, RefusedContexts, Rejection, negotiate, read_request,
};
use crate::state::{Action, Input, State, action};
use crate::status::{ErrorComment, Status};

/// The acceptor's side of one association. The page of the crate says how to use it.
#[derive(Debug)]
pub struct Association {
    policy: Arc<Policy>,
    state: State,
    deframer: Deframer,
    message: Message,
    contexts: Contexts,
    peer_max_pdu_length: u32,
    /// The request that awaits an answer. There is one in Sta3 only.
    pending: Option<Box<Pending>>,
    /// The AE titles of a request that was malformed or rejected.
    refused_titles: Option<Box<AeTitles>>,
    output: Vec<u8>,
}

#[derive(Debug)]
struct Pending {
    negotiated: Negotiated,
    reserved_fields: ReservedFields,
}

impl Association {
    /// An association whose transport connection has just been opened (Sta2).
    pub fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            state: State::Sta2,
            deframer: Deframer::new(),
            message: Message::None,
            contexts: Contexts::default(),
            peer_max_pdu_length: 0,
            pending: None,
            refused_titles: None,
            output: Vec::new(),
        }
    }

    /// The state of the association.
    pub fn state(&self) -> State {
        self.state
    }

    /// Consumes bytes of `input` until there is an event. `None`: more input is needed, at least up to [`Self::needed`] contiguous bytes,
    /// and `input` has fewer left. PDU headers, PDV headers and the A-ASSOCIATE-RQ are consumed whole; everything else is consumed as it
    /// arrives, whatever the length of its PDU.
    ///
    /// After every event there may be output; a caller that goes on polling without sending it lets it grow by one answer for
    /// each request in `input`.
    pub fn poll(&mut self, input: &mut BytesMut) -> Option<Event> {
        loop {
            let outcome = match self.deframer.next(input) {
                Ok(Some(Frame::Pdu(header))) => self.begin_pdu(header, input),
                Ok(Some(Frame::Control(pdu_type, pdu))) => self.control_pdu(pdu_type, &pdu),
                Ok(Some(Frame::Pdv(header))) => self.begin_pdv(header).map(|()| None),
                Ok(Some(Frame::Fragment(fragment))) => Ok(self.message.take(fragment).map(Event::Fragment)),
                Ok(Some(Frame::End)) => self.message.end().map(|completed| self.complete(completed?)),
                Ok(None) => return None,
                Err(violation) => Err(violation),
            };
            let event = outcome.unwrap_or_else(|violation| self.violated(violation));
            if event.is_some() {
                return event;
            }
        }
    }

    /// After [`Self::poll`] has consumed all input: the number of bytes of the dataset of a C-STORE-RQ that come next. The caller may
    /// read them, or the first of them, directly to their destination, and report them to [`Self::pass_dataset`].
    pub fn dataset_left(&self) -> usize {
        if matches!(self.message, Message::Dataset { .. }) { self.deframer.value_left() } else { 0 }
    }

    /// Reports that the caller has read so many bytes of [`Self::dataset_left`].
    pub fn pass_dataset(&mut self, bytes: usize) {
        self.deframer.pass_value(bytes);
    }

    /// How many contiguous bytes the input must be able to hold for [`Self::poll`] to go on: never more than
    /// [`Policy::max_request_length`] and a header. It is what the peer has announced, not what it has sent: let the input grow
    /// towards it as bytes come.
    pub fn needed(&self) -> usize {
        self.deframer.needed()
    }

    /// Whether a PDU or a DIMSE message is incomplete: the peer owes the rest of it.
    pub fn is_inside_message(&self) -> bool {
        self.deframer.is_inside_pdu() || !matches!(self.message, Message::None)
    }

    /// Bytes to be sent to the peer, in one write if possible. Empty if there are none.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether [`Self::take_output`] has something.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// The AE titles of a request that was malformed, or that [`Self::poll`] has rejected.
    pub fn refused_titles(&self) -> Option<&AeTitles> {
        self.refused_titles.as_deref()
    }

    /// Accepts the request reported last (AE-7). Does nothing outside Sta3.
    pub fn accept(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let Pending { negotiated, reserved_fields } = *pending;
        self.act(Input::Accept);
        self.contexts = negotiated.contexts;
        self.peer_max_pdu_length = negotiated.peer_max_pdu_length;
        if write_acceptance(&mut self.output, negotiated.answer, &reserved_fields).is_err() {
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
        self.contexts.iter().map(|context| &*context.abstract_syntax)
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
        if self.act(Input::Reject).is_some() {
            self.pending = None;
            write_rejection(&mut self.output, rejection);
        }
    }

    /// Answers a request. The response goes out in the order of these calls. Does nothing once the association is over.
    pub fn respond(&mut self, operation: &Operation, status: Status, comment: &ErrorComment) {
        if matches!(self.state, State::Sta6 | State::Sta8) {
            write_command(
                &mut self.output,
                operation.context_id,
                &response(operation, status, comment),
                self.peer_max_pdu_length,
            );
        }
    }

    /// Answers the request for release (AR-4). Does nothing outside Sta8.
    pub fn answer_release(&mut self) {
        if self.act(Input::AnswerRelease).is_some() {
            write_release_reply(&mut self.output);
        }
    }

    /// Aborts the association from this side: an A-ABORT is sent (AA-1), unless there is no association. An incomplete dataset is void.
    pub fn abort(&mut self) {
        // In Sta2 there is nothing to abort yet: it is as when the ARTIM timer expires.
        let input = if self.state == State::Sta2 { Input::ArtimExpired } else { Input::RequestAbort };
        if self.act(input) == Some(Action::Aa1) {
            write_abort(&mut self.output, 0, 0);
        }
        self.drop_what_is_under_way();
    }

    fn act(&mut self, input: Input) -> Option<Action> {
        let action = action(self.state, input)?;
        self.state = action.next();
        if matches!(action, Action::Aa2 | Action::Aa3) {
            self.deframer.close();
        }
        Some(action)
    }

    fn drop_what_is_under_way(&mut self) {
        self.deframer.skip_pdu();
        self.message = Message::None;
        self.pending = None;
    }

    /// Whether the PDU may come now and be of that length, told from its header alone.
    fn begin_pdu(&mut self, header: PduHeader, input: &[u8]) -> Result<Option<Event>, Violation> {
        let PduHeader { pdu_type, length } = header;
        let expected = input_of(pdu_type);
        // After a valid PDU header, `input` may hold any bytes of the peer.
        if self.state == State::Sta2
            && expected.is_none()
            && let Some(stranger) = NotDicom::recognize(input)
        {
            self.act(Input::ArtimExpired); // AA-2 as well: no word to who does not understand it
            self.deframer.close();
            return Ok(Some(Event::NotDicom(stranger)));
        }
        let input = expected.ok_or(Violation::UnrecognizedPdu(pdu_type))?;
        match action(self.state, input) {
            Some(Action::Ae6 | Action::Dt2 | Action::Ar2 | Action::Aa2 | Action::Aa3) => {}
            _ => return Err(Violation::UnexpectedPdu(pdu_type)),
        }
        let fits = match pdu_type {
            pdu_type::A_ASSOCIATE_RQ => length <= self.policy.max_request_length,
            // PS3.8 §D.1: 0 is no limit; a longer PDU than was offered is a protocol error.
            pdu_type::P_DATA_TF => self.policy.max_pdu_length == 0 || length <= self.policy.max_pdu_length,
            _ => length == 4, // PS3.8 §9.3.6 to §9.3.8
        };
        if fits { Ok(None) } else { Err(Violation::PduLength { pdu_type, length }) }
    }

    /// A whole PDU that [`Self::begin_pdu`] has let in: A-ASSOCIATE-RQ, A-RELEASE-RQ or A-ABORT.
    fn control_pdu(&mut self, pdu_type: u8, pdu: &[u8]) -> Result<Option<Event>, Violation> {
        if pdu_type == pdu_type::A_ASSOCIATE_RQ {
            return self.associate(pdu).map(Some);
        }
        self.message = Message::None;
        if pdu_type == pdu_type::A_RELEASE_RQ {
            self.act(Input::ReleaseRequest);
            return Ok(Some(Event::ReleaseRequested));
        }
        self.act(Input::Abort);
        self.pending = None;
        let (source, reason) = match pdu {
            [.., source, reason] => (*source, *reason),
            _ => (0, 0),
        };
        Ok(Some(Event::PeerAborted(PeerAbort { source, reason })))
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
        self.act(Input::AssociateRequest);
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

    fn begin_pdv(&mut self, header: PdvHeader) -> Result<(), Violation> {
        if self.contexts.get(header.context_id).is_none() {
            return Err(Violation::ContextNotAccepted(header.context_id));
        }
        self.message.begin_pdv(header, self.policy.max_command_set)
    }

    fn complete(&mut self, completed: Completed) -> Option<Event> {
        match completed {
            Completed::StoreRequest(request) => self.store_requested(request),
            Completed::Dataset => Some(Event::DatasetComplete),
            Completed::OtherRequest(operation) => self.answer_at_once(&operation),
        }
    }

    fn store_requested(&mut self, request: Request) -> Option<Event> {
        let context = self.contexts.get(request.operation.context_id)?; // every PDV was checked for it
        Some(Event::StoreRequested(StoreRequest {
            abstract_syntax: context.abstract_syntax.clone(),
            transfer_syntax: context.transfer_syntax.clone(),
            has_data_set: request.has_data_set,
            has_foreign_elements: request.has_foreign_elements,
            operation: request.operation,
        }))
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
                let comment = ErrorComment::new("this node serves C-STORE and C-ECHO only");
                self.respond(operation, Status::UnrecognizedOperation, &comment);
                Some(Event::OperationRefused(other))
            }
        }
    }

    /// The answer of the state table to a violation; `None` if the association was already over.
    fn violated(&mut self, violation: Violation) -> Option<Event> {
        self.drop_what_is_under_way();
        match self.act(violation.input())? {
            Action::Aa1 => write_abort(&mut self.output, 0, 0),
            Action::Aa8 => write_abort(&mut self.output, 2, violation.reason()),
            // One at a time: a peer that does not read its answers gets no further ones.
            Action::Aa7 if self.output.is_empty() => {
                write_abort(&mut self.output, 2, violation.reason());
                return None;
            }
            _ => return None,
        }
        Some(Event::Violated(violation))
    }
}

#[cfg(test)]
mod tests;
