//! Upper layer PDUs as a requestor writes and reads them (PS3.8 §9.3).

use std::io::{self, Read};

/// Bytes of a P-DATA-TF PDU header and the header of the one PDV inside it (PS3.8 §9.3.5).
pub(crate) const PDATA_OVERHEAD: usize = 12;
/// The part of [`PDATA_OVERHEAD`] that counts against the maximum PDU length: PDV length and message control header.
pub(crate) const PDV_OVERHEAD: usize = 6;
/// The one presentation context a generator's association proposes.
pub(crate) const CONTEXT_ID: u8 = 1;

const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
const IMPLEMENTATION_CLASS: &str = "2.25.271828182845904523536028747135266249775";
const IMPLEMENTATION_VERSION: &str = "TIDEGATE_LOAD";

/// What stands in an A-ASSOCIATE-RQ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AssociateRequest<'a> {
    /// At most 16 characters; the rest is cut off.
    pub(crate) called_ae: &'a str,
    /// At most 16 characters; the rest is cut off.
    pub(crate) calling_ae: &'a str,
    pub(crate) abstract_syntax: &'a str,
    pub(crate) transfer_syntax: &'a str,
    /// The longest P-DATA-TF the requestor takes.
    pub(crate) max_pdu_length_bytes: u32,
}

impl AssociateRequest<'_> {
    /// The PDU, with one presentation context of one transfer syntax (PS3.8 §9.3.2).
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut context = vec![CONTEXT_ID, 0, 0, 0];
        item(&mut context, 0x30, self.abstract_syntax.as_bytes());
        item(&mut context, 0x40, self.transfer_syntax.as_bytes());

        let mut user = Vec::new();
        item(&mut user, 0x51, &self.max_pdu_length_bytes.to_be_bytes());
        item(&mut user, 0x52, IMPLEMENTATION_CLASS.as_bytes());
        item(&mut user, 0x55, IMPLEMENTATION_VERSION.as_bytes());

        let mut body = vec![0, 1, 0, 0];
        body.extend_from_slice(&ae_title(self.called_ae));
        body.extend_from_slice(&ae_title(self.calling_ae));
        body.extend_from_slice(&[0; 32]);
        item(&mut body, 0x10, APPLICATION_CONTEXT.as_bytes());
        item(&mut body, 0x20, &context);
        item(&mut body, 0x50, &user);
        pdu(0x01, &body)
    }
}

/// A-RELEASE-RQ (PS3.8 §9.3.6).
pub(crate) fn release_request() -> Vec<u8> {
    pdu(0x05, &[0; 4])
}

/// Appends the header of a P-DATA-TF PDU that holds one PDV with `fragment_length` bytes of a message.
///
/// `control` is the message control header: bit 0 for a command, bit 1 for the last fragment (PS3.8 §E.2).
pub(crate) fn pdata_header(out: &mut Vec<u8>, fragment_length: usize, control: u8) {
    let pdv_length = u32::try_from(fragment_length + 2).unwrap_or(u32::MAX);
    out.extend_from_slice(&[0x04, 0]);
    out.extend_from_slice(&pdv_length.saturating_add(4).to_be_bytes());
    out.extend_from_slice(&pdv_length.to_be_bytes());
    out.extend_from_slice(&[CONTEXT_ID, control]);
}

/// Reads one PDU into `body`, which is reused, and returns its type.
///
/// # Errors
/// Those of the reader, and `InvalidData` for a PDU above `limit_bytes`.
pub(crate) fn read_pdu(reader: &mut impl Read, body: &mut Vec<u8>, limit_bytes: u32) -> io::Result<u8> {
    let mut header = [0; 6];
    reader.read_exact(&mut header)?;
    let [kind, _, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]);
    if length > limit_bytes {
        let message = format!("PDU of type {kind:#04x} declares {length} bytes, more than {limit_bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    body.clear();
    body.resize(length as usize, 0);
    reader.read_exact(body)?;
    Ok(kind)
}

/// What the body of an A-ASSOCIATE-AC says (PS3.8 §9.3.3).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AssociateAccept {
    /// Result of the one presentation context: 0 is acceptance (PS3.8 table 9-18).
    pub(crate) context_result: Option<u8>,
    /// The longest P-DATA-TF the acceptor takes; 0 is no limit, and so is leaving it out.
    pub(crate) max_pdu_length_bytes: u32,
}

