//! The acceptor's side: an encoder and a decoder that are not ours.

use bytes::{Bytes, BytesMut};
use dicom_ul::pdu::{
    AssociationAC, PDataValue, PDataValueType, Pdu, PresentationContextResult,
    PresentationContextResultReason as Reason, RequestorRoles, UserVariableItem, read_pdu, write_pdu,
};

use crate::State;
use crate::requestor::{Event, Proposal, ProposedContext, Requestor, Role};
use crate::syntaxes::{
    EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT, IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT, STORAGE_COMMITMENT, VERIFICATION,
};

pub(super) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(super) const FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";

pub(super) fn context(abstract_syntax: &str, transfer_syntaxes: &[&str], role: Role) -> ProposedContext {
    ProposedContext {
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: transfer_syntaxes.iter().map(|&uid| uid.into()).collect(),
        role,
    }
}

/// Verification (1), CT (3), storage commitment as SCP (5), FIND (7).
pub(super) fn proposal() -> Proposal {
    Proposal {
        calling_ae_title: "TIDEGATE".into(),
        called_ae_title: "MODALITY".into(),
        contexts: vec![
            context(VERIFICATION, &[IMPLICIT], Role::Scu),
            context(CT, &[EXPLICIT, IMPLICIT], Role::Scu),
            context(STORAGE_COMMITMENT, &[EXPLICIT, IMPLICIT], Role::Scp),
            context(FIND, &[IMPLICIT], Role::Scu),
        ],
        max_pdu_length: 16_384,
        max_command_set: 1024,
        async_operations: 4,
    }
}

pub(super) fn result(id: u8, reason: Reason, transfer_syntax: &str) -> PresentationContextResult {
    PresentationContextResult { id, reason, transfer_syntax: transfer_syntax.into() }
}

pub(super) fn role(scu: bool, scp: bool) -> UserVariableItem {
    UserVariableItem::ScuScpRoleSelectionSubItem(STORAGE_COMMITMENT.into(), RequestorRoles { scu, scp })
}

pub(super) fn window(invoked: u16) -> UserVariableItem {
    UserVariableItem::Unknown(0x53, [invoked.to_be_bytes(), [0, 1]].concat())
}

pub(super) fn acceptance(contexts: Vec<PresentationContextResult>, items: Vec<UserVariableItem>) -> Vec<u8> {
    encode(&Pdu::AssociationAC(AssociationAC {
        protocol_version: 1,
        calling_ae_title: "whatever".into(),
        called_ae_title: "is reserved".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: contexts,
        user_variables: items,
    }))
}

/// Accepts all contexts, the role, a window of 4 and PDUs of `max_pdu_length`.
pub(super) fn full_acceptance(max_pdu_length: u32) -> Vec<u8> {
    let contexts = vec![
        result(1, Reason::Acceptance, IMPLICIT),
        result(3, Reason::Acceptance, EXPLICIT),
        result(5, Reason::Acceptance, IMPLICIT),
        result(7, Reason::Acceptance, IMPLICIT),
    ];
    acceptance(contexts, vec![UserVariableItem::MaxLength(max_pdu_length), role(false, true), window(4)])
}

pub(super) fn requested() -> Requestor {
    let mut requestor = Requestor::new(proposal()).unwrap();
    assert_eq!(requestor.state(), State::Sta5);
    assert!(!requestor.take_output().is_empty());
    requestor
}

pub(super) fn established(max_pdu_length: u32) -> Requestor {
    let mut requestor = requested();
    let events = feed(&mut requestor, &full_acceptance(max_pdu_length));
    assert!(matches!(events[..], [Event::Accepted(_)]), "{events:?}");
    assert_eq!(requestor.state(), State::Sta6);
    requestor
}

pub(super) fn encode(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).unwrap();
    bytes
}

/// Decodes everything sent; nothing may be left over.
pub(super) fn decode(mut sent: &[u8]) -> Vec<Pdu> {
    let mut pdus = vec![];
    while !sent.is_empty() {
        pdus.push(read_pdu(&mut sent, 1 << 20, true).unwrap().expect("a whole PDU"));
    }
    pdus
}

