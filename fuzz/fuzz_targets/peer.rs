//! The common parts of the protocol's targets: a node's side of an association, and a driver that feeds it.

use std::sync::Arc;

use bytes::BytesMut;
use dicom_ul::pdu::{AssociationRQ, Pdu, PresentationContextProposed, UserVariableItem, write_pdu};
use tidegate_protocol::{ActionStatus, Association, ErrorComment, Event, Policy};

pub(crate) const MAX_PDU_LENGTH: u32 = 4096;
pub(crate) const MAX_COMMAND_SET: u32 = 1024;

pub(crate) fn policy() -> Arc<Policy> {
    Arc::new(Policy {
        ae_title: "TIDEGATE".into(),
        require_called_ae_title: false,
        max_pdu_length: MAX_PDU_LENGTH,
        max_request_length: 64 * 1024,
        max_command_set: MAX_COMMAND_SET,
        async_operations: 8,
        strict: false,
        accept_unknown_sop_classes: true,
        accept_unknown_transfer_syntaxes: true,
        storage_commitment: true,
        transfer_syntax_preference: vec![],
    })
}

/// A request for CT (1), Verification (3) and MR (5).
#[allow(dead_code, reason = "not every target starts with an association")]
pub(crate) fn request() -> Vec<u8> {
    let context = |id, abstract_syntax: &str| PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: vec!["1.2.840.10008.1.2.1".into()],
    };
    let request = AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "FUZZ".into(),
        called_ae_title: "TIDEGATE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![
            context(1, "1.2.840.10008.5.1.4.1.1.2"),
            context(3, "1.2.840.10008.1.1"),
            context(5, "1.2.840.10008.5.1.4.1.1.4"),
        ],
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    };
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &Pdu::AssociationRQ(request)).unwrap();
    bytes
}

/// An established association.
#[allow(dead_code, reason = "not every target starts with one")]
pub(crate) fn established() -> Association {
    let mut association = Association::new(policy());
    let mut input = BytesMut::from(&request()[..]);
    assert!(matches!(association.poll(&mut input), Some(Event::AssociateRequested(_))));
    association.accept();
    assert!(!association.take_output().is_empty());
    association
}

/// The reaction to some bytes: events with neighbouring fragments joined, and everything sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<u8>,
}

/// Feeds `bytes` in pieces of `piece` bytes as a caller who grants everything, and checks what must hold whatever they are.
pub(crate) fn drive(association: &mut Association, bytes: &[u8], piece: usize) -> Observed {
    let mut observed = Observed::default();
    let mut dataset = Vec::new();
    let mut input = BytesMut::new();
    let mut ended = false;
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        while let Some(event) = association.poll(&mut input) {
            assert!(!ended || matches!(event, Event::PeerAborted(_)), "{event:?} after the end");
            match &event {
                Event::AssociateRequested(_) => association.accept(),
                Event::ActionRequested(request) => {
                    association.respond_action(&request.operation, ActionStatus::Success, &ErrorComment::default());
                    if association.begin_event_report(1).is_ok() {
                        association.push_report(&[0; 100]);
                        association.end_report();
                    }
                }
                Event::ReleaseRequested => association.answer_release(),
                Event::Violated(_) | Event::PeerAborted(_) | Event::NotDicom(_) | Event::Rejected(_) => ended = true,
                _ => {}
            }
            observed.sent.extend(association.take_output());
            match event {
                Event::Fragment(fragment) => {
                    assert!(!fragment.is_empty());
                    dataset.extend_from_slice(&fragment);
                }
                event => {
                    if !dataset.is_empty() {
                        observed.events.push(Event::Fragment(std::mem::take(&mut dataset).into()));
                    }
                    observed.events.push(event);
                }
            }
        }
        assert!(input.len() < association.needed(), "bytes are kept that are not needed");
        assert!(association.needed() <= 64 * 1024 + 6);
        observed.sent.extend(association.take_output());
    }
    if !dataset.is_empty() {
        observed.events.push(Event::Fragment(dataset.into()));
    }
    observed
}
