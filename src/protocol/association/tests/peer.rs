//! The other side of an association: an encoder and a decoder that are not ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dicom_ul::pdu::{
    AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed, UserVariableItem, read_pdu, write_pdu,
};

use crate::{Association, Event, Policy, State};

pub(super) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(super) const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
pub(super) const VERIFICATION: &str = "1.2.840.10008.1.1";
pub(super) const FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
pub(super) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(super) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(super) const C_STORE: u16 = 0x0001;
pub(super) const C_FIND: u16 = 0x0020;
pub(super) const C_ECHO: u16 = 0x0030;
pub(super) const C_CANCEL: u16 = 0x0FFF;
pub(super) const MAX_PDU_LENGTH: u32 = 128 * 1024;

pub(super) fn policy() -> Policy {
    Policy {
        ae_title: "TIDEGATE".into(),
        require_called_ae_title: false,
        max_pdu_length: MAX_PDU_LENGTH,
        max_request_length: 256 * 1024,
        max_command_set: 4096,
        async_operations: 8,
        strict: false,
        accept_unknown_sop_classes: true,
        accept_unknown_transfer_syntaxes: true,
        storage_commitment: false,
        transfer_syntax_preference: vec![],
    }
}

pub(super) fn proposed(id: u8, abstract_syntax: &str, transfer_syntaxes: &[&str]) -> PresentationContextProposed {
    PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: transfer_syntaxes.iter().map(|&uid| uid.into()).collect(),
    }
}

/// Proposes CT (1), Verification (3) and MR (7), which are accepted, and study root FIND (5), which is not.
pub(super) fn associate_rq(max_pdu_length: u32) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "CT1".into(),
        called_ae_title: "TIDEGATE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![
            proposed(1, CT, &[EXPLICIT, IMPLICIT]),
            proposed(3, VERIFICATION, &[IMPLICIT]),
            proposed(5, FIND, &[IMPLICIT]),
            proposed(7, MR, &[IMPLICIT]),
        ],
        user_variables: vec![
            UserVariableItem::MaxLength(max_pdu_length),
            UserVariableItem::ImplementationClassUID("1.2.3".into()),
            UserVariableItem::ImplementationVersionName("PEER_1".into()),
        ],
    }
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
        pdus.push(read_pdu(&mut sent, policy().max_request_length, true).unwrap().expect("a whole PDU"));
    }
    pdus
}

pub(super) fn associate_bytes() -> Vec<u8> {
    encode(&Pdu::AssociationRQ(associate_rq(0)))
}

/// An association brought to `state` by a peer that takes PDUs of `max_pdu_length`; all output taken.
pub(super) fn association_in(state: State, max_pdu_length: u32) -> Association {
    let mut association = Association::new(Arc::new(policy()));
    let request = encode(&Pdu::AssociationRQ(associate_rq(max_pdu_length)));
    if state == State::Sta1 {
        association.abort();
    }
    let steps: [fn(&mut Association, &[u8]); 4] = [
        |association, request| drop(feed(association, request)),
        |association, _| association.accept(),
        |association, _| drop(feed(association, &encode(&Pdu::ReleaseRQ))),
        |association, _| association.answer_release(),
    ];
    for step in steps {
        if association.state() == state {
            break;
        }
        step(&mut association, &request);
    }
    assert_eq!(association.state(), state);
    association.take_output();
    association
}

/// An established association.
pub(super) fn established() -> Association {
    association_in(State::Sta6, 0)
}

/// Feeds bytes in one piece.
pub(super) fn feed(association: &mut Association, bytes: &[u8]) -> Vec<Event> {
    feed_cut(association, bytes, bytes.len().max(1))
}

/// Feeds bytes in pieces of `piece` bytes.
pub(super) fn feed_cut(association: &mut Association, bytes: &[u8], piece: usize) -> Vec<Event> {
    let mut input = BytesMut::new();
    let mut events = vec![];
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        while let Some(event) = association.poll(&mut input) {
            events.push(event);
        }
        assert!(input.len() < association.needed(), "bytes retained that are not needed");
    }
    events
}

