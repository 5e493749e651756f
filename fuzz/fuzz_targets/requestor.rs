//! Any bytes as what a peer sends to a requestor, its answer to the request included. The first byte says in how large pieces they come, and
//! whether they begin behind an answer that accepts everything; what they mean must not depend on the pieces.
#![no_main]

use bytes::BytesMut;
use dicom_ul::pdu::{
    AssociationAC, Pdu, PresentationContextResult, PresentationContextResultReason, RequestorRoles, UserVariableItem,
    write_pdu,
};
use libfuzzer_sys::fuzz_target;
use tidegate_protocol::requestor::{Event, Proposal, ProposedContext, Requestor, Role};
use tidegate_protocol::syntaxes::{IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT, VERIFICATION};
use tidegate_protocol::{Invocation, State};

fn context(abstract_syntax: &str, role: Role) -> ProposedContext {
    ProposedContext {
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: vec![IMPLICIT_VR_LITTLE_ENDIAN.into()],
        role,
    }
}

/// A requestor of Verification (1), storage commitment as SCP (3) and CT (5), whose request has been sent.
fn requested() -> Requestor {
    let mut requestor = Requestor::new(Proposal {
        calling_ae_title: "TIDEGATE".into(),
        called_ae_title: "FUZZ".into(),
        contexts: vec![
            context(VERIFICATION, Role::Scu),
            context(STORAGE_COMMITMENT, Role::Scp),
            context("1.2.840.10008.5.1.4.1.1.2", Role::Scu),
        ],
        max_pdu_length: 4096,
        max_command_set: 1024,
        async_operations: 4,
    })
    .unwrap();
    assert!(!requestor.take_output().is_empty());
    requestor
}

/// An answer that accepts all of it.
fn acceptance() -> Vec<u8> {
    let accepted = |id| PresentationContextResult {
        id,
        reason: PresentationContextResultReason::Acceptance,
        transfer_syntax: IMPLICIT_VR_LITTLE_ENDIAN.into(),
    };
    let roles = RequestorRoles { scu: false, scp: true };
    let answer = AssociationAC {
        protocol_version: 1,
        calling_ae_title: "TIDEGATE".into(),
        called_ae_title: "FUZZ".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: [1, 3, 5].map(accepted).to_vec(),
        user_variables: vec![
            UserVariableItem::MaxLength(64),
            UserVariableItem::ScuScpRoleSelectionSubItem(STORAGE_COMMITMENT.into(), roles),
            UserVariableItem::Unknown(0x53, vec![0, 4, 0, 1]),
        ],
    };
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &Pdu::AssociationAC(answer)).unwrap();
    bytes
}

/// Feeds `bytes`; a report and a C-ECHO are outstanding as soon as they can be. The events, with neighbouring fragments joined.
fn drive(bytes: &[u8], piece: usize) -> Vec<Event> {
    let mut requestor = requested();
    let mut input = BytesMut::new();
    let (mut events, mut dataset) = (Vec::new(), Vec::new());
    let mut has_ended = false;
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        while let Some(event) = requestor.poll(&mut input) {
            assert!(!has_ended || matches!(event, Event::PeerAborted(_)), "{event:?} after the end");
            match &event {
                Event::Accepted(_) => {
                    if requestor.begin(3, &Invocation::ReportCommitment { event_type: 1 }).is_ok() {
                        requestor.push_dataset(&[0; 100]);
                        requestor.end_dataset();
                    }
                    let _ = requestor.begin(1, &Invocation::Echo);
                }
                Event::ReleaseRequested => requestor.answer_release(),
                Event::Rejected(_) | Event::Released | Event::PeerAborted(_) | Event::Violated(_) => has_ended = true,
                _ => {}
            }
            if let Event::Fragment(fragment) = event {
                assert!(!fragment.is_empty());
                dataset.extend_from_slice(&fragment);
                continue;
            }
            if !dataset.is_empty() {
                events.push(Event::Fragment(std::mem::take(&mut dataset).into()));
            }
            events.push(event);
        }
        assert!(input.len() < requestor.needed(), "bytes are kept that are not needed");
        assert!(requestor.needed() <= 64 * 1024 + 6);
        check_framing(&requestor.take_output());
    }
    if !dataset.is_empty() {
        events.push(Event::Fragment(dataset.into()));
    }
    assert!(!has_ended || matches!(requestor.state(), State::Sta1 | State::Sta13));
    events
}

/// What is sent is whole PDUs.
fn check_framing(mut sent: &[u8]) {
    while !sent.is_empty() {
        let length = u32::from_be_bytes(sent[2..6].try_into().unwrap()) as usize;
        sent = &sent[6 + length..];
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, bytes)) = data.split_first() else { return };
    let begin = if first & 1 == 1 { acceptance() } else { Vec::new() };
    let bytes = [&begin, bytes].concat();
    assert_eq!(drive(&bytes, bytes.len()), drive(&bytes, usize::from(first >> 1)));
});
