//! The common parts of the two sides of an association: the state, the bytes in and out, and the messages both ways.

use bytes::{Bytes, BytesMut};

use crate::command::{Command, CommandError, Invocation, Operation, Request, Response, command_field, response};
use crate::deframer::{Deframer, Frame};
use crate::event::{PeerAbort, ReportRequest, Violation};
use crate::framing::{FRAGMENT_HEADER_BYTES, PduHeader, PdvHeader, pdu_type, write_abort, write_release_reply};
use crate::message::{Completed, Message};
use crate::negotiation::Contexts;
use crate::sending::{CannotSend, Sending};
use crate::state::{Action, Input, Side, State, action};
use crate::status::ErrorComment;
use crate::syntaxes::STORAGE_COMMITMENT;

/// A step of the input.
#[derive(Debug)]
pub(crate) enum Step {
    /// A PDU begins; its side decides whether it may.
    Pdu(PduHeader),
    /// A whole PDU that is not a P-DATA-TF.
    Control(u8, BytesMut),
    /// The next bytes of a dataset that is passed on.
    Fragment(Bytes),
    /// A command set or a dataset is complete.
    Completed(Completed),
}

/// One side of an association.
#[derive(Debug)]
pub(crate) struct Exchange {
    side: Side,
    state: State,
    deframer: Deframer,
    message: Message,
    max_command_set: u32,
    pub(crate) contexts: Contexts,
    pub(crate) output: Vec<u8>,
    pub(crate) sending: Sending,
}

impl Exchange {
    pub(crate) fn new(side: Side, state: State, max_command_set: u32) -> Self {
        Self {
            side,
            state,
            deframer: Deframer::new(),
            message: Message::None,
            max_command_set,
            contexts: Contexts::default(),
            output: Vec::new(),
            sending: Sending::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Consumes bytes of `input` up to the next step; `None` if there are too few.
    pub(crate) fn step(&mut self, input: &mut BytesMut) -> Option<Result<Step, Violation>> {
        loop {
            let step = match self.deframer.next(input) {
                Ok(Some(Frame::Pdu(header))) => Ok(Some(Step::Pdu(header))),
                Ok(Some(Frame::Control(pdu_type, pdu))) => Ok(Some(Step::Control(pdu_type, pdu))),
                Ok(Some(Frame::Pdv(header))) => self.begin_pdv(header).map(|()| None),
                Ok(Some(Frame::Fragment(fragment))) => Ok(self.message.take(fragment).map(Step::Fragment)),
                Ok(Some(Frame::End)) => self.message.end().map(|completed| completed.map(Step::Completed)),
                Ok(None) => return None,
                Err(violation) => Err(violation),
            };
            if let Some(step) = step.transpose() {
                return Some(step);
            }
        }
    }

    fn begin_pdv(&mut self, header: PdvHeader) -> Result<(), Violation> {
        if self.contexts.get(header.context_id).is_none() {
            return Err(Violation::ContextNotAccepted(header.context_id));
        }
        self.message.begin_pdv(header, self.max_command_set)
    }

    /// The dataset that follows the command just completed is passed on.
    pub(crate) fn pass_dataset(&mut self, context_id: u8, is_instance: bool) {
        self.message.pass_dataset(context_id, is_instance);
    }

    /// The dataset that follows `command` is dropped.
    pub(crate) fn drop_dataset(&mut self, command: Command) {
        self.message.drop_dataset(command);
    }

    pub(crate) fn instance_left(&self) -> usize {
        if matches!(self.message, Message::Dataset { is_instance: true, .. }) { self.deframer.value_left() } else { 0 }
    }

    pub(crate) fn pass_value(&mut self, bytes: usize) {
        self.deframer.pass_value(bytes);
    }

    pub(crate) fn needed(&self) -> usize {
        self.deframer.needed()
    }

    pub(crate) fn is_inside_message(&self) -> bool {
        self.deframer.is_inside_pdu() || !matches!(self.message, Message::None)
    }

    /// Looks the input up in the state table, and goes to the next state.
    pub(crate) fn act(&mut self, input: Input) -> Option<Action> {
        let action = action(self.state, input)?;
        self.state = action.next(self.side);
        if matches!(action, Action::Aa2 | Action::Aa3 | Action::Ae4 | Action::Ar3) {
            self.deframer.close();
        }
        Some(action)
    }

    /// The peer's connection is of no use any more.
    pub(crate) fn close(&mut self) {
        self.deframer.close();
    }

    /// Whether a P-DATA-TF or a PDU of four bytes has a length that it can have.
    pub(crate) fn fits(header: PduHeader, max_pdu_length: u32) -> bool {
        match header.pdu_type {
            // PS3.8 §D.1: 0 is no limit; a longer PDU than was offered is a protocol error.
            pdu_type::P_DATA_TF => max_pdu_length == 0 || header.length <= max_pdu_length,
            _ => header.length == 4, // PS3.8 §9.3.4 and §9.3.6 to §9.3.8
        }
    }

    /// The peer ends the message under way by asking for release.
    pub(crate) fn drop_received(&mut self) {
        self.message = Message::None;
    }

    /// The peer's A-ABORT.
    pub(crate) fn aborted(&mut self, pdu: &[u8]) -> PeerAbort {
        self.message = Message::None;
        self.act(Input::Abort);
        let (source, reason) = match pdu {
            [.., source, reason] => (*source, *reason),
            _ => (0, 0),
        };
        PeerAbort { source, reason }
    }

    /// Answers a request for release, if there is one (AR-4, AR-9).
    pub(crate) fn answer_release(&mut self) {
        if self.act(Input::AnswerRelease).is_some() {
            self.sending.drop_message();
            write_release_reply(&mut self.output);
        }
    }

    /// Whether responses may be sent.
    pub(crate) fn respond(&mut self, operation: &Operation, status: u16, comment: &ErrorComment) {
        if matches!(self.state, State::Sta6 | State::Sta8) {
            let command = response(operation, status, comment);
            self.sending.respond(&mut self.output, operation.context_id, &command);
        }
    }

    /// Begins a request on an accepted context, in a role that was negotiated.
    pub(crate) fn begin(&mut self, context_id: u8, invocation: &Invocation<'_>) -> Result<u16, CannotSend> {
        if self.state != State::Sta6 {
            return Err(CannotSend::NotEstablished);
        }
        let context = self.contexts.get(context_id).ok_or(CannotSend::ContextNotAccepted)?;
        let has_role = if invocation.is_of_scp() { context.is_scp } else { context.is_scu };
        if !has_role {
            return Err(CannotSend::RoleNotAccepted);
        }
        self.sending.check()?;
        Ok(self.sending.begin(&mut self.output, context_id, invocation))
    }

    /// The next bytes of the dataset under way.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if matches!(self.state, State::Sta6 | State::Sta8) {
            self.sending.push(&mut self.output, bytes);
        }
    }

