//! Storage commitment on the acceptor's side: N-ACTION in, N-EVENT-REPORT out, on the bytes.

use std::sync::Arc;

use bytes::BytesMut;
use dicom_ul::pdu::{PDataValueType, Pdu, PresentationContextResultReason as Reason, RequestorRoles, UserVariableItem};
use proptest::prelude::*;

use super::peer::*;
use crate::syntaxes::{STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE};
use crate::{ActionStatus, Association, CannotSend, ErrorComment, Event, Policy, State, Status, Violation};

const N_EVENT_REPORT: u16 = 0x0100;
const N_GET: u16 = 0x0110;
const N_ACTION: u16 = 0x0130;

/// An association of CT (1), commitment in the given syntaxes (3) and Verification (5), and the items of its answer.
fn associated(
    enabled: bool,
    syntaxes: &[&str],
    roles: Option<RequestorRoles>,
    max_pdu_length: u32,
) -> (Association, dicom_ul::pdu::AssociationAC) {
    let mut request = associate_rq(max_pdu_length);
    request.presentation_contexts = vec![
        proposed(1, CT, &[EXPLICIT]),
        proposed(3, &format!("{STORAGE_COMMITMENT}\0"), syntaxes),
        proposed(5, VERIFICATION, &[IMPLICIT]),
    ];
    let role = |roles| UserVariableItem::ScuScpRoleSelectionSubItem(STORAGE_COMMITMENT.into(), roles);
    request.user_variables.extend(roles.map(role));
    let mut association = Association::new(Arc::new(Policy { storage_commitment: enabled, ..policy() }));
    feed(&mut association, &encode(&Pdu::AssociationRQ(request)));
    association.accept();
    let answer = decode(&association.take_output());
    let [Pdu::AssociationAC(answer)] = &answer[..] else { panic!("{answer:?}") };
    (association, answer.clone())
}

fn ready(max_pdu_length: u32) -> Association {
    associated(true, &[IMPLICIT], None, max_pdu_length).0
}

fn n_action(message_id: u16, has_data_set: bool) -> Vec<u8> {
    let extra: [(u16, &[u8]); 3] =
        [(0x0003, STORAGE_COMMITMENT.as_bytes()), (0x1001, STORAGE_COMMITMENT_INSTANCE.as_bytes()), (0x1008, &[1, 0])];
    command_with(N_ACTION, message_id, has_data_set, &extra)
}

/// The response to a report of this node.
fn report_response(message_id: u16, status: u16, extra: &[(u16, &[u8])]) -> Vec<u8> {
    let (id, status) = (message_id.to_le_bytes(), status.to_le_bytes());
    let fields: [(u16, &[u8]); 2] = [(0x0120, &id), (0x0900, &status)];
    command_with(N_EVENT_REPORT | 0x8000, 0, false, &[&fields[..], extra].concat())
}

#[test]
fn a_context_of_storage_commitment_is_accepted_where_the_policy_says_so() {
    let cases: [(bool, &[&str], _); 5] = [
        (true, &[EXPLICIT, IMPLICIT], Ok(EXPLICIT)),
        (true, &["1.2.840.10008.1.2.4.70", IMPLICIT], Ok(IMPLICIT)),
        (true, &["1.2.840.10008.1.2.1\0"], Ok("1.2.840.10008.1.2.1\0")),
        (true, &["1.2.840.10008.1.2.2"], Err(Reason::TransferSyntaxesNotSupported)),
        (false, &[IMPLICIT], Err(Reason::AbstractSyntaxNotSupported)),
    ];
    for (enabled, syntaxes, expected) in cases {
        let (association, answer) = associated(enabled, syntaxes, None, 0);
        let result = &answer.presentation_contexts[1];
        let expected_reason = expected.as_ref().err().unwrap_or(&Reason::Acceptance);
        assert_eq!((result.id, &result.reason), (3, expected_reason), "{syntaxes:?}");
        let report = association.report_context().map(|(id, syntax)| (id, syntax.to_string()));
        assert_eq!(report, expected.ok().map(|syntax| (3, syntax.trim_end_matches('\0').to_owned())));
    }
}

