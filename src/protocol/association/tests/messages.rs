//! Messages: how PDVs make them, which break them, and what is answered.

use super::peer::*;
use crate::event::Event;
use crate::{ErrorComment, State, Status};
use bytes::{BufMut, BytesMut};

/// C-GET, C-FIND, C-MOVE, the N-services of PS3.7 §10, and one the standard does not know.
const UNSERVED: [u16; 10] = [0x0010, 0x0020, 0x0021, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0ABC];

#[test]
fn a_c_store_is_handed_out_with_its_context() {
    let bytes = p_data(vec![store_pdv(), data_pdv(1, false, b"da"), data_pdv(1, true, b"ta")]);
    let (events, output) = said(&bytes);
    let [Event::StoreRequested(request), Event::Fragment(data), Event::DatasetComplete] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&*request.abstract_syntax, &*request.transfer_syntax), (CT, EXPLICIT));
    assert_eq!((request.operation.context_id, request.operation.message_id), (1, 1));
    assert_eq!(request.affected_sop_class_uid(), b"1.2.840.10008.5.1.4.1.1.2\0");
    assert_eq!(request.affected_sop_instance_uid(), b"1.2.3.4\0");
    assert!(request.has_data_set && request.is_storage_context());
    assert_eq!((&data[..], &output[..]), (&b"data"[..], &b""[..]));
}

#[test]
fn a_c_store_says_when_no_dataset_follows_and_when_its_context_stores_nothing() {
    let (events, _) = said(&p_data(vec![command_pdv(3, true, &command(C_STORE, 1, false))]));
    let [Event::StoreRequested(request)] = &events[..] else { panic!("{events:?}") };
    assert!(!request.has_data_set && !request.is_storage_context());
}

#[test]
fn a_dataset_is_sliced_not_copied_and_not_waited_for() {
    let mut association = established();
    let bytes = p_data(vec![store_pdv(), data_pdv(1, true, &[9; 1000])]);
    let mut input = BytesMut::with_capacity(4096);
    input.put_slice(&bytes[..bytes.len() - 400]);
    let buffer = input.as_ptr_range();
    assert!(matches!(association.poll(&mut input), Some(Event::StoreRequested(_))));
    let Some(Event::Fragment(fragment)) = association.poll(&mut input) else { panic!() };
    assert_eq!(fragment.len(), 600);
    assert!(buffer.contains(&fragment.as_ptr()));
    assert_eq!((association.poll(&mut input), association.needed()), (None, 1));
}

#[test]
fn empty_pdvs_and_pdus_say_nothing_but_that_something_ends() {
    let store = command(C_STORE, 1, true);
    let bytes = [
        p_data(vec![]),
        p_data(vec![command_pdv(1, false, b""), command_pdv(1, false, &store), command_pdv(1, false, b"")]),
        p_data(vec![command_pdv(1, true, b"")]),
        p_data(vec![]),
        p_data(vec![data_pdv(1, false, b""), data_pdv(1, false, b"x"), data_pdv(1, false, b"")]),
        p_data(vec![data_pdv(1, true, b"")]),
        p_data(vec![store_pdv(), data_pdv(1, true, b"")]),
    ]
    .concat();
    let (events, _) = said(&bytes);
    assert!(
        matches!(
            &events[..],
            [Event::StoreRequested(_), Event::Fragment(x), Event::DatasetComplete, Event::StoreRequested(_), Event::DatasetComplete]
                if &x[..] == b"x"
        ),
        "{events:?}"
    );
}

