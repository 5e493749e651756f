//! Cuts a byte stream into PDUs and PDVs without copying (PS3.8 §9.3). It knows lengths only, and no order of PDUs.

use bytes::{Buf, BytesMut};

use crate::event::Violation;
use crate::framing::{PDU_HEADER, PDV_HEADER, PduHeader, PdvHeader, pdu_type};

/// A frame of the byte stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A PDU begins. Unless [`Deframer::skip_pdu`] is called now, the PDVs of a P-DATA-TF follow, or the whole of any other.
    Pdu(PduHeader),
    /// A whole PDU that is not a P-DATA-TF, its header included.
    Control(u8, BytesMut),
    /// A PDV begins, and fits its PDU.
    Pdv(PdvHeader),
    /// The next bytes of the PDV: never empty, and all that are available.
    Fragment(BytesMut),
    /// The end of a PDV that is the last of its command set or dataset.
    End,
}

/// The next thing expected in the byte stream.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// A PDU header.
    Pdu,
    /// A PDU that is taken as a whole; its header has been seen, and not yet consumed.
    Control { pdu_type: u8, whole: usize },
    /// A PDV header, or the end of the PDU.
    Pdv { pdu_left: u32 },
    /// `left` more bytes of a PDV, with `pdu_left` of the PDU after them.
    Value { pdu_left: u32, left: u32, is_last: bool },
    /// The rest of a PDU that is skipped.
    Skip { left: usize },
    /// Nothing any more.
    Closed,
}

/// The position in the byte stream of a transport connection. It holds no bytes.
#[derive(Debug)]
pub(crate) struct Deframer {
    position: Position,
}

impl Deframer {
    pub(crate) fn new() -> Self {
        Self { position: Position::Pdu }
    }

    /// Contiguous bytes of input that the next step needs.
    pub(crate) fn needed(&self) -> usize {
        match self.position {
            Position::Pdu => PDU_HEADER,
            Position::Control { whole, .. } => whole,
            Position::Pdv { .. } => PDV_HEADER,
            Position::Value { .. } | Position::Skip { .. } | Position::Closed => 1,
        }
    }

    /// Whether a PDU is incomplete.
    pub(crate) fn is_inside_pdu(&self) -> bool {
        !matches!(
            self.position,
            Position::Pdu | Position::Pdv { pdu_left: 0 } | Position::Skip { left: 0 } | Position::Closed
        )
    }

    /// Bytes of a PDV that come next, before anything else does.
    pub(crate) fn value_left(&self) -> usize {
        match self.position {
            Position::Value { left, .. } => left as usize,
            _ => 0,
        }
    }

    /// Reports `bytes` of [`Self::value_left`] that were read directly.
    pub(crate) fn pass_value(&mut self, bytes: usize) {
        if let Position::Value { left, .. } = &mut self.position {
            *left = left.saturating_sub(bytes as u32);
        }
    }

    /// Skips the rest of the current PDU.
    pub(crate) fn skip_pdu(&mut self) {
        let left = match self.position {
            Position::Control { whole, .. } => whole,
            Position::Pdv { pdu_left } => pdu_left as usize,
            Position::Value { pdu_left, left, .. } => (pdu_left as usize).saturating_add(left as usize),
            Position::Pdu | Position::Skip { .. } | Position::Closed => return,
        };
        self.position = Position::Skip { left };
    }

    /// Skips all further input.
    pub(crate) fn close(&mut self) {
        self.position = Position::Closed;
    }

    /// Takes the next frame off `input`; `None` if there are too few bytes for one.
    ///
    /// # Errors
    /// [`Violation::PdvLength`]; the PDU is skipped then.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        loop {
            match self.position {
                Position::Pdu => return Ok(self.pdu_header(input)),
                Position::Control { pdu_type, whole } => {
                    if input.len() < whole {
                        return Ok(None);
                    }
                    self.position = Position::Pdu;
                    return Ok(Some(Frame::Control(pdu_type, input.split_to(whole))));
                }
                Position::Pdv { pdu_left: 0 } => self.position = Position::Pdu,
                Position::Pdv { pdu_left } => return self.pdv_header(input, pdu_left),
                Position::Value { pdu_left, left: 0, is_last } => {
                    self.position = Position::Pdv { pdu_left };
                    if is_last {
                        return Ok(Some(Frame::End));
                    }
                }
                Position::Value { ref mut left, .. } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let now = input.len().min(*left as usize);
                    *left -= now as u32;
                    return Ok(Some(Frame::Fragment(input.split_to(now))));
                }
                Position::Skip { left: 0 } => self.position = Position::Pdu,
                Position::Skip { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let now = input.len().min(left);
                    input.advance(now);
                    self.position = Position::Skip { left: left - now };
                }
                Position::Closed => {
                    input.clear();
                    return Ok(None);
                }
            }
        }
    }

    fn pdu_header(&mut self, input: &mut BytesMut) -> Option<Frame> {
        let header = PduHeader::peek(input)?;
        self.position = match header.pdu_type {
            pdu_type::P_DATA_TF => {
                input.advance(PDU_HEADER);
                Position::Pdv { pdu_left: header.length }
            }
            pdu_type => Position::Control { pdu_type, whole: PDU_HEADER.saturating_add(header.length as usize) },
        };
        Some(Frame::Pdu(header))
    }

    fn pdv_header(&mut self, input: &mut BytesMut, pdu_left: u32) -> Result<Option<Frame>, Violation> {
        let Some(pdu_left) = pdu_left.checked_sub(PDV_HEADER as u32) else {
            self.skip_pdu();
            return Err(Violation::PdvLength(pdu_left));
        };
        let Some(header) = PdvHeader::peek(input) else {
            return Ok(None);
        };
        input.advance(PDV_HEADER);
        let fitting = header.length.checked_sub(2).filter(|left| *left <= pdu_left);
        let Some(left) = fitting else {
            self.position = Position::Skip { left: pdu_left as usize };
            return Err(Violation::PdvLength(header.length));
        };
        self.position = Position::Value { pdu_left: pdu_left - left, left, is_last: header.is_last };
        Ok(Some(Frame::Pdv(header)))
    }
}