#[test]
fn a_requestor_is_the_scu_of_storage_commitment_and_never_its_scp() {
    for (scu, scp) in [(true, false), (true, true), (false, true), (false, false)] {
        let (association, answer) = associated(true, &[IMPLICIT], Some(RequestorRoles { scu, scp }), 0);
        let role =
            UserVariableItem::ScuScpRoleSelectionSubItem(STORAGE_COMMITMENT.into(), RequestorRoles { scu, scp: false });
        assert!(answer.user_variables.contains(&role));
        assert_eq!(association.report_context().is_some(), scu, "a report goes to an SCU");
    }
}

#[test]
fn commitment_alone_is_no_context_to_store_on() {
    let mut request = associate_rq(0);
    request.presentation_contexts = vec![proposed(1, STORAGE_COMMITMENT, &[IMPLICIT])];
    let mut association = Association::new(Arc::new(Policy { storage_commitment: true, ..policy() }));
    feed(&mut association, &encode(&Pdu::AssociationRQ(request)));
    assert!(!association.can_store());
    association.accept();
    let events = feed(&mut association, &p_data(vec![command_pdv(1, true, &command(C_STORE, 1, false))]));
    assert!(matches!(&events[..], [Event::StoreRequested(request)] if !request.is_storage_context()));
}