/// Feeds bytes in pieces of `piece` bytes; neighbouring fragments of the events are joined.
pub(super) fn feed_cut(requestor: &mut Requestor, bytes: &[u8], piece: usize) -> Vec<Event> {
    let mut input = BytesMut::new();
    let mut events: Vec<Event> = vec![];
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        while let Some(event) = requestor.poll(&mut input) {
            match (events.last_mut(), event) {
                (Some(Event::Fragment(before)), Event::Fragment(fragment)) => {
                    *before = Bytes::from([&before[..], &fragment[..]].concat());
                }
                (_, event) => events.push(event),
            }
        }
        assert!(input.len() < requestor.needed(), "bytes retained that are not needed");
        assert!(requestor.needed() <= 64 * 1024 + 6);
    }
    events
}

/// The events for bytes, which must be the same byte by byte and in one piece.
pub(super) fn feed(requestor: &mut Requestor, bytes: &[u8]) -> Vec<Event> {
    feed_cut(requestor, bytes, bytes.len().max(1))
}

fn element(out: &mut Vec<u8>, element: u16, value: &[u8]) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// A response to the request of that Command Field and Message ID.
pub(super) fn response(request: u16, message_id: u16, status: u16, has_data_set: bool) -> Vec<u8> {
    let mut out = vec![];
    element(&mut out, 0x0000, &[0; 4]);
    element(&mut out, 0x0100, &(request | 0x8000).to_le_bytes());
    element(&mut out, 0x0120, &message_id.to_le_bytes());
    element(&mut out, 0x0800, if has_data_set { &[0, 0] } else { &[1, 1] });
    element(&mut out, 0x0900, &status.to_le_bytes());
    out
}

/// A request of the peer.
pub(super) fn request(field: u16, message_id: u16, has_data_set: bool) -> Vec<u8> {
    let mut out = vec![];
    element(&mut out, 0x0002, b"1.2.840.10008.1.1\0");
    element(&mut out, 0x0100, &field.to_le_bytes());
    element(&mut out, 0x0110, &message_id.to_le_bytes());
    element(&mut out, 0x0800, if has_data_set { &[0, 0] } else { &[1, 1] });
    out
}

/// A P-DATA-TF PDU of one PDV.
pub(super) fn p_data(presentation_context_id: u8, is_command: bool, is_last: bool, data: &[u8]) -> Vec<u8> {
    let value_type = if is_command { PDataValueType::Command } else { PDataValueType::Data };
    let data = vec![PDataValue { presentation_context_id, value_type, is_last, data: data.to_vec() }];
    encode(&Pdu::PData { data })
}

/// The command set and the dataset of the message sent.
pub(super) fn message(sent: &[u8], max_pdu_length: u32) -> (u8, Vec<u8>, Vec<u8>) {
    let (mut command, mut dataset, mut context_id) = (vec![], vec![], 0);
    for pdu in decode(sent) {
        let Pdu::PData { data } = pdu else { panic!("{pdu:?}") };
        for value in data {
            assert!(max_pdu_length == 0 || value.data.len() + 6 <= (max_pdu_length as usize).max(8));
            assert!(value.is_last || value.data.len() % 2 == 0);
            context_id = value.presentation_context_id;
            match value.value_type {
                PDataValueType::Command => command.extend(value.data),
                PDataValueType::Data => dataset.extend(value.data),
            }
        }
    }
    (context_id, command, dataset)
}

/// The value of an element of group 0000.
pub(super) fn value(mut command: &[u8], number: u16) -> Option<&[u8]> {
    while !command.is_empty() {
        let length = u32::from_le_bytes(command[4..8].try_into().unwrap()) as usize;
        if command[..4] == [&[0, 0][..], &number.to_le_bytes()].concat() {
            return Some(&command[8..8 + length]);
        }
        command = &command[8 + length..];
    }
    None
}
