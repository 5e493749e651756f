//! PDU and PDV framing (PS3.8 §9.3): headers in, whole PDUs out.

use std::ops::Range;

use bytes::BufMut;
use dicom_ul::pdu::{AssociationAC, Pdu, WriteError, write_pdu};

use crate::negotiation::Rejection;

/// Bytes of a PDU header: type, reserved, length.
pub(crate) const PDU_HEADER: usize = 6;
/// Bytes of a PDV header: length, presentation context ID, message control header.
pub(crate) const PDV_HEADER: usize = 6;
/// Bytes in front of a fragment: the headers of a P-DATA-TF PDU with one PDV.
pub const FRAGMENT_HEADER_BYTES: usize = PDU_HEADER + PDV_HEADER;
/// Where an A-ASSOCIATE-RQ has its AE titles and 32 reserved bytes. The A-ASSOCIATE-AC sends them back as they came (PS3.8
/// §9.3.3, bytes 11 to 74), which the decoded titles, trimmed as they are, would not do.
pub(crate) const RESERVED_FIELDS: Range<usize> = 10..74;
/// The bytes at [`RESERVED_FIELDS`].
pub(crate) type ReservedFields = [u8; 64];

/// PDU types (PS3.8 table 9-11 ff.).
pub(crate) mod pdu_type {
    pub(crate) const A_ASSOCIATE_RQ: u8 = 1;
    pub(crate) const A_ASSOCIATE_AC: u8 = 2;
    pub(crate) const A_ASSOCIATE_RJ: u8 = 3;
    pub(crate) const P_DATA_TF: u8 = 4;
    pub(crate) const A_RELEASE_RQ: u8 = 5;
    pub(crate) const A_RELEASE_RP: u8 = 6;
    pub(crate) const A_ABORT: u8 = 7;
}

/// The header of a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PduHeader {
    pub(crate) pdu_type: u8,
    pub(crate) length: u32,
}

impl PduHeader {
    /// Reads the header `bytes` begin with; `None` if they are too few.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let &[pdu_type, _, l3, l2, l1, l0, ..] = bytes else {
            return None;
        };
        Some(Self { pdu_type, length: u32::from_be_bytes([l3, l2, l1, l0]) })
    }
}

/// The header of a presentation data value (PS3.8 §9.3.5.1 and Annex E.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PdvHeader {
    /// Bytes from the context ID on: at least 2.
    pub(crate) length: u32,
    pub(crate) context_id: u8,
    pub(crate) is_command: bool,
    pub(crate) is_last: bool,
}

impl PdvHeader {
    /// Reads the header `bytes` begin with; `None` if they are too few.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let &[l3, l2, l1, l0, context_id, control, ..] = bytes else {
            return None;
        };
        Some(Self {
            length: u32::from_be_bytes([l3, l2, l1, l0]),
            context_id,
            is_command: control & 1 != 0, // PS3.8 §E.2: the other bits are not checked
            is_last: control & 2 != 0,
        })
    }

    /// Bytes of the fragment.
    pub(crate) fn value_length(self) -> usize {
        self.length.saturating_sub(2) as usize
    }
}

/// Appends an A-ASSOCIATE-AC PDU (PS3.8 §9.3.3). Leaves `out` as it was if `answer` cannot be encoded.
pub(crate) fn write_acceptance(
    out: &mut Vec<u8>,
    answer: AssociationAC,
    reserved_fields: &ReservedFields,
) -> Result<(), WriteError> {
    let mut pdu = Vec::with_capacity(4096);
    write_pdu(&mut pdu, &Pdu::AssociationAC(answer))?;
    if let Some(fields) = pdu.get_mut(RESERVED_FIELDS) {
        fields.copy_from_slice(reserved_fields);
    }
    out.append(&mut pdu);
    Ok(())
}

/// Appends an A-ASSOCIATE-RJ PDU (PS3.8 §9.3.4).
pub(crate) fn write_rejection(out: &mut Vec<u8>, rejection: Rejection) {
    let (result, source, reason) = rejection.fields();
    write_short_pdu(out, pdu_type::A_ASSOCIATE_RJ, [0, result, source, reason]);
}

