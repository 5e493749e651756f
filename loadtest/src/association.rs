//! One association as a C-STORE requestor: negotiate, write messages and read answers as the wire allows, release.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::codes;
use crate::dimse::StoreResponse;
use crate::message::Message;
use crate::pdu::{self, AssociateAccept, AssociateRequest, PDV_OVERHEAD};
use crate::wire::{Ready, Wire};

/// The most of a message that goes into one PDU when the peer sets no limit.
const MAX_FRAGMENT_BYTES: u32 = 1 << 20;
/// The most that a peer's answer may declare: it only ever sends responses.
const MAX_ANSWER_BYTES: u32 = 1 << 20;
/// The most bytes of a response's command set.
const MAX_COMMAND_BYTES: usize = 64 * 1024;
/// Read at a time: many responses fit in it.
const READ_BYTES: usize = 16 * 1024;

/// Why an association ended before its work was done.
#[derive(Debug, Error)]
pub(crate) enum AssociationError {
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("association rejected: {}", codes::rejection(*result, *origin, *reason))]
    Rejected { result: u8, origin: u8, reason: u8 },
    #[error("association aborted by the peer: {}", codes::abort(*origin, *reason))]
    Aborted { origin: u8, reason: u8 },
    #[error("no presentation context accepted: {} (PS3.8 §9.3.3.2)", codes::contexts(.0))]
    ContextsRefused(Vec<u8>),
    #[error("the peer's maximum PDU length of {0} bytes leaves no room for a fragment")]
    PduLengthTooSmall(u32),
    #[error("PDU of type {found:#04x} while waiting for {expected}")]
    UnexpectedPdu { expected: &'static str, found: u8 },
    #[error("the peer's answer is no C-STORE-RSP")]
    NotAResponse,
    #[error("the peer answered message {0}, which is not outstanding")]
    WrongMessage(u16),
}

impl AssociationError {
    /// Whether the peer rejected the association for now only (PS3.8 §9.3.4).
    pub(crate) fn is_transient_rejection(&self) -> bool {
        matches!(self, Self::Rejected { result: 2, .. })
    }
}

/// An established association.
#[derive(Debug)]
pub(crate) struct Association {
    wire: Wire,
    /// Read and not yet taken apart; at most one PDU of [`MAX_ANSWER_BYTES`] and a read more.
    inbound: Vec<u8>,
    body: Vec<u8>,
    command: Vec<u8>,
    /// Of the last PDU, taken apart and not yet asked for.
    answers: VecDeque<StoreResponse>,
    accept: AssociateAccept,
    fragment_bytes: usize,
    timeout: Duration,
}

impl Association {
    /// Asks for an association. `timeout` bounds this and every later wait for the peer.
    ///
    /// # Errors
    /// Any [`AssociationError`] but those about responses.
    pub(crate) fn request(
        wire: Wire,
        request: &AssociateRequest<'_>,
        timeout: Duration,
    ) -> Result<Self, AssociationError> {
        let accept = AssociateAccept::default();
        let (inbound, body, command, answers) = (Vec::new(), Vec::new(), Vec::new(), VecDeque::new());
        let mut association = Self { wire, inbound, body, command, answers, accept, fragment_bytes: 0, timeout };
        association.exchange(&request.encode(), 0x02, "A-ASSOCIATE-AC")?;
        let accept = AssociateAccept::decode(&association.body);
        if !accept.results.values().any(|&result| result == 0) {
            return Err(AssociationError::ContextsRefused(accept.results.into_values().collect()));
        }
        association.fragment_bytes = fragment_bytes(accept.max_pdu_length_bytes)?;
        association.accept = accept;
        Ok(association)
    }

    /// The connection alone, for those who break off.
    pub(crate) fn into_wire(self) -> Wire {
        self.wire
    }

    /// The most bytes of a message that the peer takes in one PDU.
    pub(crate) fn fragment_bytes(&self) -> usize {
        self.fragment_bytes
    }

    /// Whether the peer took the presentation context with this ID.
    pub(crate) fn accepted(&self, context: u8) -> bool {
        self.accept.results.get(&context) == Some(&0)
    }

    /// The peer's result for the presentation context with this ID (PS3.8 §9.3.3.2); `None` if its answer left the context out.
    pub(crate) fn result(&self, context: u8) -> Option<u8> {
        self.accept.results.get(&context).copied()
    }

    /// Messages that may be outstanding when `wanted` were asked for; 0 is no limit on either side.
    pub(crate) fn window(&self, wanted: u16) -> u16 {
        match (wanted, self.accept.window) {
            (0, 0) => u16::MAX,
            (0, only) | (only, 0) => only,
            (wanted, granted) => wanted.min(granted),
        }
    }