    /// The end of the dataset under way.
    pub(crate) fn end(&mut self) {
        if matches!(self.state, State::Sta6 | State::Sta8) {
            self.sending.end(&mut self.output);
        }
    }

    /// The headers of the next fragment of the dataset under way, which the caller sends itself.
    pub(crate) fn own_fragment(&mut self, bytes: usize, is_last: bool) -> Option<[u8; FRAGMENT_HEADER_BYTES]> {
        let may_send = matches!(self.state, State::Sta6 | State::Sta8);
        may_send.then(|| self.sending.own_fragment(&mut self.output, bytes, is_last)).flatten()
    }

    /// A report of the peer as SCP of the Storage Commitment Push Model, if the request is one; its dataset is passed on.
    pub(crate) fn report_requested(&mut self, request: &Request) -> Option<ReportRequest> {
        let context = self.contexts.get(request.operation.context_id)?;
        let is_report = request.operation.command_field == command_field::N_EVENT_REPORT_RQ
            && context.is_scu
            && &*context.abstract_syntax == STORAGE_COMMITMENT;
        let transfer_syntax = is_report.then(|| context.transfer_syntax.clone())?;
        let Request { operation, has_data_set, .. } = request.clone();
        if has_data_set {
            self.pass_dataset(operation.context_id, false);
        }
        Some(ReportRequest { operation, transfer_syntax, has_data_set })
    }

    /// Whether the response is to a request of this side.
    pub(crate) fn responded(&mut self, response: &Response) -> Result<(), CommandError> {
        self.sending.responded(response)
    }

    /// Aborts the association from this side.
    pub(crate) fn abort(&mut self) {
        // In Sta2 there is nothing to abort yet: it is as when the ARTIM timer expires.
        let input = if self.state == State::Sta2 { Input::ArtimExpired } else { Input::RequestAbort };
        if self.act(input) == Some(Action::Aa1) {
            write_abort(&mut self.output, 0, 0);
        }
        self.drop_what_is_under_way();
    }

    fn drop_what_is_under_way(&mut self) {
        self.deframer.skip_pdu();
        self.message = Message::None;
        self.sending.drop_message();
    }

    /// The answer of the state table to a violation; `None` if the association was already over.
    pub(crate) fn violated(&mut self, violation: Violation) -> Option<Violation> {
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
        Some(violation)
    }
}
