use super::item::{ASYNC_OPERATIONS_WINDOW, USER_IDENTITY_RESPONSE};
use super::*;
use dicom_ul::pdu::{RequestorRoles, UserIdentity, UserIdentityType, UserVariableItem};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const JPEG: &str = "1.2.840.10008.1.2.4.50";

fn policy() -> Policy {
    Policy {
        ae_title: "TIDEGATE".into(),
        require_called_ae_title: false,
        max_pdu_length: 131_072,
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

fn context(id: u8, abstract_syntax: &str, transfer_syntaxes: &[&str]) -> PresentationContextProposed {
    PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: transfer_syntaxes.iter().map(|&s| s.into()).collect(),
    }
}

fn request(contexts: Vec<PresentationContextProposed>, user: Vec<UserVariableItem>) -> AssociationRQ {
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "CT1".into(),
        called_ae_title: "ANY".into(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: contexts,
        user_variables: user,
    }
}

fn results(policy: &Policy, contexts: Vec<PresentationContextProposed>) -> Vec<(u8, Reason, String)> {
    let negotiated = negotiate(policy, request(contexts, vec![])).unwrap();
    negotiated.answer.presentation_contexts.into_iter().map(|r| (r.id, r.reason, r.transfer_syntax)).collect()
}

#[test]
fn the_requestors_order_decides_unless_a_preference_is_set() {
    let proposed = || vec![context(1, CT, &[JPEG, EXPLICIT, IMPLICIT])];
    assert_eq!(results(&policy(), proposed())[0].2, JPEG);
    let mut prefers = policy();
    prefers.transfer_syntax_preference = vec!["1.2.3".into(), IMPLICIT.into(), EXPLICIT.into()];
    assert_eq!(results(&prefers, proposed())[0].2, IMPLICIT);
}

#[test]
fn refused_contexts_are_named_with_the_reason_and_beyond_some_they_are_counted() {
    let mut strict = policy();
    strict.accept_unknown_transfer_syntaxes = false;
    let worklist = "1.2.840.10008.5.1.4.31";
    let mut proposed = vec![context(1, worklist, &[IMPLICIT]), context(3, CT, &["1.2.840.113619.5.2", "1.2.3"])];
    let refused = |proposed: &[PresentationContextProposed]| {
        negotiate(&strict, request(proposed.to_vec(), vec![])).unwrap().request.contexts_refused
    };
    let found = refused(&proposed);
    assert_eq!(
        found.to_string(),
        "Modality Worklist Information Model - FIND (1.2.840.10008.5.1.4.31): not a sop class that this node stores; \
         CT Image Storage (1.2.840.10008.5.1.4.1.1.2): no transfer syntax that this node accepts \
         (offered: 1.2.840.113619.5.2, 1.2.3)"
    );
    assert_eq!((found.total(), found.first()), (2, Some(ContextRefusal::AbstractSyntax)));
    proposed.extend((5..=127).step_by(2).map(|id| context(id, &"9".repeat(60_000), &[&"8".repeat(60_000)])));
    let found = refused(&proposed);
    assert_eq!((found.total(), found.count(ContextRefusal::AbstractSyntax)), (64, 63));
    let text = found.to_string();
    assert!(text.ends_with("; and 59 more") && text.len() < 640, "{text}");
    let worst = [context(1, CT, &["\u{1b}[31m\u{9b}\"", &"8".repeat(64), &"7".repeat(64), &"6".repeat(64), "1.2"])];
    let text = refused(&worst).to_string();
    assert!(text.len() < 640 && text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
}

#[test]
fn each_context_has_an_answer_of_its_own() {
    let mut strict = policy();
    strict.accept_unknown_sop_classes = false;
    strict.accept_unknown_transfer_syntaxes = false;
    let got = results(
        &strict,
        vec![
            context(1, CT, &["1.2.3.4", EXPLICIT]),
            context(3, CT, &["1.2.3.4"]),
            context(5, "1.2.3.4.5", &[IMPLICIT]),
            context(7, "1.2.840.10008.5.1.4.1.2.2.1", &[IMPLICIT]),
            context(8, CT, &[IMPLICIT]),
            context(1, CT, &[IMPLICIT]),
            context(9, "1.2.840.10008.1.1\0", &["1.2.840.10008.1.2\0"]),
        ],
    );
    let reasons: Vec<_> = got.iter().map(|(id, reason, _)| (*id, reason.clone())).collect();
    assert_eq!(
        reasons,
        [
            (1, Reason::Acceptance),
            (3, Reason::TransferSyntaxesNotSupported),
            (5, Reason::AbstractSyntaxNotSupported),
            (7, Reason::AbstractSyntaxNotSupported),
            (8, Reason::NoReason),
            (9, Reason::Acceptance),
        ]
    );
    assert_eq!(got[0].2, EXPLICIT);
}

#[test]
fn unknown_syntaxes_are_accepted_by_default_but_query_services_never() {
    let got = results(
        &policy(),
        vec![context(1, "1.2.3.4.5", &["1.2.3.4"]), context(3, "1.2.840.10008.5.1.4.31", &[IMPLICIT])],
    );
    assert_eq!(got[0].1, Reason::Acceptance);
    assert_eq!(got[1].1, Reason::AbstractSyntaxNotSupported);
}

#[test]
fn padding_is_not_part_of_a_syntax() {
    let rq = request(vec![context(1, "1.2.840.10008.5.1.4.1.1.2\0", &["1.2.840.10008.1.2.1\0"])], vec![]);
    let negotiated = negotiate(&policy(), rq).unwrap();
    let context = negotiated.contexts.get(1).unwrap();
    assert_eq!((&*context.abstract_syntax, &*context.transfer_syntax), (CT, EXPLICIT));
    assert!(negotiated.contexts.get(2).is_none() && negotiated.contexts.get(255).is_none());
}

#[test]
fn refusals_say_what_the_standard_says() {
    let refused = |change: fn(&mut AssociationRQ), policy: &Policy| {
        let mut rq = request(vec![], vec![]);
        change(&mut rq);
        negotiate(policy, rq).map(|_| ()).unwrap_err().fields()
    };
    assert_eq!(refused(|rq| rq.protocol_version = 2, &policy()), (1, 2, 2));
    assert_eq!(refused(|rq| rq.application_context_name = "1.2".into(), &policy()), (1, 1, 2));
    let mut strict = policy();
    strict.require_called_ae_title = true;
    assert_eq!(refused(|_| (), &strict), (1, 1, 7));
    let mut ours = request(vec![], vec![]);
    ours.called_ae_title = "TIDEGATE".into();
    assert!(negotiate(&strict, ours).is_ok());
}

#[test]
fn the_async_window_is_the_smaller_of_both_and_zero_means_as_many_as_you_like() {
    for (asked, window) in [([0, 4, 0, 1], 4), ([0, 0, 0, 0], 8), ([1, 0, 0, 5], 8), ([0, 1, 0, 1], 1)] {
        let item = UserVariableItem::Unknown(ASYNC_OPERATIONS_WINDOW, asked.to_vec());
        let negotiated = negotiate(&policy(), request(vec![], vec![item])).unwrap();
        assert_eq!(negotiated.request.async_operations, window);
        let answer = UserVariableItem::Unknown(ASYNC_OPERATIONS_WINDOW, vec![0, window as u8, 0, 1]);
        assert!(negotiated.answer.user_variables.contains(&answer), "{asked:?}");
    }
    let silent = negotiate(&policy(), request(vec![], vec![])).unwrap();
    assert_eq!(silent.request.async_operations, 1);
    assert!(!silent.answer.user_variables.iter().any(|i| matches!(i, UserVariableItem::Unknown(..))));
}

#[test]
fn roles_and_user_identity_are_answered() {
    let roles = |scu, scp| UserVariableItem::ScuScpRoleSelectionSubItem(CT.into(), RequestorRoles { scu, scp });
    let identity =
        |kind, respond| UserVariableItem::UserIdentityItem(UserIdentity::new(respond, kind, b"u".to_vec(), vec![]));
    let answer = |item| {
        let rq = request(vec![context(1, CT, &[IMPLICIT])], vec![item]);
        negotiate(&policy(), rq).unwrap().answer.user_variables
    };
    assert!(answer(roles(true, true)).contains(&roles(true, false)));
    assert!(answer(roles(false, true)).contains(&roles(false, false)));
    let padded = UserVariableItem::ScuScpRoleSelectionSubItem(
        CT.to_owned() + &"\0".repeat(65_000), // its echo would burst the answer's 16-bit length
        RequestorRoles { scu: true, scp: false },
    );
    assert!(answer(padded).contains(&roles(true, false)));
    let positive = UserVariableItem::Unknown(USER_IDENTITY_RESPONSE, vec![0, 0]);
    for (kind, asks, is_confirmed) in [
        (UserIdentityType::Username, true, true),
        (UserIdentityType::Username, false, false),
        (UserIdentityType::SamlAssertion, true, false),
    ] {
        let rq = request(vec![context(1, CT, &[IMPLICIT])], vec![identity(kind, asks)]);
        let mut negotiated = negotiate(&policy(), rq).unwrap();
        assert!(!negotiated.answer.user_variables.contains(&positive), "nobody is verified yet");
        negotiated.confirm_user();
        assert_eq!(negotiated.answer.user_variables.contains(&positive), is_confirmed);
    }
}

#[test]
fn what_is_no_uid_is_no_syntax() {
    let long = "1.2.".repeat(20);
    for not_uid in ["", "\0", "1.2.3\n", "../../etc/passwd", &long] {
        let got = results(&policy(), vec![context(1, CT, &[not_uid, IMPLICIT]), context(3, not_uid, &[IMPLICIT])]);
        assert_eq!((&got[0].1, &*got[0].2), (&Reason::Acceptance, IMPLICIT), "{not_uid:?}");
        assert_eq!(got[1].1, Reason::AbstractSyntaxNotSupported, "{not_uid:?}");
    }
}

#[test]
fn a_preference_that_is_not_acceptable_gives_way_to_the_next() {
    let mut prefers = policy();
    prefers.accept_unknown_transfer_syntaxes = false;
    prefers.transfer_syntax_preference = vec!["1.2.3".into(), IMPLICIT.into()];
    assert_eq!(results(&prefers, vec![context(1, CT, &[EXPLICIT, "1.2.3", IMPLICIT])])[0].2, IMPLICIT);
}

#[test]
fn a_question_repeated_is_answered_once() {
    let roles =
        |uid: &str| UserVariableItem::ScuScpRoleSelectionSubItem(uid.into(), RequestorRoles { scu: true, scp: true });
    let mut asked = vec![];
    for _ in 0..2000 {
        asked.push(UserVariableItem::Unknown(ASYNC_OPERATIONS_WINDOW, vec![0, 2, 0, 2]));
        asked.push(roles(CT));
        asked.push(roles("1.2.3.4")); // of no context proposed
        asked.push(UserVariableItem::UserIdentityItem(UserIdentity::new(
            true,
            UserIdentityType::Username,
            vec![],
            vec![],
        )));
        asked.push(UserVariableItem::ImplementationVersionName("V".repeat(100)));
    }
    let mut negotiated = negotiate(&policy(), request(vec![context(1, CT, &[IMPLICIT])], asked)).unwrap();
    negotiated.confirm_user();
    negotiated.confirm_user();
    assert_eq!(negotiated.answer.user_variables.len(), 3 + 3);
    assert_eq!(negotiated.request.implementation, "V".repeat(16));
}

#[test]
fn rejections_have_their_own_place_in_tables() {
    for (index, rejection) in Rejection::ALL.into_iter().enumerate() {
        assert_eq!(rejection as usize, index);
        assert!(!rejection.name().is_empty());
    }
}

#[test]
fn no_request_has_more_than_128_contexts_accepted() {
    let proposed: Vec<_> = (0..1000).map(|number| context((number % 256) as u8, CT, &[EXPLICIT])).collect();
    let (contexts, results, _) = answer_contexts(&policy(), &proposed);
    assert_eq!((contexts.count(), results.len()), (128, 256), "the IDs are odd, and each is answered once");
    let accepted = |result: &&PresentationContextResult| result.reason == Reason::Acceptance;
    assert!(results.iter().filter(accepted).all(|result| result.id % 2 == 1));
}
