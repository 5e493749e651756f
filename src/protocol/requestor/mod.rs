//! An association on the requestor's side: this node calls a peer, and invokes operations there.
//!
//! ```text
//! Requestor::new ─► send output ─► Accepted ─► begin, push_dataset…, end_dataset ─► Responded ─► release ─► Released
//! ```

use bytes::{Bytes, BytesMut};

use crate::command::{Command, Invocation, Operation, Response, command_field};
use crate::event::{PeerAbort, ReportRequest, Violation, input_of};
use crate::exchange::{Exchange, Step};
pub use crate::framing::FRAGMENT_HEADER_BYTES;
use crate::framing::{PduHeader, pdu_type, write_release_request};
use crate::message::Completed;
use crate::sending::CannotSend;
use crate::state::{Action, Input, Side, State, action};
use crate::status::{ErrorComment, ReportStatus, Status};

mod answer;
mod proposal;

pub use answer::{Acceptance, AcceptedContext, ContextAnswer, ContextRefused, PeerRejection};
pub use proposal::{MOST_CONTEXTS, MOST_TRANSFER_SYNTAXES, Proposal, ProposalFault, ProposedContext, Role};

/// Longest A-ASSOCIATE-AC that is accepted, in bytes of its variable field. The answer to 128 contexts takes less than 20 KiB.
pub const MAX_ACCEPTANCE_LENGTH: u32 = 64 * 1024;

/// An event from the bytes consumed so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer has accepted the association, perhaps without any of its contexts.
    Accepted(Acceptance),
    /// The peer has rejected the association: the connection is to be closed.
    Rejected(PeerRejection),
    /// A response to a request of [`Requestor::begin`]. If [`Response::has_data_set`], its dataset follows.
    Responded(Response),
    /// An N-EVENT-REPORT-RQ of the Storage Commitment Push Model; its dataset follows unless [`ReportRequest::has_data_set`] is false. To be
    /// answered with [`Requestor::respond_report`].
    ReportRequested(ReportRequest),
    /// The next bytes of the dataset of a response or a report, without framing: a slice of the input, not a copy. Never empty, and cut as the peer
    /// and the network cut them: each keeps the whole input buffer it came from alive.
    Fragment(Bytes),
    /// The dataset of a response or a report is complete.
    DatasetComplete,
    /// A request of the peer, which this side does not serve, was answered with 0211; its Command Field.
    OperationRefused(u16),
    /// The peer asks for release: to be answered with [`Requestor::answer_release`]. What awaits a response gets none.
    ReleaseRequested,
    /// The peer has agreed to the release: the connection is to be closed.
    Released,
    /// The peer aborted, perhaps after this side did.
    PeerAborted(PeerAbort),
    /// The peer broke the protocol; the A-ABORT is in the output.
    Violated(Violation),
}

/// The requestor's side of one association.
#[derive(Debug)]
pub struct Requestor {
    exchange: Exchange,
    proposal: Proposal,
}

impl Requestor {
    /// An association whose transport connection has just been opened: the A-ASSOCIATE-RQ is in the output (AE-2, Sta5).
    ///
    /// # Errors
    /// [`ProposalFault`]: it cannot be written.
    pub fn new(proposal: Proposal) -> Result<Self, ProposalFault> {
        let mut exchange = Exchange::new(Side::Requestor, State::Sta4, proposal.max_command_set);
        exchange.output = proposal.encode()?;
        exchange.act(Input::TransportConfirmed);
        Ok(Self { exchange, proposal })
    }

    /// The state of the association.
    pub fn state(&self) -> State {
        self.exchange.state()
    }

    /// Consumes bytes of `input` until there is an event. `None`: more input is needed, at least up to [`Self::needed`] contiguous bytes,
    /// and `input` has fewer left.
    ///
    /// After every event there may be output; a caller that goes on polling without sending it lets it grow by one answer for
    /// each request in `input`.
    pub fn poll(&mut self, input: &mut BytesMut) -> Option<Event> {
        loop {
            let outcome = match self.exchange.step(input)? {
                Ok(Step::Pdu(header)) => self.begin_pdu(header).map(|()| None),
                Ok(Step::Control(pdu_type, pdu)) => self.control_pdu(pdu_type, &pdu),
                Ok(Step::Fragment(fragment)) => Ok(Some(Event::Fragment(fragment))),
                Ok(Step::Completed(completed)) => self.complete(completed),
                Err(violation) => Err(violation),
            };
            let event = outcome.unwrap_or_else(|violation| self.exchange.violated(violation).map(Event::Violated));
            if event.is_some() {
                return event;
            }
        }
    }