    /// Writes what the wire takes of a message from byte `position` on, and moves it forward.
    ///
    /// # Errors
    /// Those of the wire; or why the peer aborted, when it did.
    pub(crate) fn write(&mut self, message: &Message, position: &mut u64) -> Result<(), AssociationError> {
        while *position < message.len() {
            match self.wire.write(&message.slices(*position)) {
                Ok(written) => *position += written as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.reason_of(error)),
            }
        }
        Ok(())
    }

    /// Sends what the wire holds back of what was written.
    ///
    /// # Errors
    /// Those of the wire.
    pub(crate) fn flush(&mut self) -> Result<(), AssociationError> {
        Ok(self.wire.flush()?)
    }

    /// Waits until there is something to read, or room to write when `writing`, and at the longest until `until`.
    ///
    /// # Errors
    /// Those of the wire.
    pub(crate) fn wait(&self, writing: bool, until: Instant) -> Result<Ready, AssociationError> {
        Ok(self.wire.wait(writing, until)?)
    }

    /// The next answer that is there already.
    ///
    /// # Errors
    /// Anything that is no answer.
    pub(crate) fn answer(&mut self) -> Result<Option<StoreResponse>, AssociationError> {
        while self.answers.is_empty() && self.take_pdu(0x04, "C-STORE-RSP")? {
            for (control, fragment) in pdu::pdvs(&self.body) {
                if control & 0b01 == 0 || self.command.len() + fragment.len() > MAX_COMMAND_BYTES {
                    return Err(AssociationError::NotAResponse);
                }
                self.command.extend_from_slice(fragment);
                if control & 0b10 != 0 {
                    let response = StoreResponse::decode(&self.command).ok_or(AssociationError::NotAResponse)?;
                    self.answers.push_back(response);
                    self.command.clear();
                }
            }
        }
        Ok(self.answers.pop_front())
    }

    /// Sends one message and waits for the answer to it.
    ///
    /// # Errors
    /// Anything that leaves the instance unanswered.
    pub(crate) fn store(&mut self, message: &Message, message_id: u16) -> Result<StoreResponse, AssociationError> {
        let mut position = 0;
        let mut until = Instant::now() + self.timeout;
        loop {
            let before = position;
            self.write(message, &mut position)?;
            self.flush()?;
            if let Some(response) = self.answer()? {
                return match response.message_id == message_id {
                    true => Ok(response),
                    false => Err(AssociationError::WrongMessage(response.message_id)),
                };
            }
            let now = Instant::now();
            if position > before {
                until = now + self.timeout;
            } else if now >= until {
                return Err(AssociationError::TimedOut(self.timeout));
            }
            self.wait(position < message.len(), until)?;
        }
    }

    /// Releases the association and waits for the peer's consent.
    ///
    /// # Errors
    /// When the peer does not answer with A-RELEASE-RP.
    pub(crate) fn release(mut self) -> Result<(), AssociationError> {
        self.exchange(&pdu::release_request(), 0x06, "A-RELEASE-RP")
    }

    /// Writes a control PDU and waits for the one that answers it.
    fn exchange(&mut self, mut request: &[u8], kind: u8, expected: &'static str) -> Result<(), AssociationError> {
        let until = Instant::now() + self.timeout;
        loop {
            match self.wire.write(&[io::IoSlice::new(request)]) {
                Ok(written) => request = request.get(written..).unwrap_or_default(),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(self.reason_of(error)),
            }
            if self.take_pdu(kind, expected)? {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(AssociationError::TimedOut(self.timeout));
            }
            self.wire.wait(!request.is_empty(), until)?;
            self.wire.flush()?;
        }
    }

    /// Takes a PDU of type `kind` into `self.body`, if one is there.
    fn take_pdu(&mut self, kind: u8, expected: &'static str) -> Result<bool, AssociationError> {
        let length = loop {
            if let Some(&[_, _, a, b, c, d]) = self.inbound.first_chunk::<6>() {
                let length = u32::from_be_bytes([a, b, c, d]);
                if length > MAX_ANSWER_BYTES {
                    return Err(AssociationError::NotAResponse);
                }
                if self.inbound.len() >= 6 + length as usize {
                    break length as usize;
                }
            }
            if !self.read()? {
                return Ok(false);
            }
        };
        let found = self.inbound.first().copied().unwrap_or_default();
        self.body.clear();
        self.body.extend(self.inbound.drain(..6 + length).skip(6));
        let byte = |index| self.body.get(index).copied().unwrap_or_default();
        match found {
            _ if found == kind => Ok(true),
            0x03 => Err(AssociationError::Rejected { result: byte(1), origin: byte(2), reason: byte(3) }),
            0x07 => Err(AssociationError::Aborted { origin: byte(2), reason: byte(3) }),
            _ => Err(AssociationError::UnexpectedPdu { expected, found }),
        }
    }

    /// Reads what is there; `false` when nothing is.
    fn read(&mut self) -> Result<bool, AssociationError> {
        let mut buffer = [0; READ_BYTES];
        loop {
            return match self.wire.read(&mut buffer) {
                Ok(0) => Err(AssociationError::Closed),
                Ok(count) => {
                    self.inbound.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    Ok(true)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// A peer that aborts says why before it closes; otherwise the error stands.
    fn reason_of(&mut self, error: io::Error) -> AssociationError {
        loop {
            match self.answer() {
                Ok(Some(_)) => {}
                Err(aborted @ AssociationError::Aborted { .. }) => return aborted,
                _ => return error.into(),
            }
        }
    }
}

/// The fragment that fills a PDU of the peer's maximum length, which counts the PDV headers and not the PDU header
/// (PS3.8 §D.1); 0 is no limit. Even, as fragments should be.
fn fragment_bytes(max_pdu_length_bytes: u32) -> Result<usize, AssociationError> {
    if max_pdu_length_bytes == 0 {
        return Ok(MAX_FRAGMENT_BYTES as usize);
    }
    let room = (max_pdu_length_bytes as usize).saturating_sub(PDV_OVERHEAD) & !1;
    match room {
        0 => Err(AssociationError::PduLengthTooSmall(max_pdu_length_bytes)),
        _ => Ok(room.min(MAX_FRAGMENT_BYTES as usize)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_fit_the_peers_maximum_and_tiny_maxima_are_refused() {
        assert_eq!(fragment_bytes(0).unwrap(), 1 << 20);
        assert_eq!(fragment_bytes(16_384).unwrap(), 16_378);
        assert_eq!(fragment_bytes(9).unwrap(), 2);
        assert_eq!(fragment_bytes(u32::MAX).unwrap(), 1 << 20);
        assert!(matches!(fragment_bytes(7), Err(AssociationError::PduLengthTooSmall(7))));
    }
}
