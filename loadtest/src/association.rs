//! One association as a C-STORE requestor: negotiate, send a message, wait for its answer, release.

use std::io::{self, BufReader};
use std::net::TcpStream;
use std::time::Duration;

use thiserror::Error;

use crate::dimse::StoreResponse;
use crate::pdu::{self, AssociateAccept, AssociateRequest, PDV_OVERHEAD};
use crate::raw::write_parts;

/// The most of a message that goes into one PDU when the peer sets no limit.
const MAX_FRAGMENT_BYTES: u32 = 1 << 20;
/// The most that a peer's answer may declare: it only ever sends responses.
const MAX_ANSWER_BYTES: u32 = 1 << 20;
/// The most bytes of a response's command set.
const MAX_COMMAND_BYTES: usize = 64 * 1024;

/// Why an association ended before its work was done.
#[derive(Debug, Error)]
pub(crate) enum AssociationError {
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("association rejected: result {result}, source {origin}, reason {reason} (PS3.8 §9.3.4)")]
    Rejected { result: u8, origin: u8, reason: u8 },
    #[error("association aborted by the peer: source {origin}, reason {reason} (PS3.8 §9.3.8)")]
    Aborted { origin: u8, reason: u8 },
    #[error("presentation context not accepted: result {0:?} (PS3.8 §9.3.3.2)")]
    ContextRefused(Option<u8>),
    #[error("the peer's maximum PDU length of {0} bytes leaves no room for a fragment")]
    PduLengthTooSmall(u32),
    #[error("PDU of type {found:#04x} while waiting for {expected}")]
    UnexpectedPdu { expected: &'static str, found: u8 },
    #[error("the peer's answer is no C-STORE-RSP")]
    NotAResponse,
    #[error("the peer answered message {found} while message {expected} was outstanding")]
    WrongMessage { expected: u16, found: u16 },
}

/// An established association.
#[derive(Debug)]
pub(crate) struct Association {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
    fragment_bytes: usize,
}

impl Association {
    /// Asks for an association over `stream`. `timeout` bounds every later wait for the peer.
    ///
    /// # Errors
    /// Any [`AssociationError`] but those about responses.
    pub(crate) fn request(
        mut stream: TcpStream,
        request: &AssociateRequest<'_>,
        timeout: Duration,
    ) -> Result<Self, AssociationError> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        write_parts(&mut stream, [&request.encode(), &[]])?;
        let mut association = Self { stream: BufReader::new(stream), body: Vec::new(), fragment_bytes: 0 };
        association.expect(0x02, "A-ASSOCIATE-AC")?;
        let accept = AssociateAccept::decode(&association.body);
        if accept.context_result != Some(0) {
            return Err(AssociationError::ContextRefused(accept.context_result));
        }
        association.fragment_bytes = fragment_bytes(accept.max_pdu_length_bytes)?;
        Ok(association)
    }

    /// The most bytes of a message that the peer takes in one PDU.
    pub(crate) fn fragment_bytes(&self) -> usize {
        self.fragment_bytes
    }

    /// Sends an encoded message and waits for the answer to it.
    ///
    /// # Errors
    /// Anything that leaves the instance unanswered.
    pub(crate) fn store(&mut self, parts: [&[u8]; 2], message_id: u16) -> Result<StoreResponse, AssociationError> {
        if let Err(error) = write_parts(self.stream.get_mut(), parts) {
            // A peer that aborts says why before it closes.
            return Err(match self.expect(0x04, "C-STORE-RSP") {
                Err(aborted @ AssociationError::Aborted { .. }) => aborted,
                _ => error.into(),
            });
        }
        let response = StoreResponse::decode(&self.read_command()?).ok_or(AssociationError::NotAResponse)?;
        if response.message_id != message_id {
            return Err(AssociationError::WrongMessage { expected: message_id, found: response.message_id });
        }
        Ok(response)
    }

    /// Releases the association and waits for the peer's consent.
    ///
    /// # Errors
    /// When the peer does not answer with A-RELEASE-RP.
    pub(crate) fn release(mut self) -> Result<(), AssociationError> {
        write_parts(self.stream.get_mut(), [&pdu::release_request(), &[]])?;
        self.expect(0x06, "A-RELEASE-RP")
    }

    fn read_command(&mut self) -> Result<Vec<u8>, AssociationError> {
        let mut command = Vec::new();
        loop {
            self.expect(0x04, "C-STORE-RSP")?;
            for (control, fragment) in pdu::pdvs(&self.body) {
                if control & 0b01 == 0 || command.len() + fragment.len() > MAX_COMMAND_BYTES {
                    return Err(AssociationError::NotAResponse);
                }
                command.extend_from_slice(fragment);
                if control & 0b10 != 0 {
                    return Ok(command);
                }
            }
        }
    }

    /// Reads one PDU of type `kind` into `self.body`.
    fn expect(&mut self, kind: u8, expected: &'static str) -> Result<(), AssociationError> {
        let found = pdu::read_pdu(&mut self.stream, &mut self.body, MAX_ANSWER_BYTES)?;
        let byte = |index| self.body.get(index).copied().unwrap_or_default();
        match found {
            _ if found == kind => Ok(()),
            0x03 => Err(AssociationError::Rejected { result: byte(1), origin: byte(2), reason: byte(3) }),
            0x07 => Err(AssociationError::Aborted { origin: byte(2), reason: byte(3) }),
            _ => Err(AssociationError::UnexpectedPdu { expected, found }),
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
