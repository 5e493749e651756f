//! The request, and every answer to it.

use dicom_ul::pdu::{Pdu, PresentationContextResultReason as Reason, UserVariableItem};

use super::peer::*;
use crate::requestor::{
    AcceptedContext, ContextRefused, Event, MAX_ACCEPTANCE_LENGTH, PeerRejection, Proposal, ProposalFault, Requestor,
    Role,
};
use crate::syntaxes::{
    EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT, IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT, STORAGE_COMMITMENT, VERIFICATION,
};
use crate::{CannotSend, Invocation, RequestFault, State, Violation};

#[test]
fn a_request_is_what_was_proposed() {
    let mut requestor = Requestor::new(proposal()).unwrap();
    let sent = decode(&requestor.take_output());
    let [Pdu::AssociationRQ(request)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((request.calling_ae_title.trim(), request.called_ae_title.trim()), ("TIDEGATE", "MODALITY"));
    assert_eq!((request.protocol_version, &*request.application_context_name), (1, "1.2.840.10008.3.1.1.1"));
    let contexts = request.presentation_contexts.iter();
    let contexts: Vec<_> = contexts.map(|c| (c.id, c.abstract_syntax.as_str(), c.transfer_syntaxes.len())).collect();
    assert_eq!(contexts, [(1, VERIFICATION, 1), (3, CT, 2), (5, STORAGE_COMMITMENT, 2), (7, FIND, 1)]);
    assert_eq!(request.presentation_contexts[1].transfer_syntaxes, [EXPLICIT, IMPLICIT]);
    assert_eq!(
        request.user_variables,
        [
            UserVariableItem::MaxLength(16_384),
            UserVariableItem::ImplementationClassUID(crate::IMPLEMENTATION_CLASS_UID.into()),
            UserVariableItem::ImplementationVersionName(crate::IMPLEMENTATION_VERSION_NAME.into()),
            UserVariableItem::Unknown(0x53, vec![0, 4, 0, 1]),
            role(false, true),
        ]
    );
}

#[test]
fn nothing_is_negotiated_that_is_the_default() {
    let mut plain = proposal();
    plain.async_operations = 1;
    plain.contexts.truncate(2);
    let mut requestor = Requestor::new(plain).unwrap();
    let sent = decode(&requestor.take_output());
    let [Pdu::AssociationRQ(request)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(request.user_variables.len(), 3);
}

#[test]
fn a_role_is_proposed_once_for_a_sop_class() {
    let mut twice = proposal();
    twice.contexts.push(context(STORAGE_COMMITMENT, &[IMPLICIT], Role::Scp));
    twice.contexts.push(context(CT, &[IMPLICIT], Role::Scp)); // the first of CT says SCU
    let mut requestor = Requestor::new(twice).unwrap();
    let sent = decode(&requestor.take_output());
    let [Pdu::AssociationRQ(request)] = &sent[..] else { panic!("{sent:?}") };
    let roles =
        request.user_variables.iter().filter(|item| matches!(item, UserVariableItem::ScuScpRoleSelectionSubItem(..)));
    assert_eq!(roles.count(), 1);
}

#[test]
fn what_cannot_be_proposed_is_a_fault() {
    let fault = |proposal| Requestor::new(proposal).err();
    for title in ["", "                ", "SEVENTEEN_LETTERS", "A\\B", "Ü", "A\0"] {
        let calling = Proposal { calling_ae_title: title.into(), ..proposal() };
        assert_eq!(fault(calling), Some(ProposalFault::AeTitle), "{title:?}");
        let called = Proposal { called_ae_title: title.into(), ..proposal() };
        assert_eq!(fault(called), Some(ProposalFault::AeTitle), "{title:?}");
    }
    let of = |contexts| Proposal { contexts, ..proposal() };
    let many = |count| of(vec![context(CT, &[IMPLICIT], Role::Scp); count]);
    assert_eq!([0, 129].map(|count| fault(many(count))), [Some(ProposalFault::Contexts); 2]);
    assert_eq!([1, 128].map(|count| fault(many(count))), [None; 2]);
    let with = |syntaxes: &[&str]| fault(of(vec![context(CT, syntaxes, Role::Scu)]));
    for syntaxes in [&[][..], &["JPEG"], &[""], &[IMPLICIT; 257]] {
        assert_eq!(with(syntaxes), Some(ProposalFault::Syntaxes));
    }
    assert_eq!(fault(of(vec![context("CT", &[IMPLICIT], Role::Scu)])), Some(ProposalFault::Syntaxes));
    // The largest request there is can be read.
    let longest = "1".repeat(64);
    let largest = of(vec![context(&longest, &[longest.as_str(); 256], Role::Scp); 128]);
    let sent = Requestor::new(largest).unwrap().take_output();
    let read = dicom_ul::pdu::read_pdu(&sent[..], 1 << 24, true).unwrap();
    let Some(Pdu::AssociationRQ(request)) = read else { panic!("no request") };
    assert!(request.presentation_contexts.iter().all(|context| context.transfer_syntaxes.len() == 256));
}

fn outcomes(acceptance: &[u8]) -> Vec<Result<AcceptedContext, ContextRefused>> {
    let events = feed_cut(&mut requested(), acceptance, 5);
    let [Event::Accepted(acceptance)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(acceptance.contexts.iter().map(|context| context.id).collect::<Vec<_>>(), [1, 3, 5, 7]);
    acceptance.contexts.iter().map(|context| context.outcome.clone()).collect()
}

fn accepted(transfer_syntax: &str, is_scu: bool, is_scp: bool) -> Result<AcceptedContext, ContextRefused> {
    Ok(AcceptedContext { transfer_syntax: transfer_syntax.into(), is_scu, is_scp })
}

#[test]
fn each_context_has_its_answer() {
    let answers = vec![
        result(1, Reason::AbstractSyntaxNotSupported, ""),
        result(5, Reason::UserRejection, IMPLICIT),
        result(3, Reason::Acceptance, "1.2.840.10008.1.2\0"),
        result(3, Reason::UserRejection, IMPLICIT), // the first one counts
        result(9, Reason::Acceptance, IMPLICIT),    // never proposed
    ];
    use ContextRefused::*;
    assert_eq!(
        outcomes(&acceptance(answers, vec![])),
        [Err(AbstractSyntax), accepted(IMPLICIT, true, false), Err(User), Err(NotAnswered)]
    );
    let answers = vec![
        result(1, Reason::Acceptance, EXPLICIT), // not proposed for it
        result(3, Reason::TransferSyntaxesNotSupported, IMPLICIT),
        result(5, Reason::NoReason, IMPLICIT),
        result(7, Reason::Acceptance, ""),
    ];
    assert_eq!(
        outcomes(&acceptance(answers, vec![])),
        [Err(OtherTransferSyntax), Err(TransferSyntaxes), Err(NoReason), Err(OtherTransferSyntax)]
    );
    assert_eq!(outcomes(&acceptance(vec![], vec![])), vec![Err(NotAnswered); 4]);
}

#[test]
fn a_role_that_is_not_accepted_is_not_taken() {
    let commitment = |items: Vec<UserVariableItem>| {
        let bytes = acceptance(vec![result(5, Reason::Acceptance, IMPLICIT)], items.clone());
        let mut requestor = requested();
        feed(&mut requestor, &bytes);
        let report = requestor.begin(5, &Invocation::ReportCommitment { event_type: 1 });
        assert_eq!(report.is_ok(), outcomes(&bytes)[2] == accepted(IMPLICIT, false, true));
        if report.is_err() {
            assert_eq!(report, Err(CannotSend::RoleNotAccepted));
            assert_eq!(requestor.output_bytes(), 0);
        }
        outcomes(&bytes)[2].clone()
    };
    assert_eq!(commitment(vec![role(false, true)]), accepted(IMPLICIT, false, true));
    assert_eq!(commitment(vec![role(true, true)]), accepted(IMPLICIT, false, true), "SCU was not proposed");
    assert_eq!(commitment(vec![role(true, false)]), accepted(IMPLICIT, false, false));
    assert_eq!(commitment(vec![role(false, false)]), accepted(IMPLICIT, false, false));
    assert_eq!(commitment(vec![]), accepted(IMPLICIT, true, false), "no answer is the default");
    assert_eq!(commitment(vec![role(false, false), role(false, true)]), accepted(IMPLICIT, false, false));
    // A role for a SOP class of which none was proposed changes nothing.
    let of_ct = UserVariableItem::ScuScpRoleSelectionSubItem(
        CT.into(),
        dicom_ul::pdu::RequestorRoles { scu: false, scp: true },
    );
    let answers = outcomes(&acceptance(vec![result(3, Reason::Acceptance, IMPLICIT)], vec![of_ct]));
    assert_eq!(answers[1], accepted(IMPLICIT, true, false));
}

#[test]
fn the_window_is_what_both_allow() {
    let short = UserVariableItem::Unknown(0x53, vec![0]);
    for (items, expected) in
        [(vec![], 1), (vec![window(2)], 2), (vec![window(9)], 4), (vec![window(0)], 4), (vec![short], 1)]
    {
        let mut requestor = requested();
        let events = feed(&mut requestor, &acceptance(vec![result(1, Reason::Acceptance, IMPLICIT)], items));
        let [Event::Accepted(acceptance)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(acceptance.async_operations, expected);
        for number in 1..=expected {
            assert_eq!(requestor.begin(1, &Invocation::Echo), Ok(number));
        }
        assert_eq!(requestor.begin(1, &Invocation::Echo), Err(CannotSend::WindowFull));
        assert_eq!(requestor.outstanding(), usize::from(expected));
        feed(&mut requestor, &p_data(1, true, true, &response(0x30, 1, 0, false)));
        assert_eq!(requestor.begin(1, &Invocation::Echo), Ok(expected + 1));
    }
}

#[test]
fn the_peer_is_known_by_its_implementation() {
    let items = vec![
        UserVariableItem::MaxLength(28_672),
        UserVariableItem::ImplementationClassUID("1.2.3\0".into()),
        UserVariableItem::ImplementationVersionName("PEER_1 ".into()),
        UserVariableItem::Unknown(0x99, vec![1, 2, 3]),
    ];
    let events = feed(&mut requested(), &acceptance(vec![], items));
    let [Event::Accepted(acceptance)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((acceptance.implementation.as_str(), acceptance.peer_max_pdu_length), ("1.2.3 PEER_1", 28_672));
}

#[test]
fn a_rejection_is_told_in_the_words_of_the_standard() {
    let mut requestor = requested();
    let events = feed_cut(&mut requestor, &[3, 0, 0, 0, 0, 4, 0, 1, 1, 7, 99, 99], 1);
    let [Event::Rejected(rejection)] = events[..] else { panic!("{events:?}") };
    assert_eq!(rejection, PeerRejection { result: 1, source: 1, reason: 7 });
    assert_eq!(rejection.to_string(), "permanent, service-user, called-AE-title-not-recognized");
    assert!(!rejection.is_transient());
    assert_eq!((requestor.state(), requestor.output_bytes()), (State::Sta1, 0));
    let busy = PeerRejection { result: 2, source: 3, reason: 2 };
    assert_eq!(busy.to_string(), "transient, service-provider (presentation), local-limit-exceeded");
    assert!(busy.is_transient());
}

#[test]
fn an_answer_that_is_none_is_aborted() {
    let cases: [(Vec<u8>, Violation, u8); 7] = [
        (b"HTTP/1.1 400 ".to_vec(), Violation::UnrecognizedPdu(b'H'), 1),
        (encode(&Pdu::ReleaseRP), Violation::UnexpectedPdu(6), 2),
        (p_data(1, true, true, b"ab"), Violation::UnexpectedPdu(4), 2),
        (vec![1, 0, 0, 0, 0, 4, 0, 0, 0, 0], Violation::UnexpectedPdu(1), 2),
        (vec![3, 0, 0, 0, 0, 5, 0, 1, 1, 1, 0], Violation::PduLength { pdu_type: 3, length: 5 }, 6),
        (
            [&[2, 0][..], &(MAX_ACCEPTANCE_LENGTH + 1).to_be_bytes()].concat(),
            Violation::PduLength { pdu_type: 2, length: MAX_ACCEPTANCE_LENGTH + 1 },
            6,
        ),
        (vec![2, 0, 0, 0, 0, 2, 0, 1], Violation::MalformedAcceptance(RequestFault::FixedFields { bytes: 8 }), 6),
    ];
    for (bytes, violation, reason) in cases {
        let mut requestor = requested();
        assert_eq!(feed(&mut requestor, &bytes), [Event::Violated(violation)]);
        assert_eq!(requestor.take_output(), [7, 0, 0, 0, 0, 4, 0, 0, 2, reason], "{violation}");
        assert_eq!(requestor.state(), State::Sta13);
    }
    let mut cut = full_acceptance(0);
    let at = cut.len() - 1;
    cut.truncate(at);
    let length = (at as u32 - 6).to_be_bytes();
    cut[2..6].copy_from_slice(&length);
    let events = feed(&mut requested(), &cut);
    assert!(
        matches!(events[..], [Event::Violated(Violation::MalformedAcceptance(RequestFault::Item { .. }))]),
        "{events:?}"
    );
}
