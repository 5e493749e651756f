//! Upper layer PDUs as a requestor writes and reads them (PS3.8 §9.3).

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Bytes of a P-DATA-TF PDU header and the header of the one PDV inside it (PS3.8 §9.3.5).
pub(crate) const PDATA_OVERHEAD: usize = 12;
/// The part of [`PDATA_OVERHEAD`] that counts against the maximum PDU length: PDV length and message control header.
pub(crate) const PDV_OVERHEAD: usize = 6;
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
pub(crate) const IMPLEMENTATION_CLASS: &str = "2.25.271828182845904523536028747135266249775";
const IMPLEMENTATION_VERSION: &str = "TIDEGATE_LOAD";

/// The contents of an A-ASSOCIATE-RQ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AssociateRequest<'a> {
    /// At most 16 characters; the rest is cut off.
    pub(crate) called_ae: &'a str,
    /// At most 16 characters; the rest is cut off.
    pub(crate) calling_ae: &'a str,
    pub(crate) contexts: &'a [PresentationContext],
    /// The longest P-DATA-TF the requestor takes.
    pub(crate) max_pdu_length_bytes: u32,
    /// Messages that the requestor wants to have outstanding; 0 is as many as it likes, 1 needs no negotiation.
    pub(crate) window: u16,
}

/// A presentation context with the one transfer syntax it is proposed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PresentationContext {
    /// Odd (PS3.8 §9.3.2.2).
    pub(crate) id: u8,
    pub(crate) abstract_syntax: String,
    pub(crate) transfer_syntax: String,
}

impl AssociateRequest<'_> {
    /// The PDU (PS3.8 §9.3.2).
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut user = Vec::new();
        item(&mut user, 0x51, &self.max_pdu_length_bytes.to_be_bytes());
        item(&mut user, 0x52, IMPLEMENTATION_CLASS.as_bytes());
        if self.window != 1 {
            // Operations invoked, operations performed: a requestor of stores performs none (PS3.7 §D.3.3.3).
            let [high, low] = self.window.to_be_bytes();
            item(&mut user, 0x53, &[high, low, 0, 1]);
        }
        item(&mut user, 0x55, IMPLEMENTATION_VERSION.as_bytes());

        let mut body = vec![0, 1, 0, 0];
        body.extend_from_slice(&ae_title(self.called_ae));
        body.extend_from_slice(&ae_title(self.calling_ae));
        body.extend_from_slice(&[0; 32]);
        item(&mut body, 0x10, APPLICATION_CONTEXT.as_bytes());
        for PresentationContext { id, abstract_syntax, transfer_syntax } in self.contexts {
            let mut context = vec![*id, 0, 0, 0];
            item(&mut context, 0x30, abstract_syntax.as_bytes());
            item(&mut context, 0x40, transfer_syntax.as_bytes());
            item(&mut body, 0x20, &context);
        }
        item(&mut body, 0x50, &user);
        pdu(0x01, &body)
    }
}

/// A-RELEASE-RQ (PS3.8 §9.3.6).
pub(crate) fn release_request() -> Vec<u8> {
    pdu(0x05, &[0; 4])
}

/// A-RELEASE-RP (PS3.8 §9.3.7).
pub(crate) fn release_reply() -> Vec<u8> {
    pdu(0x06, &[0; 4])
}

