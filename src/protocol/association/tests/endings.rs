//! How associations end: in time, too late, in the middle of a PDU or of a dataset, and with what is said afterwards.

use std::sync::Arc;

use super::peer::*;
use crate::event::{Event, PeerAbort, Violation};
use crate::{Association, Rejection, State::*};
use bytes::BytesMut;
use dicom_ul::pdu::{AbortRQSource, Pdu};

#[test]
fn an_answer_that_comes_too_late_is_not_sent() {
    for late in [Association::accept, |a: &mut Association| a.reject(Rejection::CalledAeTitle)] {
        let mut association = association_in(Sta3, 0);
        feed(&mut association, &encode(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser }));
        late(&mut association);
        assert_eq!(association.take_output(), b"");
        assert_eq!(association.state(), Sta1);

        let mut association = association_in(Sta3, 0);
        feed(&mut association, &encode(&Pdu::ReleaseRQ));
        late(&mut association);
        assert_eq!(association.take_output(), abort_bytes(2, 2));
    }
}

#[test]
fn after_the_peers_abort_nothing_is_heard() {
    let mut association = established();
    let mut bytes = encode(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser });
    bytes.extend(associate_bytes());
    bytes.extend([0xFF; 100]);
    assert_eq!(feed(&mut association, &bytes).len(), 1);
    assert_eq!(feed(&mut association, &[0xFF; 100]), []);
    assert!(!association.has_output());
}

#[test]
fn after_our_abort_the_rest_of_the_pdu_is_not_heard() {
    let store = command(C_STORE, 1, true);
    let echo = command(C_ECHO, 2, false);
    let mut association = established();
    let bytes = p_data(vec![command_pdv(1, true, &store), data_pdv(1, true, b"data"), command_pdv(1, true, &echo)]);
    let mut input = BytesMut::from(&bytes[..]);
    assert!(matches!(association.poll(&mut input), Some(Event::StoreRequested(_))));
    association.abort();
    assert_eq!(association.poll(&mut input), None);
    assert_eq!(feed(&mut association, &bytes), []);
    assert_eq!(association.take_output(), abort_bytes(0, 0));
}

#[test]
fn a_peer_that_does_not_listen_is_not_answered_without_bound() {
    let mut association = association_in(Sta13, 0);
    let unknown = encode(&Pdu::Unknown { pdu_type: 9, data: vec![] });
    assert_eq!(feed(&mut association, &unknown.repeat(1000)), []);
    assert_eq!(association.take_output(), abort_bytes(2, 1));
    feed(&mut association, &unknown);
    assert_eq!(association.take_output(), abort_bytes(2, 1));
}

#[test]
fn pdus_of_a_length_their_type_cannot_have_are_invalid() {
    for (pdu_type, length) in [(5, 0), (5, 5), (7, 3), (7, u32::MAX), (4, MAX_PDU_LENGTH + 1), (4, u32::MAX)] {
        let mut header = vec![pdu_type, 0];
        header.extend(u32::to_be_bytes(length));
        let mut association = established();
        let events = feed(&mut association, &header);
        assert_eq!(events, [Event::Violated(Violation::PduLength { pdu_type, length })]);
        assert_eq!(association.take_output(), abort_bytes(2, 6));
        // The contents of such a PDU are dropped as they arrive.
        assert_eq!(feed(&mut association, &vec![1; (length as usize).min(100_000)]), []);
        assert!(!association.has_output());
    }
}

#[test]
fn the_longest_pdu_offered_is_taken_and_without_a_limit_any() {
    let data = vec![7; MAX_PDU_LENGTH as usize - 6];
    let whole = |data: &[u8]| {
        [p_data(vec![command_pdv(1, true, &command(C_STORE, 1, true))]), p_data(vec![data_pdv(1, true, data)])].concat()
    };
    let events = feed(&mut established(), &whole(&data));
    assert!(matches!(events[..], [Event::StoreRequested(_), Event::Fragment(_), Event::DatasetComplete]));

    let mut unlimited = policy();
    unlimited.max_pdu_length = 0;
    let mut association = Association::new(Arc::new(unlimited));
    feed(&mut association, &associate_bytes());
    association.accept();
    let events = feed(&mut association, &whole(&data.repeat(10)));
    assert!(matches!(events[..], [Event::StoreRequested(_), Event::Fragment(_), Event::DatasetComplete]));
}

#[test]
fn release_abort_and_a_second_request_in_the_middle_of_a_dataset() {
    let begun =
        [p_data(vec![command_pdv(1, true, &command(C_STORE, 1, true))]), p_data(vec![data_pdv(1, false, b"half")])]
            .concat();
    let after = |pdu: Vec<u8>| {
        let mut association = established();
        let mut events = feed(&mut association, &[&begun[..], &pdu].concat());
        assert!(matches!(events[..2], [Event::StoreRequested(_), Event::Fragment(_)]));
        assert_eq!(events.len(), 3);
        (events.pop().unwrap(), association)
    };

    let (event, mut association) = after(encode(&Pdu::ReleaseRQ));
    assert_eq!((event, association.state()), (Event::ReleaseRequested, Sta8));
    association.answer_release();
    assert_eq!(association.take_output(), [6, 0, 0, 0, 0, 4, 0, 0, 0, 0]);

    let (event, mut association) = after(vec![7, 0, 0, 0, 0, 4, 0, 0, 2, 5]);
    assert_eq!(event, Event::PeerAborted(PeerAbort { source: 2, reason: 5 }));
    assert_eq!((association.take_output(), association.state()), (vec![], Sta1));

    let (event, mut association) = after(associate_bytes());
    assert_eq!(event, Event::Violated(Violation::UnexpectedPdu(1)));
    assert_eq!(association.take_output(), abort_bytes(2, 2));
}
