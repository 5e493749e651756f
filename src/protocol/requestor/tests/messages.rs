//! Requests out, responses in, and requests of the peer.

use super::peer::*;
use crate::command::CommandError;
use crate::requestor::Event;
use crate::{CannotSend, Invocation, Priority, State, Violation};

const C_STORE: u16 = 0x0001;
const C_FIND: u16 = 0x0020;
const C_ECHO: u16 = 0x0030;

/// Elements of a command set: numbers and values.
type Elements<'a> = &'a [(u16, &'a [u8])];

#[test]
fn each_request_is_a_well_formed_command_set() {
    let store = Invocation::Store { sop_class: CT, sop_instance: "1.2.3.45", priority: Priority::of(7) };
    let cases: [(u8, Invocation<'_>, u16, Elements<'_>); 4] = [
        (1, Invocation::Echo, C_ECHO, &[(0x0002, b"1.2.840.10008.1.1\0")]),
        (3, store, C_STORE, &[(0x0002, b"1.2.840.10008.5.1.4.1.1.2\0"), (0x0700, &[1, 0]), (0x1000, b"1.2.3.45")]),
        (
            5,
            Invocation::ReportCommitment { event_type: 2 },
            0x0100,
            &[(0x0002, b"1.2.840.10008.1.20.1"), (0x1000, b"1.2.840.10008.1.20.1.1"), (0x1002, &[2, 0])],
        ),
        (
            7,
            Invocation::Find { sop_class: FIND },
            C_FIND,
            &[(0x0002, b"1.2.840.10008.5.1.4.1.2.2.1\0"), (0x0700, &[0, 0])],
        ),
    ];
    for (context_id, invocation, field, elements) in cases {
        let mut requestor = established(0);
        assert_eq!(requestor.begin(context_id, &invocation), Ok(1));
        requestor.push_dataset(b"dataset");
        requestor.end_dataset();
        let (sent_on, command, dataset) = message(&requestor.take_output(), 0);
        assert_eq!(sent_on, context_id);
        assert_eq!(dataset, if invocation.has_data_set() { &b"dataset"[..] } else { b"" });
        assert_eq!(value(&command, 0x0100), Some(&field.to_le_bytes()[..]));
        assert_eq!(value(&command, 0x0110), Some(&[1, 0][..]));
        assert_eq!(value(&command, 0x0800) == Some(&[1, 1][..]), !invocation.has_data_set());
        assert_eq!(value(&command, 0x0000), Some(&(command.len() as u32 - 12).to_le_bytes()[..]));
        for (element, expected) in elements {
            assert_eq!(value(&command, *element), Some(*expected), "{element:04x}");
        }
    }
}

#[test]
fn a_commitment_is_requested_with_an_n_action() {
    // Of this node's commitments the peer is the SCU; a requestor of its own asks as SCU.
    let mut asking = proposal();
    asking.contexts =
        vec![context(crate::syntaxes::STORAGE_COMMITMENT, &["1.2.840.10008.1.2"], crate::requestor::Role::Scu)];
    let mut requestor = crate::Requestor::new(asking).unwrap();
    requestor.take_output();
    let result = result(1, dicom_ul::pdu::PresentationContextResultReason::Acceptance, "1.2.840.10008.1.2");
    feed(&mut requestor, &acceptance(vec![result], vec![]));
    assert_eq!(requestor.begin(1, &Invocation::ReportCommitment { event_type: 1 }), Err(CannotSend::RoleNotAccepted));
    assert_eq!(requestor.begin(1, &Invocation::RequestCommitment), Ok(1));
    requestor.push_dataset(b"ab");
    requestor.end_dataset();
    let (_, command, _) = message(&requestor.take_output(), 0);
    assert_eq!(value(&command, 0x0003), Some(&b"1.2.840.10008.1.20.1"[..]));
    assert_eq!(value(&command, 0x1001), Some(&b"1.2.840.10008.1.20.1.1"[..]));
    assert_eq!((value(&command, 0x0100), value(&command, 0x1008)), (Some(&[0x30, 1][..]), Some(&[1, 0][..])));
}

#[test]
fn a_dataset_is_cut_to_what_the_peer_takes() {
    let dataset: Vec<u8> = (0..400_000_u32).map(|n| (n / 3) as u8).collect();
    for max_pdu_length in [0, 1, 7, 9, 4096, 16_384, 1 << 20, u32::MAX] {
        let length = if (1..100).contains(&max_pdu_length) { 3000 } else { dataset.len() };
        for piece in [1000, 16_378, 300_000] {
            let mut requestor = established(max_pdu_length);
            requestor
                .begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.2", priority: Priority::Medium })
                .unwrap();
            let mut sent = requestor.take_output();
            for piece in dataset[..length].chunks(piece) {
                requestor.push_dataset(piece);
                sent.extend(requestor.take_output());
            }
            requestor.end_dataset();
            assert!(requestor.output_bytes() <= 129 * 1024 * 2);
            sent.extend(requestor.take_output());
            let (_, _, received) = message(&sent, max_pdu_length);
            assert!(received == dataset[..length], "{max_pdu_length} {piece}");
        }
    }
}

#[test]
fn a_message_ends_before_the_next_begins() {
    let mut requestor = established(0);
    let find = Invocation::Find { sop_class: FIND };
    assert_eq!(requestor.begin(9, &find), Err(CannotSend::ContextNotAccepted));
    assert_eq!(requestor.begin(7, &find), Ok(1));
    assert_eq!(requestor.begin(1, &Invocation::Echo), Err(CannotSend::MessageUnderWay));
    assert_eq!(requestor.release(), Err(CannotSend::MessageUnderWay));
    requestor.end_dataset();
    assert_eq!(requestor.begin(1, &Invocation::Echo), Ok(2));
    requestor.take_output();
    requestor.push_dataset(b"of nothing");
    requestor.end_dataset();
    assert_eq!(requestor.output_bytes(), 0);
}

#[test]
fn responses_come_in_any_order_and_with_their_datasets() {
    for piece in [1, 9, 10_000] {
        let mut requestor = established(0);
        requestor.begin(7, &Invocation::Find { sop_class: FIND }).unwrap();
        requestor.push_dataset(b"id");
        requestor.end_dataset();
        requestor.begin(1, &Invocation::Echo).unwrap();
        let bytes = [
            p_data(7, true, true, &response(C_FIND, 1, 0xFF00, true)),
            p_data(7, false, false, b"a match"),
            p_data(7, false, true, b", whole"),
            p_data(1, true, true, &response(C_ECHO, 2, 0, false)),
            p_data(7, true, true, &response(C_FIND, 1, 0xFF01, true)),
            p_data(7, false, true, b"another"),
            p_data(7, true, true, &response(C_FIND, 1, 0, false)),
        ];
        let events = feed_cut(&mut requestor, &bytes.concat(), piece);
        let told: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Responded(response) => format!("{} {:04X}", response.message_id, response.status),
                Event::Fragment(fragment) => String::from_utf8(fragment.to_vec()).unwrap(),
                Event::DatasetComplete => "end".to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, ["1 FF00", "a match, whole", "end", "2 0000", "1 FF01", "another", "end", "1 0000"]);
        assert_eq!(requestor.outstanding(), 0);
    }
}

#[test]
fn a_response_may_come_before_the_end_of_the_request() {
    let mut requestor = established(0);
    requestor.begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.2", priority: Priority::Medium }).unwrap();
    requestor.push_dataset(b"half");
    let events = feed(&mut requestor, &p_data(3, true, true, &response(C_STORE, 1, 0xA700, false)));
    assert!(matches!(&events[..], [Event::Responded(response)] if response.status == 0xA700));
    requestor.end_dataset();
    let (_, _, dataset) = message(&requestor.take_output(), 0);
    assert_eq!(dataset, b"half");
}

#[test]
fn a_response_that_answers_nothing_is_aborted() {
    let unexpected = [
        p_data(1, true, true, &response(C_ECHO, 2, 0, false)),
        p_data(1, true, true, &response(C_STORE, 1, 0, false)),
        p_data(3, true, true, &response(C_ECHO, 1, 0, false)),
    ];
    for bytes in unexpected {
        let mut requestor = established(0);
        requestor.begin(1, &Invocation::Echo).unwrap();
        requestor.take_output();
        let violation = Violation::Command(CommandError::UnexpectedResponse);
        assert_eq!(feed(&mut requestor, &bytes), [Event::Violated(violation)]);
        assert_eq!(requestor.take_output(), [7, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(requestor.state(), State::Sta13);
    }
    for (bytes, violation) in [
        (p_data(9, true, true, b"ab"), Violation::ContextNotAccepted(9)),
        (p_data(1, false, true, b"ab"), Violation::UnexpectedPdv),
        (p_data(1, true, false, &[0; 1026]), Violation::CommandSetLength { allowed: 1024 }),
        (p_data(1, true, true, b"ab"), Violation::Command(CommandError::Truncated)),
        (vec![4, 0, 0, 0, 0x40, 1], Violation::PduLength { pdu_type: 4, length: 16_385 }),
        (vec![4, 0, 0, 0, 0, 10, 0, 0, 0, 9, 1, 3], Violation::PdvLength(9)),
    ] {
        let mut requestor = established(0);
        assert_eq!(feed(&mut requestor, &bytes), [Event::Violated(violation)]);
        assert_eq!(requestor.take_output()[0], 7);
    }
}

#[test]
fn requests_of_the_peer_are_refused() {
    let mut requestor = established(0);
    let bytes = [
        p_data(1, true, true, &request(C_ECHO, 77, false)),
        p_data(5, true, true, &request(0x0100, 78, true)),
        p_data(5, false, true, b"dropped"),
        p_data(1, true, true, &request(0x0FFF, 79, false)), // a C-CANCEL has no response
    ];
    let events = feed_cut(&mut requestor, &bytes.concat(), 4);
    assert_eq!(events, [Event::OperationRefused(C_ECHO), Event::OperationRefused(0x0100)]);
    let sent = requestor.take_output();
    let pdus = decode(&sent);
    assert_eq!(pdus.len(), 2);
    let (_, command, _) = message(&encode(&pdus[0]), 0);
    assert_eq!((value(&command, 0x0120), value(&command, 0x0900)), (Some(&[77, 0][..]), Some(&[0x11, 0x02][..])));

    // While a dataset is being sent, the refusal waits for its end.
    requestor.begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.2", priority: Priority::Medium }).unwrap();
    feed(&mut requestor, &p_data(1, true, true, &request(C_ECHO, 80, false)));
    requestor.push_dataset(b"data");
    requestor.end_dataset();
    let pdus = decode(&requestor.take_output());
    let contexts: Vec<_> = pdus
        .iter()
        .map(|pdu| match pdu {
            dicom_ul::pdu::Pdu::PData { data } => data[0].presentation_context_id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(contexts, [3, 3, 1]);
}

#[test]
fn a_dataset_of_fragments_that_the_caller_sends_is_the_same_on_the_wire() {
    let dataset: Vec<u8> = (0..3_000_001_u32).map(|n| (n / 5) as u8).collect();
    for max_pdu_length in [0, 9, 4096, 16_384, u32::MAX] {
        let length = if max_pdu_length == 9 { 3001 } else { dataset.len() };
        let mut requestor = established(max_pdu_length);
        requestor
            .begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.2", priority: Priority::Medium })
            .unwrap();
        let mut sent = requestor.take_output();
        let most = requestor.most_fragment_bytes();
        assert!(most <= 1 << 20 && most.is_multiple_of(2));
        // A refusal waits for the end of the dataset: nothing may stand between its fragments.
        feed(&mut requestor, &p_data(1, true, true, &request(C_ECHO, 80, false)));
        let mut fragments = dataset[..length].chunks(most).peekable();
        while let Some(fragment) = fragments.next() {
            let header = requestor.fragment(fragment.len(), fragments.peek().is_none()).unwrap();
            assert_eq!(requestor.output_bytes() == 0, fragments.peek().is_some());
            sent.extend(header);
            sent.extend(fragment);
        }
        let (context, _, received) = message(&sent, max_pdu_length);
        assert!(context == 3 && received == dataset[..length], "{max_pdu_length}");
        assert!(!requestor.take_output().is_empty(), "the refusal");
        assert_eq!(requestor.fragment(2, false), None, "the dataset has ended");
        assert_eq!(requestor.begin(1, &Invocation::Echo), Ok(2), "and the next message may begin");
    }
}

#[test]
fn a_dataset_is_sent_in_one_way_only() {
    let mut requestor = established(0);
    assert_eq!(requestor.fragment(2, true), None, "none is under way");
    requestor.begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.2", priority: Priority::Medium }).unwrap();
    requestor.push_dataset(b"held");
    assert_eq!(requestor.fragment(2, true), None);
    requestor.abort();
    let mut requestor = established(0);
    requestor.begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.2", priority: Priority::Medium }).unwrap();
    assert!(requestor.fragment(0, true).is_some(), "an empty dataset has an end as well");
    requestor.begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.3", priority: Priority::Medium }).unwrap();
    feed(&mut requestor, &[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    assert!(requestor.fragment(2, false).is_some(), "a peer that asks for release gets the rest");
    requestor.answer_release();
    assert_eq!(requestor.fragment(2, false), None);
}
