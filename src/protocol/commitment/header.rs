//! The header of an element, an item or a delimiter (PS3.5 §7.1, §7.5).

use super::fault::InformationFault;
use super::{Encoding, tag};

pub(super) struct Header {
    pub(super) tag: u32,
    pub(super) vr: Option<[u8; 2]>,
    pub(super) length: u32,
}

impl Header {
    pub(super) fn read(bytes: &[u8], encoding: Encoding) -> Result<Self, InformationFault> {
        let &[g0, g1, e0, e1, a, b, c, d, ..] = bytes else { return Err(InformationFault::Truncated) };
        let tag = u32::from(u16::from_le_bytes([g0, g1])) << 16 | u32::from(u16::from_le_bytes([e0, e1]));
        let is_delimiter = matches!(tag, tag::ITEM | tag::ITEM_END | tag::SEQUENCE_END);
        if encoding == Encoding::Implicit || is_delimiter {
            return Ok(Self { tag, vr: None, length: u32::from_le_bytes([a, b, c, d]) });
        }
        if !(a.is_ascii_uppercase() && b.is_ascii_uppercase()) {
            return Err(InformationFault::Vr);
        }
        let length = match bytes.get(8..12).and_then(<[u8]>::first_chunk) {
            Some(length) => u32::from_le_bytes(*length),
            None => u32::from(u16::from_le_bytes([c, d])),
        };
        Ok(Self { tag, vr: Some([a, b]), length })
    }
}

/// Bytes of the header that begins with `begin`: at least eight (PS3.5 §7.1.2 and §7.1.3).
pub(super) fn header_bytes(begin: &[u8], encoding: Encoding) -> usize {
    let &[g0, g1, _, _, a, b, ..] = begin else { return 8 };
    let has_vr = encoding == Encoding::Explicit && [g0, g1] != [0xFE, 0xFF];
    let is_long = matches!(
        &[a, b],
        b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
    );
    if has_vr && is_long { 12 } else { 8 }
}