#[test]
fn several_messages_may_share_a_pdu() {
    let bytes = p_data(vec![
        store_pdv(),
        data_pdv(1, true, b"one"),
        command_pdv(3, true, &command(C_ECHO, 2, false)),
        command_pdv(7, false, &command(C_STORE, 3, true)[..5]),
        command_pdv(7, true, &command(C_STORE, 3, true)[5..]),
        data_pdv(7, false, b"tw"),
        data_pdv(7, true, b"o"),
    ]);
    let (events, output) = said(&bytes);
    let [
        Event::StoreRequested(first),
        Event::Fragment(one),
        Event::DatasetComplete,
        Event::Echoed,
        Event::StoreRequested(second),
        Event::Fragment(two),
        Event::DatasetComplete,
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((&*first.abstract_syntax, &one[..]), (CT, &b"one"[..]));
    assert_eq!((&*second.abstract_syntax, &two[..]), (MR, &b"two"[..]));
    assert_eq!(responses(&output).len(), 1);
}

#[test]
fn a_c_echo_is_answered_with_success() {
    let (events, output) = said(&p_data(vec![command_pdv(3, true, &command(C_ECHO, 0x1234, false))]));
    assert_eq!(events, [Event::Echoed]);
    let [(context_id, response)] = &responses(&output)[..] else { panic!("not one response") };
    assert_eq!(*context_id, 3);
    assert_eq!(response[&0x0100], [0x30, 0x80]);
    assert_eq!(response[&0x0120], [0x34, 0x12]);
    assert_eq!(response[&0x0800], [1, 1]);
    assert_eq!(response[&0x0900], [0, 0]);
    assert!(!response.contains_key(&0x0902));
}

#[test]
fn what_is_not_served_is_refused_and_its_dataset_swallowed() {
    let echo = p_data(vec![command_pdv(3, true, &command(C_ECHO, 1, false))]);
    for field in UNSERVED {
        for has_data_set in [false, true] {
            let mut bytes = p_data(vec![command_pdv(1, true, &command(field, 0xFFFE, has_data_set))]);
            if has_data_set {
                bytes.extend(p_data(vec![data_pdv(1, false, &[1; 500]), data_pdv(1, true, b"query")]));
            }
            bytes.extend(&echo);
            let (events, output) = said(&bytes);
            assert_eq!(events, [Event::OperationRefused(field), Event::Echoed]);
            let responses = responses(&output);
            assert_eq!(responses.len(), 2);
            let (context_id, response) = &responses[0];
            assert_eq!(*context_id, 1);
            assert_eq!(response[&0x0100], (field | 0x8000).to_le_bytes());
            assert_eq!(response[&0x0120], [0xFE, 0xFF]);
            assert_eq!(response[&0x0800], [1, 1]);
            assert_eq!(response[&0x0900], [0x11, 0x02]);
            assert!((1..=64).contains(&response[&0x0902].len()));
        }
    }
}

#[test]
fn the_answer_to_a_refused_request_waits_for_its_dataset() {
    let mut association = established();
    assert_eq!(feed(&mut association, &p_data(vec![command_pdv(1, true, &command(C_FIND, 1, true))])), []);
    assert!(!association.has_output());
    assert_eq!(feed(&mut association, &p_data(vec![data_pdv(1, true, b"")])), [Event::OperationRefused(C_FIND)]);
    assert!(association.has_output());
}

#[test]
fn a_c_cancel_has_no_response() {
    let mut cancel = command(C_CANCEL, 1, false);
    let at = cancel.windows(4).position(|w| w == [0, 0, 0x10, 0x01]).unwrap();
    cancel[at + 2] = 0x20; // it has a Message ID Being Responded To instead of a Message ID
    let (events, output) = said(&p_data(vec![command_pdv(1, true, &cancel)]));
    assert_eq!((events, output), (vec![], vec![]));
}

#[test]
fn responses_are_cut_to_what_the_peer_takes() {
    for max_pdu_length in [8, 16, 17, 100, 0, 16384] {
        let mut association = association_in(State::Sta6, max_pdu_length);
        let events = feed(&mut association, &p_data(vec![store_pdv(), data_pdv(1, true, b"x")]));
        let [Event::StoreRequested(request), ..] = &events[..] else { panic!("{events:?}") };
        association.respond(&request.operation, Status::OutOfResources, &ErrorComment::new("storage is full"));
        let output = association.take_output();
        for pdu in decode(&output) {
            let dicom_ul::pdu::Pdu::PData { data } = pdu else { panic!("{pdu:?}") };
            for value in data {
                assert!(max_pdu_length == 0 || value.data.len() + 6 <= max_pdu_length as usize);
                assert_eq!(value.data.len() % 2, 0);
            }
        }
        let [(1, response)] = &responses(&output)[..] else { panic!("not one response on context 1") };
        assert_eq!(response[&0x0100], [0x01, 0x80]);
        assert_eq!(response[&0x0900], [0x00, 0xA7]);
        assert_eq!(response[&0x0902], b"storage is full ");
        assert_eq!(response[&0x1000], b"1.2.3.4\0");
    }
}

#[test]
fn responses_may_still_go_out_after_the_peer_asked_for_release() {
    let mut association = established();
    let mut bytes = p_data(vec![store_pdv(), data_pdv(1, true, b"x")]);
    bytes.extend([5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    let events = feed(&mut association, &bytes);
    let [Event::StoreRequested(request), .., Event::ReleaseRequested] = &events[..] else { panic!("{events:?}") };
    association.respond(&request.operation, Status::Success, &ErrorComment::default());
    association.answer_release();
    association.respond(&request.operation, Status::Success, &ErrorComment::default());
    let sent = decode(&association.take_output());
    assert!(matches!(sent[..], [dicom_ul::pdu::Pdu::PData { .. }, dicom_ul::pdu::Pdu::ReleaseRP]), "{sent:?}");
}