    /// How many contiguous bytes the input must be able to hold for [`Self::poll`] to go on: never more than
    /// [`MAX_ACCEPTANCE_LENGTH`] and a header.
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

    /// Bytes that [`Self::take_output`] has.
    pub fn output_bytes(&self) -> usize {
        self.exchange.output.len()
    }

    /// Begins a request on an accepted context, and returns its Message ID. If the request has a dataset, it follows with
    /// [`Self::push_dataset`] and [`Self::end_dataset`]. The response is an [`Event::Responded`] with this Message ID; it may come before the
    /// end of the dataset, which must be sent to its end all the same.
    ///
    /// # Errors
    /// [`CannotSend`]; nothing is sent then.
    pub fn begin(&mut self, context_id: u8, invocation: &Invocation<'_>) -> Result<u16, CannotSend> {
        self.exchange.begin(context_id, invocation)
    }

    /// Sends the next bytes of the dataset under way, cut to what the peer takes: up to 128 KiB are held back, the rest is in the output.
    /// Does nothing if no dataset is under way.
    pub fn push_dataset(&mut self, bytes: &[u8]) {
        self.exchange.push(bytes);
    }

    /// Ends the dataset under way. Does nothing if there is none.
    pub fn end_dataset(&mut self) {
        self.exchange.end();
    }

    /// Bytes of a fragment at most for [`Self::fragment`]: as many as the peer takes, no more than in a PDU of 1 MiB, and an
    /// even number.
    pub fn most_fragment_bytes(&self) -> usize {
        self.exchange.sending.most_own_fragment()
    }

    /// The next fragment of the dataset under way is sent by the caller, from wherever it is: it has `bytes`, at most
    /// [`Self::most_fragment_bytes`]. Returns the headers that go in front of it. `is_last`: the dataset ends with it.
    ///
    /// [`Self::take_output`] comes before the headers, or behind the fragment, and never between them. `None`: no dataset is under way, or
    /// [`Self::push_dataset`] has begun it.
    pub fn fragment(&mut self, bytes: usize, is_last: bool) -> Option<[u8; FRAGMENT_HEADER_BYTES]> {
        self.exchange.own_fragment(bytes, is_last)
    }

    /// Answers an N-EVENT-REPORT-RQ. The response goes out behind a dataset that is being sent.
    pub fn respond_report(&mut self, operation: &Operation, status: ReportStatus, comment: &ErrorComment) {
        self.exchange.respond(operation, status.code(), comment);
    }

    /// Requests that await a response, each until its final one.
    pub fn outstanding(&self) -> usize {
        self.exchange.sending.outstanding()
    }

    /// Asks for release (AR-1): [`Event::Released`] follows. A release for which the peer asks at the same time is answered by itself.
    ///
    /// # Errors
    /// There is no association, or a message is being sent. Nothing is sent then.
    pub fn release(&mut self) -> Result<(), CannotSend> {
        if self.exchange.sending.is_under_way() {
            return Err(CannotSend::MessageUnderWay);
        }
        self.exchange.act(Input::RequestRelease).ok_or(CannotSend::NotEstablished)?;
        write_release_request(&mut self.exchange.output);
        Ok(())
    }

    /// Answers the peer's request for release (AR-4). A message that is being sent is void. Does nothing outside Sta8.
    pub fn answer_release(&mut self) {
        self.exchange.answer_release();
    }

    /// Aborts the association: an A-ABORT is sent (AA-1), unless there is none. Messages that are under way are void.
    pub fn abort(&mut self) {
        self.exchange.abort();
    }