/// The A-ASSOCIATE-AC that takes every presentation context of a request's body with its first transfer syntax, and as many
/// outstanding messages as were asked for (PS3.8 §9.3.3).
pub(crate) fn accept(request: &[u8], max_pdu_length_bytes: u32) -> Vec<u8> {
    let mut user = Vec::new();
    item(&mut user, 0x51, &max_pdu_length_bytes.to_be_bytes());
    item(&mut user, 0x52, IMPLEMENTATION_CLASS.as_bytes());
    let mut contexts = Vec::new();
    for (kind, value) in items(request.get(68..).unwrap_or_default()) {
        match (kind, value) {
            (0x20, [id, _, _, _, rest @ ..]) => {
                let mut context = vec![*id, 0, 0, 0];
                let syntax = items(rest).find(|(kind, _)| *kind == 0x40).map_or(&[][..], |(_, syntax)| syntax);
                item(&mut context, 0x40, syntax);
                item(&mut contexts, 0x21, &context);
            }
            (0x50, value) => items(value).filter(|(kind, _)| *kind == 0x53).for_each(|(_, window)| {
                item(&mut user, 0x53, window);
            }),
            _ => {}
        }
    }
    let mut body = request.get(..68).unwrap_or_default().to_vec();
    item(&mut body, 0x10, APPLICATION_CONTEXT.as_bytes());
    body.extend_from_slice(&contexts);
    item(&mut body, 0x50, &user);
    pdu(0x02, &body)
}

/// The first transfer syntax that a request's body proposes for a presentation context: the one that [`accept`] takes.
pub(crate) fn transfer_syntax(request: &[u8], context: u8) -> Option<&[u8]> {
    let contexts = items(request.get(68..)?).filter(|(kind, _)| *kind == 0x20);
    let (_, found) = contexts.into_iter().find(|(_, value)| value.first() == Some(&context))?;
    items(found.get(4..)?).find(|(kind, _)| *kind == 0x40).map(|(_, syntax)| syntax)
}

/// Appends the header of a P-DATA-TF PDU that holds one PDV with `fragment_length` bytes of a message.
///
/// `control` is the message control header: bit 0 for a command, bit 1 for the last fragment (PS3.8 §E.2).
pub(crate) fn pdata_header(out: &mut Vec<u8>, context: u8, fragment_length: usize, control: u8) {
    let pdv_length = u32::try_from(fragment_length + 2).unwrap_or(u32::MAX);
    out.extend_from_slice(&[0x04, 0]);
    out.extend_from_slice(&pdv_length.saturating_add(4).to_be_bytes());
    out.extend_from_slice(&pdv_length.to_be_bytes());
    out.extend_from_slice(&[context, control]);
}

/// Reads one PDU into `body`, which is reused, and returns its type.
///
/// # Errors
/// Those of the reader, and `InvalidData` for a PDU above `limit_bytes`.
pub(crate) fn read_pdu(reader: &mut (impl Read + ?Sized), body: &mut Vec<u8>, limit_bytes: u32) -> io::Result<u8> {
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

/// The contents of the body of an A-ASSOCIATE-AC (PS3.8 §9.3.3).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AssociateAccept {
    /// Result of each presentation context by its ID: 0 is acceptance (PS3.8 table 9-18).
    pub(crate) results: BTreeMap<u8, u8>,
    /// The longest P-DATA-TF the acceptor takes; 0 is no limit, and so is leaving it out.
    pub(crate) max_pdu_length_bytes: u32,
    /// Messages the acceptor lets be outstanding; 0 is no limit, and leaving it out is 1 (PS3.7 §D.3.3.3).
    pub(crate) window: u16,
}

impl AssociateAccept {
    pub(crate) fn decode(body: &[u8]) -> Self {
        let mut accept = Self { window: 1, ..Self::default() };
        for (kind, value) in items(body.get(68..).unwrap_or_default()) {
            match (kind, value) {
                (0x21, &[id, _, result, ..]) => {
                    accept.results.insert(id, result);
                }
                (0x50, value) => items(value).for_each(|(kind, value)| accept.user_item(kind, value)),
                _ => {}
            }
        }
        accept
    }

    fn user_item(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (0x51, &[a, b, c, d]) => self.max_pdu_length_bytes = u32::from_be_bytes([a, b, c, d]),
            (0x53, &[high, low, ..]) => self.window = u16::from_be_bytes([high, low]),
            _ => {}
        }
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

    fn context(id: u8, abstract_syntax: &str) -> PresentationContext {
        let transfer_syntax = "1.2.840.10008.1.2.1".to_owned();
        PresentationContext { id, abstract_syntax: abstract_syntax.to_owned(), transfer_syntax }
    }