/// Joins neighbouring fragments: what is left does not depend on how the peer or the network cut a dataset.
pub(super) fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = vec![];
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Fragment(before)), Event::Fragment(fragment)) => {
                *before = Bytes::from([&before[..], &fragment[..]].concat());
            }
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn element(out: &mut Vec<u8>, element: u16, value: &[u8]) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// A command set, with `extra` elements at its end.
pub(super) fn command_with(field: u16, message_id: u16, has_data_set: bool, extra: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = vec![];
    element(&mut out, 0x0000, &[0; 4]);
    element(&mut out, 0x0002, b"1.2.840.10008.5.1.4.1.1.2\0");
    element(&mut out, 0x0100, &field.to_le_bytes());
    element(&mut out, 0x0110, &message_id.to_le_bytes());
    element(&mut out, 0x0800, if has_data_set { &[0, 0] } else { &[1, 1] });
    element(&mut out, 0x1000, b"1.2.3.4\0");
    for (tag, value) in extra {
        element(&mut out, *tag, value);
    }
    out
}

pub(super) fn command(field: u16, message_id: u16, has_data_set: bool) -> Vec<u8> {
    command_with(field, message_id, has_data_set, &[])
}

/// The elements of a command set, in order of their number.
pub(super) fn elements(mut command: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let mut elements = BTreeMap::new();
    while !command.is_empty() {
        assert_eq!(command[..2], [0, 0], "group");
        let number = u16::from_le_bytes(command[2..4].try_into().unwrap());
        let length = u32::from_le_bytes(command[4..8].try_into().unwrap()) as usize;
        assert!(elements.keys().all(|before| *before < number), "ascending order");
        assert_eq!(length % 2, 0, "even length");
        elements.insert(number, command[8..8 + length].to_vec());
        command = &command[8 + length..];
    }
    elements
}

/// The command sets sent, each joined from its fragments, with the presentation context they were sent on.
pub(super) fn responses(sent: &[u8]) -> Vec<(u8, BTreeMap<u16, Vec<u8>>)> {
    let mut responses = vec![];
    let mut bytes = vec![];
    for pdu in decode(sent) {
        let Pdu::PData { data } = pdu else { panic!("{pdu:?} is not P-DATA-TF") };
        for value in data {
            assert_eq!(value.value_type, PDataValueType::Command);
            bytes.extend(value.data);
            if value.is_last {
                responses.push((value.presentation_context_id, elements(&std::mem::take(&mut bytes))));
            }
        }
    }
    assert_eq!(bytes, b"", "a command set without end");
    responses
}

pub(super) fn pdv(context_id: u8, value_type: PDataValueType, is_last: bool, data: &[u8]) -> PDataValue {
    PDataValue { presentation_context_id: context_id, value_type, is_last, data: data.to_vec() }
}

pub(super) fn command_pdv(context_id: u8, is_last: bool, data: &[u8]) -> PDataValue {
    pdv(context_id, PDataValueType::Command, is_last, data)
}

pub(super) fn data_pdv(context_id: u8, is_last: bool, data: &[u8]) -> PDataValue {
    pdv(context_id, PDataValueType::Data, is_last, data)
}

/// A P-DATA-TF PDU.
pub(super) fn p_data(values: Vec<PDataValue>) -> Vec<u8> {
    encode(&Pdu::PData { data: values })
}

/// An A-ABORT PDU.
pub(super) fn abort_bytes(source: u8, reason: u8) -> Vec<u8> {
    vec![7, 0, 0, 0, 0, 4, 0, 0, source, reason]
}

/// The events and the output of an established association for `bytes`, which must be the same byte by byte.
pub(super) fn said(bytes: &[u8]) -> (Vec<Event>, Vec<u8>) {
    let mut association = established();
    let events = joined(feed(&mut association, bytes));
    let output = association.take_output();
    let mut again = established();
    assert_eq!(joined(feed_cut(&mut again, bytes, 1)), events);
    assert_eq!(again.take_output(), output);
    (events, output)
}

/// A C-STORE-RQ on the CT context.
pub(super) fn store_pdv() -> PDataValue {
    command_pdv(1, true, &command(C_STORE, 1, true))
}