/// Appends an A-RELEASE-RQ PDU (PS3.8 §9.3.6).
pub(crate) fn write_release_request(out: &mut Vec<u8>) {
    write_short_pdu(out, pdu_type::A_RELEASE_RQ, [0; 4]);
}

/// Appends an A-RELEASE-RP PDU (PS3.8 §9.3.7).
pub(crate) fn write_release_reply(out: &mut Vec<u8>) {
    write_short_pdu(out, pdu_type::A_RELEASE_RP, [0; 4]);
}

/// Appends an A-ABORT PDU (PS3.8 §9.3.8).
pub(crate) fn write_abort(out: &mut Vec<u8>, source: u8, reason: u8) {
    write_short_pdu(out, pdu_type::A_ABORT, [0, 0, source, reason]);
}

fn write_short_pdu(out: &mut Vec<u8>, pdu_type: u8, fields: [u8; 4]) {
    out.extend_from_slice(&[pdu_type, 0, 0, 0, 0, 4]);
    out.extend_from_slice(&fields);
}

/// Bytes of a fragment at most, for a peer that takes PDUs of `peer_max_pdu_length` (0: any length). A fragment has an even number of bytes
/// (PS3.8 §E.1). A peer whose limit is below a PDV header and two bytes could not be sent anything; it gets a longer PDU instead.
pub(crate) fn most_fragment_bytes(peer_max_pdu_length: u32) -> usize {
    match peer_max_pdu_length {
        0 => usize::MAX,
        length => ((length as usize).saturating_sub(PDV_HEADER) & !1).max(2),
    }
}

/// Appends `command` to `out` as P-DATA-TF PDUs of one PDV each, none longer than the peer accepts (0: any length).
pub(crate) fn write_command(out: &mut Vec<u8>, context_id: u8, command: &[u8], peer_max_pdu_length: u32) {
    let mut fragments = command.chunks(most_fragment_bytes(peer_max_pdu_length)).peekable();
    while let Some(fragment) = fragments.next() {
        let last = if fragments.peek().is_none() { 2 } else { 0 };
        write_fragment(out, context_id, 1 | last, fragment);
    }
}

/// Appends a fragment of a dataset as a P-DATA-TF PDU of one PDV.
pub(crate) fn write_data(out: &mut Vec<u8>, context_id: u8, fragment: &[u8], is_last: bool) {
    write_fragment(out, context_id, if is_last { 2 } else { 0 }, fragment);
}

fn write_fragment(out: &mut Vec<u8>, context_id: u8, control: u8, fragment: &[u8]) {
    out.reserve(FRAGMENT_HEADER_BYTES + fragment.len());
    out.put_slice(&fragment_header(context_id, control, fragment.len()));
    out.put_slice(fragment);
}

/// The headers of a P-DATA-TF PDU with one PDV, whose fragment has so many `bytes`: below 4 GiB.
fn fragment_header(context_id: u8, control: u8, bytes: usize) -> [u8; FRAGMENT_HEADER_BYTES] {
    let [p3, p2, p1, p0] = ((bytes + PDV_HEADER) as u32).to_be_bytes();
    let [v3, v2, v1, v0] = ((bytes + 2) as u32).to_be_bytes();
    [pdu_type::P_DATA_TF, 0, p3, p2, p1, p0, v3, v2, v1, v0, context_id, control]
}

/// The headers of a fragment of a dataset that somebody else sends.
pub(crate) fn data_header(context_id: u8, bytes: usize, is_last: bool) -> [u8; FRAGMENT_HEADER_BYTES] {
    fragment_header(context_id, if is_last { 2 } else { 0 }, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_cut_to_what_the_peer_takes() {
        let mut out = Vec::new();
        for length in [1, 8, 9] {
            out.clear();
            write_command(&mut out, 3, b"abcd", length);
            assert_eq!(out, b"\x04\0\0\0\0\x08\0\0\0\x04\x03\x01ab\x04\0\0\0\0\x08\0\0\0\x04\x03\x03cd", "{length}");
        }
        for length in [0, 10, u32::MAX] {
            out.clear();
            write_command(&mut out, 3, b"abcd", length);
            assert_eq!(out, b"\x04\0\0\0\0\x0a\0\0\0\x06\x03\x03abcd", "{length}");
        }
    }
}