    #[test]
    fn another_implementation_reads_the_association_request() {
        let request = AssociateRequest {
            called_ae: "TIDEGATE",
            calling_ae: "A_TITLE_LONGER_THAN_16",
            contexts: &[context(1, "1.2.840.10008.5.1.4.1.1.2"), context(3, "1.2.840.10008.5.1.4.1.1.4")],
            max_pdu_length_bytes: 131_072,
            window: 8,
        };
        let read = ul::read_pdu(&mut &request.encode()[..], 16_384, true).unwrap();
        let Some(Pdu::AssociationRQ(rq)) = read else { panic!("{read:?}") };
        assert_eq!((rq.called_ae_title.as_str(), rq.calling_ae_title.as_str()), ("TIDEGATE", "A_TITLE_LONGER_T"));
        assert_eq!(rq.presentation_contexts.len(), 2);
        for (read, written) in rq.presentation_contexts.iter().zip(request.contexts) {
            assert_eq!((read.id, &read.abstract_syntax), (written.id, &written.abstract_syntax));
            assert_eq!(read.transfer_syntaxes, [written.transfer_syntax.as_str()]);
        }
        assert!(rq.user_variables.contains(&UserVariableItem::MaxLength(131_072)));
        assert!(rq.user_variables.contains(&UserVariableItem::Unknown(0x53, vec![0, 8, 0, 1])), "{rq:?}");
    }

    #[test]
    fn another_implementation_reads_a_data_pdu() {
        let mut bytes = Vec::new();
        pdata_header(&mut bytes, 5, 3, 0b10);
        assert_eq!(bytes.len(), PDATA_OVERHEAD);
        bytes.extend_from_slice(b"abc");
        let read = ul::read_pdu(&mut &bytes[..], 16_384, true).unwrap();
        let Some(Pdu::PData { data }) = read else { panic!("{read:?}") };
        assert_eq!((data[0].presentation_context_id, data[0].is_last), (5, true));
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
                id: 1,
                reason: ul::PresentationContextResultReason::TransferSyntaxesNotSupported,
                transfer_syntax: "1.2.840.10008.1.2".into(),
            }],
            user_variables: vec![
                UserVariableItem::MaxLength(16_384),
                UserVariableItem::Unknown(0x53, vec![0, 4, 0, 1]),
            ],
        });
        let mut bytes = Vec::new();
        ul::write_pdu(&mut bytes, &accept).unwrap();
        let mut body = Vec::new();
        assert_eq!(read_pdu(&mut &bytes[..], &mut body, 16_384).unwrap(), 0x02);
        let read = AssociateAccept::decode(&body);
        let results = BTreeMap::from([(1, 4)]);
        assert_eq!(read, AssociateAccept { results, max_pdu_length_bytes: 16_384, window: 4 });
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

    #[test]
    fn an_acceptance_takes_every_context_and_the_window_that_was_asked_for() {
        let contexts: Vec<_> = (0..128).map(|index| context(index * 2 + 1, "1.2.840.10008.5.1.4.1.1.2")).collect();
        let request = AssociateRequest {
            called_ae: "A",
            calling_ae: "B",
            contexts: &contexts,
            max_pdu_length_bytes: 1,
            window: 8,
        };
        let read = ul::read_pdu(&mut &accept(&request.encode()[6..], 65_536)[..], 1 << 20, true).unwrap();
        let Some(Pdu::AssociationAC(ac)) = read else { panic!("{read:?}") };
        assert_eq!(ac.presentation_contexts.len(), 128);
        assert!(ac.presentation_contexts.iter().all(|context| context.transfer_syntax == "1.2.840.10008.1.2.1"));
        let accept = AssociateAccept::decode(&accept(&request.encode()[6..], 65_536)[6..]);
        assert_eq!((accept.results.len(), accept.max_pdu_length_bytes, accept.window), (128, 65_536, 8));
    }
}