#[test]
fn an_n_action_is_passed_on_with_its_dataset_and_answered() {
    for piece in [1, 7, 10_000] {
        let mut association = ready(0);
        let bytes = p_data(vec![
            command_pdv(3, true, &n_action(9, true)),
            data_pdv(3, false, b"action "),
            data_pdv(3, true, b"information"),
        ]);
        let mut events = joined(feed_cut(&mut association, &bytes, piece));
        let last = events.split_off(1);
        let [Event::ActionRequested(request)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((request.action_type(), request.fault(), request.has_data_set), (Some(1), None, true));
        assert_eq!(&*request.transfer_syntax, IMPLICIT);
        assert_eq!(last, [Event::Fragment(b"action information"[..].into()), Event::DatasetComplete]);

        assert!(!association.has_output(), "it is the caller who answers");
        association.respond_action(&request.operation, ActionStatus::Success, &ErrorComment::new("not said"));
        association.respond_action(&request.operation, ActionStatus::ResourceLimitation, &ErrorComment::new("full"));
        let sent = responses(&association.take_output());
        let [(3, good), (3, bad)] = &sent[..] else { panic!("{sent:?}") };
        for (response, status) in [(good, [0, 0]), (bad, [0x13, 0x02])] {
            assert_eq!(response[&0x0100], [0x30, 0x81]);
            assert_eq!(response[&0x0120], [9, 0]);
            assert_eq!(response[&0x0800], [1, 1]);
            assert_eq!(response[&0x0900], status);
            assert_eq!(response[&0x0002], b"1.2.840.10008.1.20.1");
            assert_eq!(response[&0x1000], b"1.2.840.10008.1.20.1.1");
            assert_eq!(response[&0x1008], [1, 0]);
        }
        assert!(!good.contains_key(&0x0902) && bad[&0x0902] == b"full");
    }
}

#[test]
fn an_n_action_for_something_else_is_told_apart() {
    let cases: [(u16, &[u8], _); 5] = [
        (0x0003, b"1.2.3\0", ActionStatus::NoSuchSopClass),
        (0x0003, b"", ActionStatus::NoSuchSopClass),
        (0x1001, b"1.2.840.10008.1.20.1.2", ActionStatus::NoSuchSopInstance),
        (0x1008, &[2, 0], ActionStatus::NoSuchAction),
        (0x1008, b"", ActionStatus::NoSuchAction),
    ];
    for (element, value, status) in cases {
        let uid = [STORAGE_COMMITMENT.as_bytes(), b" "].concat();
        let good: [(u16, &[u8]); 3] =
            [(0x0003, &uid), (0x1001, STORAGE_COMMITMENT_INSTANCE.as_bytes()), (0x1008, &[1, 0])];
        let command = command_with(N_ACTION, 1, false, &[&good[..], &[(element, value)]].concat());
        let events = feed(&mut ready(0), &p_data(vec![command_pdv(3, true, &command)]));
        let [Event::ActionRequested(request)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((request.fault(), request.has_data_set), (Some(status), false));
    }
}

#[test]
fn every_other_service_of_group_n_is_refused_and_n_action_elsewhere_too() {
    for (context_id, field) in [(3, N_GET), (3, N_EVENT_REPORT), (3, 0x0120), (3, 0x0140), (1, N_ACTION), (5, N_ACTION)]
    {
        let mut association = ready(0);
        let bytes = p_data(vec![
            command_pdv(context_id, true, &command(field, 4, true)),
            data_pdv(context_id, true, b"dropped"),
            command_pdv(5, true, &command(C_ECHO, 5, false)),
        ]);
        assert_eq!(feed(&mut association, &bytes), [Event::OperationRefused(field), Event::Echoed]);
        let sent = responses(&association.take_output());
        assert_eq!((sent[0].0, &sent[0].1[&0x0900][..]), (context_id, &[0x11, 0x02][..]));
        assert_eq!(association.state(), State::Sta6);
    }
}

#[test]
fn the_dataset_of_an_n_action_is_not_offered_for_direct_reading() {
    let mut association = ready(0);
    let bytes = p_data(vec![command_pdv(3, true, &n_action(1, true)), data_pdv(3, true, b"data")]);
    feed(&mut association, &bytes[..bytes.len() - 2]);
    assert_eq!(association.dataset_left(), 0);
}

/// The PDVs of a report: its command set and its dataset.
fn report_of(sent: &[u8], max_pdu_length: u32) -> (std::collections::BTreeMap<u16, Vec<u8>>, Vec<u8>) {
    let (mut command, mut dataset, mut is_complete) = (vec![], vec![], false);
    for pdu in decode(sent) {
        let Pdu::PData { data } = pdu else { panic!("{pdu:?}") };
        let [value] = &data[..] else { panic!("{data:?}") };
        assert_eq!(value.presentation_context_id, 3);
        assert!(max_pdu_length == 0 || value.data.len() + 6 <= (max_pdu_length as usize).max(8));
        assert!(value.is_last || value.data.len() % 2 == 0);
        assert!(!is_complete, "behind the end");
        match value.value_type {
            PDataValueType::Command => command.extend(&value.data),
            PDataValueType::Data => {
                dataset.extend(&value.data);
                is_complete = value.is_last;
            }
        }
    }
    assert!(is_complete);
    (elements(&command), dataset)
}

#[test]
fn a_report_is_a_whole_message_in_what_the_peer_takes() {
    let dataset: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    for (max_pdu_length, piece) in [(0, 1000), (0, 300_000), (16_384, 16_378), (16_384, 16_379), (65_536, 7), (40, 33)]
    {
        let mut association = ready(max_pdu_length);
        assert!(!association.is_reporting());
        assert_eq!(association.begin_event_report(2), Ok(1));
        let mut sent = association.take_output();
        for piece in dataset.chunks(piece) {
            association.push_report(piece);
            sent.extend(association.take_output());
        }
        association.end_report();
        sent.extend(association.take_output());
        let (command, received) = report_of(&sent, max_pdu_length);
        assert!(received == dataset, "{max_pdu_length} {piece}");
        assert_eq!(command[&0x0002], b"1.2.840.10008.1.20.1");
        assert_eq!(command[&0x0100], [0x00, 0x01]);
        assert_eq!(command[&0x0110], [1, 0]);
        assert_ne!(command[&0x0800], [1, 1]);
        assert_eq!(command[&0x1000], b"1.2.840.10008.1.20.1.1");
        assert_eq!(command[&0x1002], [2, 0]);
        let lengths: usize = command.values().map(|value| value.len() + 8).sum();
        assert_eq!(command[&0x0000], ((lengths - 12) as u32).to_le_bytes());
        assert!(association.is_reporting());
    }
}

#[test]
fn a_report_of_any_size_ends_with_its_last_bytes() {
    // A fragment that is the last must not be followed by an empty one: some readers refuse it.
    for length in [1, 9, 10, 11, 20] {
        let mut association = ready(16);
        association.begin_event_report(1).unwrap();
        association.take_output();
        association.push_report(&vec![7; length]);
        association.end_report();
        let pdus = decode(&association.take_output());
        assert_eq!(pdus.len(), length.div_ceil(10), "{length}");
    }
}

#[test]
fn responses_wait_for_the_end_of_the_report_under_way() {
    let mut association = ready(0);
    association.begin_event_report(1).unwrap();
    association.push_report(b"event ");
    let bytes = p_data(vec![
        command_pdv(1, true, &command(C_STORE, 7, true)),
        data_pdv(1, true, b"x"),
        command_pdv(5, true, &command(C_ECHO, 8, false)),
    ]);
    let events = feed(&mut association, &bytes);
    let [Event::StoreRequested(request), .., Event::Echoed] = &events[..] else { panic!("{events:?}") };
    association.respond(&request.operation, Status::Success, &ErrorComment::default());
    association.push_report(b"information");
    association.end_report();
    let sent = association.take_output();
    let pdus = decode(&sent);
    let of = |pdu: &Pdu| {
        let Pdu::PData { data } = pdu else { panic!("{pdu:?}") };
        (data[0].presentation_context_id, data[0].value_type.clone(), data[0].is_last)
    };
    let order: Vec<_> = pdus.iter().map(of).collect();
    let command = PDataValueType::Command;
    assert_eq!(
        order,
        [(3, command.clone(), true), (3, PDataValueType::Data, true), (5, command.clone(), true), (1, command, true)]
    );
}

#[test]
fn responses_that_wait_for_the_end_of_a_report_have_a_bound() {
    let mut association = ready(0);
    let echo = p_data(vec![command_pdv(5, true, &command(C_ECHO, 8, false))]);
    feed(&mut association, &echo.repeat(2000));
    assert!(!association.is_congested(), "none waits without a report");
    association.take_output();
    association.begin_event_report(1).unwrap();
    association.push_report(b"event ");
    let mut input = BytesMut::from(&echo.repeat(2000)[..]);
    let mut answered = 0;
    while !association.is_congested() {
        assert_eq!(association.poll(&mut input), Some(Event::Echoed));
        answered += 1;
    }
    assert!((500..1000).contains(&answered), "{answered}");
    association.push_report(b"information");
    association.end_report();
    assert!(!association.is_congested());
    let sent = association.take_output();
    assert!((64 * 1024..66 * 1024).contains(&sent.len()), "{}", sent.len());
    assert_eq!(decode(&sent).len(), 2 + answered, "each is answered");
}

#[test]
fn there_is_one_report_at_a_time() {
    let mut association = ready(0);
    assert_eq!(association.begin_event_report(1), Ok(1));
    assert_eq!(association.begin_event_report(1), Err(CannotSend::MessageUnderWay));
    association.push_report(b"ab");
    association.end_report();
    assert_eq!(association.begin_event_report(1), Err(CannotSend::WindowFull));
    // Its response comes in the middle of what the peer does.
    let bytes = p_data(vec![
        command_pdv(1, true, &command(C_STORE, 1, true)),
        data_pdv(1, true, b"x"),
        command_pdv(3, true, &report_response(1, 0x0110, &[(0x0902, b"no \x1bspace "), (0x1002, &[1, 0])])),
        command_pdv(1, true, &command(C_STORE, 2, false)),
    ]);
    let events = feed_cut(&mut association, &bytes, 3);
    let reported = events.iter().filter_map(|event| match event {
        Event::EventReported(response) => Some(response),
        _ => None,
    });
    let [response] = &reported.collect::<Vec<_>>()[..] else { panic!("{events:?}") };
    assert_eq!((response.message_id, response.status, response.event_type), (1, 0x0110, Some(1)));
    assert_eq!(response.comment.as_str(), "no ?space");
    assert_eq!(events.iter().filter(|event| matches!(event, Event::StoreRequested(_))).count(), 2);
    assert!(!association.is_reporting());
    assert_eq!(association.begin_event_report(2), Ok(2));
}

#[test]
fn a_response_without_event_type_or_with_a_dataset_is_a_response() {
    let mut association = ready(0);
    association.begin_event_report(1).unwrap();
    association.end_report();
    let response = report_response(1, 0, &[(0x0800, &[0, 0])]);
    let bytes =
        p_data(vec![command_pdv(3, true, &response), data_pdv(3, false, b"event"), data_pdv(3, true, b"reply")]);
    let events = feed(&mut association, &bytes);
    let [Event::EventReported(response)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((response.status, response.event_type, response.comment.as_str()), (0, None, ""));
}

#[test]
fn a_response_to_nothing_is_a_violation() {
    let wrong: [&[(u16, &[u8])]; 3] = [&[(0x0120, &[2, 0])], &[(0x0100, &[0x01, 0x80])], &[(0x0100, &[0x30, 0x81])]];
    let once = report_response(1, 0, &[]);
    let mut cases: Vec<_> = wrong.iter().map(|extra| vec![report_response(1, 0, extra)]).collect();
    cases.push(vec![once.clone(), once]);
    for responses in cases {
        let mut association = ready(0);
        association.begin_event_report(1).unwrap();
        association.end_report();
        association.take_output();
        let pdvs = responses.iter().map(|response| command_pdv(3, true, response)).collect();
        let events = feed(&mut association, &p_data(pdvs));
        let violated = Event::Violated(Violation::Command(crate::command::CommandError::UnexpectedResponse));
        assert_eq!(events.last(), Some(&violated));
        assert_eq!(association.take_output(), abort_bytes(0, 0));
    }
}

#[test]
fn there_is_no_report_without_a_context_a_role_or_an_association() {
    let begin = |mut association: Association| (association.begin_event_report(1), association.take_output());
    let nothing = |error| (Err(error), vec![]);
    assert_eq!(begin(established()), nothing(CannotSend::ContextNotAccepted));
    let scp = RequestorRoles { scu: false, scp: true };
    let (as_scp, _) = associated(true, &[IMPLICIT], Some(scp), 0);
    assert_eq!(begin(as_scp), nothing(CannotSend::ContextNotAccepted));
    let mut releasing = ready(0);
    feed(&mut releasing, &encode(&Pdu::ReleaseRQ));
    assert_eq!(begin(releasing), nothing(CannotSend::NotEstablished));
    let mut aborted = ready(0);
    aborted.abort();
    aborted.take_output();
    assert_eq!(begin(aborted), nothing(CannotSend::NotEstablished));
    let mut idle = ready(0);
    idle.push_report(b"of nothing");
    idle.end_report();
    assert!(!idle.has_output());
}

#[test]
fn a_report_under_way_ends_with_its_association() {
    let mut association = ready(0);
    association.begin_event_report(1).unwrap();
    association.push_report(b"half");
    feed(&mut association, &p_data(vec![command_pdv(5, true, &command(C_ECHO, 8, false))]));
    association.take_output();
    association.abort();
    association.push_report(b"more");
    association.end_report();
    assert_eq!(association.take_output(), abort_bytes(0, 0));

    let mut association = ready(0);
    association.begin_event_report(1).unwrap();
    association.take_output();
    feed(&mut association, &encode(&Pdu::ReleaseRQ));
    association.push_report(b"all"); // AR-7: the association is not released yet
    association.end_report();
    association.answer_release();
    let sent = decode(&association.take_output());
    assert!(matches!(sent[..], [Pdu::PData { .. }, Pdu::ReleaseRP]), "{sent:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the report is pushed, and whatever the peer takes, the same dataset arrives.
    #[test]
    fn any_cut_of_a_report_is_the_same_report(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..10),
        max_pdu_length in prop_oneof![Just(0), 0..300_u32],
    ) {
        let mut association = ready(max_pdu_length);
        association.begin_event_report(1).unwrap();
        for piece in &pieces {
            association.push_report(piece);
        }
        association.end_report();
        let (_, dataset) = report_of(&association.take_output(), max_pdu_length);
        prop_assert_eq!(dataset, pieces.concat());
    }
}