    /// Whether the PDU may come now and be of that length, told from its header alone.
    fn begin_pdu(&mut self, header: PduHeader) -> Result<(), Violation> {
        let PduHeader { pdu_type, length } = header;
        let input = input_of(pdu_type).ok_or(Violation::UnrecognizedPdu(pdu_type))?;
        match action(self.exchange.state(), input) {
            Some(
                Action::Ae3
                | Action::Ae4
                | Action::Dt2
                | Action::Ar2
                | Action::Ar3
                | Action::Ar6
                | Action::Ar8
                | Action::Aa2
                | Action::Aa3,
            ) => {}
            _ => return Err(Violation::UnexpectedPdu(pdu_type)),
        }
        let fits = match pdu_type {
            pdu_type::A_ASSOCIATE_AC => length <= MAX_ACCEPTANCE_LENGTH,
            _ => Exchange::fits(header, self.proposal.max_pdu_length),
        };
        if fits { Ok(()) } else { Err(Violation::PduLength { pdu_type, length }) }
    }

    /// A whole PDU that [`Self::begin_pdu`] has let in.
    fn control_pdu(&mut self, pdu_type: u8, pdu: &[u8]) -> Result<Option<Event>, Violation> {
        match pdu_type {
            pdu_type::A_ASSOCIATE_AC => self.accepted(pdu).map(Some),
            pdu_type::A_ASSOCIATE_RJ => {
                self.exchange.act(Input::AssociateReject);
                let (result, source, reason) = match pdu {
                    [.., result, source, reason] => (*result, *source, *reason),
                    _ => (0, 0, 0),
                };
                Ok(Some(Event::Rejected(PeerRejection { result, source, reason })))
            }
            pdu_type::A_RELEASE_RQ => {
                self.exchange.drop_received();
                if self.exchange.act(Input::ReleaseRequest) != Some(Action::Ar8) {
                    return Ok(Some(Event::ReleaseRequested));
                }
                self.exchange.answer_release(); // both asked: AR-9, and on to the peer's reply
                Ok(None)
            }
            pdu_type::A_RELEASE_RP => {
                self.exchange.drop_received();
                self.exchange.act(Input::ReleaseReply);
                Ok(Some(Event::Released))
            }
            _ => Ok(Some(Event::PeerAborted(self.exchange.aborted(pdu)))),
        }
    }

    fn accepted(&mut self, pdu: &[u8]) -> Result<Event, Violation> {
        let read = answer::read_acceptance(pdu, &self.proposal);
        let (acceptance, contexts) = read.map_err(Violation::MalformedAcceptance)?;
        self.exchange.act(Input::AssociateAccept);
        self.exchange.contexts = contexts;
        self.exchange.sending.peer_max_pdu_length = acceptance.peer_max_pdu_length;
        self.exchange.sending.window = acceptance.async_operations;
        Ok(Event::Accepted(acceptance))
    }

    fn complete(&mut self, completed: Completed) -> Result<Option<Event>, Violation> {
        let request = match completed {
            Completed::Dataset => return Ok(Some(Event::DatasetComplete)),
            Completed::Command(Command::Response(response)) => {
                self.exchange.responded(&response)?;
                if response.has_data_set {
                    self.exchange.pass_dataset(response.context_id, false);
                }
                return Ok(Some(Event::Responded(response)));
            }
            Completed::Command(Command::Request(request)) => {
                if let Some(report) = self.exchange.report_requested(&request) {
                    return Ok(Some(Event::ReportRequested(report)));
                }
                let command = Command::Request(request);
                if command.has_data_set() {
                    self.exchange.drop_dataset(command);
                    return Ok(None);
                }
                command
            }
            Completed::Dropped(command) => command,
        };
        Ok(match request {
            Command::Request(request) if request.operation.command_field != command_field::C_CANCEL_RQ => {
                let comment = ErrorComment::new("this side of the association serves nothing");
                self.exchange.respond(&request.operation, Status::UnrecognizedOperation.code(), &comment);
                Some(Event::OperationRefused(request.operation.command_field))
            }
            _ => None, // a C-CANCEL has no response (PS3.7 §9.3.2.3)
        })
    }
}

#[cfg(test)]
mod tests;