impl AssociateAccept {
    pub(crate) fn decode(body: &[u8]) -> Self {
        let mut accept = Self::default();
        for (kind, value) in items(body.get(68..).unwrap_or_default()) {
            match kind {
                0x21 if value.first() == Some(&CONTEXT_ID) => accept.context_result = value.get(2).copied(),
                0x50 => {
                    for (kind, value) in items(value) {
                        if let (0x51, Some(&length)) = (kind, value.first_chunk::<4>()) {
                            accept.max_pdu_length_bytes = u32::from_be_bytes(length);
                        }
                    }
                }
                _ => {}
            }
        }
        accept
    }
}

/// The PDVs in the body of a P-DATA-TF, each a message control header and a fragment; stops at the first that is cut short.
pub(crate) fn pdvs(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (pdv, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after;
        Some((*pdv.get(1)?, pdv.get(2..)?))
    })
}

/// The items of an A-ASSOCIATE PDU; stops at the first that is cut short.
fn items(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&[kind, _, high, low], after) = rest.split_first_chunk::<4>()?;
        let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        rest = after;
        Some((kind, value))
    })
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn item(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(value);
}

fn ae_title(text: &str) -> [u8; 16] {
    let mut title = [b' '; 16];
    for (place, byte) in title.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    title
}

#[cfg(test)]
mod tests {
    use dicom_ul::pdu::{self as ul, Pdu, UserVariableItem};

    use super::*;

    #[test]
    fn another_implementation_reads_the_association_request() {
        let request = AssociateRequest {
            called_ae: "TIDEGATE",
            calling_ae: "A_TITLE_LONGER_THAN_16",
            abstract_syntax: "1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax: "1.2.840.10008.1.2.1",
            max_pdu_length_bytes: 131_072,
        };
        let read = ul::read_pdu(&mut &request.encode()[..], 16_384, true).unwrap();
        let Some(Pdu::AssociationRQ(rq)) = read else { panic!("{read:?}") };
        assert_eq!((rq.called_ae_title.as_str(), rq.calling_ae_title.as_str()), ("TIDEGATE", "A_TITLE_LONGER_T"));
        assert_eq!(rq.presentation_contexts.len(), 1);
        assert_eq!(rq.presentation_contexts[0].abstract_syntax, request.abstract_syntax);
        assert_eq!(rq.presentation_contexts[0].transfer_syntaxes, [request.transfer_syntax]);
        assert!(rq.user_variables.contains(&UserVariableItem::MaxLength(131_072)));
    }

    #[test]
    fn another_implementation_reads_a_data_pdu() {
        let mut bytes = Vec::new();
        pdata_header(&mut bytes, 3, 0b10);
        assert_eq!(bytes.len(), PDATA_OVERHEAD);
        bytes.extend_from_slice(b"abc");
        let read = ul::read_pdu(&mut &bytes[..], 16_384, true).unwrap();
        let Some(Pdu::PData { data }) = read else { panic!("{read:?}") };
        assert_eq!((data[0].presentation_context_id, data[0].is_last), (CONTEXT_ID, true));
        assert_eq!(data[0].data, b"abc");
    }

    #[test]
    fn an_acceptance_written_by_another_implementation_is_understood() {
        let accept = Pdu::AssociationAC(ul::AssociationAC {
            protocol_version: 1,
            calling_ae_title: "LOADTEST".into(),
            called_ae_title: "TIDEGATE".into(),
            application_context_name: APPLICATION_CONTEXT.into(),
            presentation_contexts: vec![ul::PresentationContextResult {
                id: CONTEXT_ID,
                reason: ul::PresentationContextResultReason::TransferSyntaxesNotSupported,
                transfer_syntax: "1.2.840.10008.1.2".into(),
            }],
            user_variables: vec![UserVariableItem::MaxLength(16_384)],
        });
        let mut bytes = Vec::new();
        ul::write_pdu(&mut bytes, &accept).unwrap();
        let mut body = Vec::new();
        assert_eq!(read_pdu(&mut &bytes[..], &mut body, 16_384).unwrap(), 0x02);
        let read = AssociateAccept::decode(&body);
        assert_eq!(read, AssociateAccept { context_result: Some(4), max_pdu_length_bytes: 16_384 });
    }

    #[test]
    fn a_pdu_above_the_limit_is_refused_before_it_is_buffered() {
        let mut body = Vec::new();
        let error = read_pdu(&mut &[0x04, 0, 0xFF, 0, 0, 0][..], &mut body, 65_536).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(body.capacity() < 65_536);
    }

    #[test]
    fn a_pdv_cut_short_ends_the_pdvs() {
        let body = [0, 0, 0, 3, 1, 3, 9, 0, 0, 0, 9, 1, 3];
        assert_eq!(pdvs(&body).collect::<Vec<_>>(), [(3, &[9][..])]);
    }
}
