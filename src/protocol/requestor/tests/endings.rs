//! Releases, their collision, aborts, and what no bytes may do.

use dicom_ul::pdu::Pdu;
use proptest::collection::vec;
use proptest::prelude::*;

use super::peer::*;
use crate::requestor::{Event, Requestor};
use crate::{CannotSend, Invocation, PeerAbort, State, Violation};

const RELEASE_RQ: [u8; 10] = [5, 0, 0, 0, 0, 4, 0, 0, 0, 0];
const RELEASE_RP: [u8; 10] = [6, 0, 0, 0, 0, 4, 0, 0, 0, 0];
const ABORT: [u8; 10] = [7, 0, 0, 0, 0, 4, 0, 0, 0, 0];

#[test]
fn a_release_ends_with_the_peers_reply() {
    let mut requestor = established(0);
    requestor.begin(1, &Invocation::Echo).unwrap();
    requestor.take_output();
    assert_eq!(requestor.release(), Ok(()));
    assert_eq!((requestor.state(), requestor.take_output()), (State::Sta7, RELEASE_RQ.to_vec()));
    assert_eq!(requestor.release(), Err(CannotSend::NotEstablished));
    assert_eq!(requestor.begin(1, &Invocation::Echo), Err(CannotSend::NotEstablished));
    // AR-6: a response may still come.
    let bytes =
        [&p_data(1, true, true, &response(0x30, 1, 0, false))[..], &RELEASE_RP, b"what follows is nothing"].concat();
    let events = feed_cut(&mut requestor, &bytes, 3);
    assert!(matches!(events[..], [Event::Responded(_), Event::Released]), "{events:?}");
    assert_eq!((requestor.state(), requestor.output_bytes()), (State::Sta1, 0));
}

#[test]
fn two_releases_that_meet_are_both_answered() {
    let mut requestor = established(0);
    requestor.release().unwrap();
    requestor.take_output();
    assert_eq!(feed(&mut requestor, &RELEASE_RQ), []);
    assert_eq!((requestor.state(), requestor.take_output()), (State::Sta11, RELEASE_RP.to_vec()));
    assert_eq!(feed(&mut requestor, &RELEASE_RP), [Event::Released]);
    assert_eq!((requestor.state(), requestor.output_bytes()), (State::Sta1, 0));

    let mut requestor = established(0);
    requestor.release().unwrap();
    requestor.take_output();
    let data = p_data(1, true, true, &response(0x30, 1, 0, false));
    let events = feed(&mut requestor, &[&RELEASE_RQ[..], &data].concat());
    assert_eq!(events, [Event::Violated(Violation::UnexpectedPdu(4))]);
    assert_eq!(requestor.take_output(), [&RELEASE_RP[..], &[7, 0, 0, 0, 0, 4, 0, 0, 2, 2]].concat());
}

#[test]
fn a_release_of_the_peer_is_answered_by_the_caller() {
    let mut requestor = established(0);
    assert_eq!(feed(&mut requestor, &RELEASE_RQ), [Event::ReleaseRequested]);
    assert_eq!((requestor.state(), requestor.output_bytes()), (State::Sta8, 0));
    requestor.answer_release();
    assert_eq!((requestor.state(), requestor.take_output()), (State::Sta13, RELEASE_RP.to_vec()));
    requestor.answer_release();
    assert_eq!(requestor.output_bytes(), 0);
}

#[test]
fn an_abort_ends_it_from_either_side() {
    for mut requestor in [requested(), established(0)] {
        let events = feed(&mut requestor, &[7, 0, 0, 0, 0, 4, 0, 0, 2, 6, 1, 2, 3]);
        assert_eq!(events, [Event::PeerAborted(PeerAbort { source: 2, reason: 6 })]);
        assert_eq!((requestor.state(), requestor.output_bytes()), (State::Sta1, 0));
        requestor.abort();
        assert_eq!(requestor.output_bytes(), 0);
    }
    for mut requestor in [requested(), established(0)] {
        requestor.abort();
        assert_eq!((requestor.state(), requestor.take_output()), (State::Sta13, ABORT.to_vec()));
        assert_eq!(feed(&mut requestor, &full_acceptance(0)), [], "AA-6: what comes now is ignored");
        assert_eq!(feed(&mut requestor, &ABORT), [Event::PeerAborted(PeerAbort { source: 0, reason: 0 })]);
        assert_eq!((requestor.state(), requestor.output_bytes()), (State::Sta1, 0));
    }
}

/// Brings a requestor into a state of its own.
fn in_state(state: State) -> Requestor {
    let mut requestor = if state == State::Sta5 { requested() } else { established(30) };
    match state {
        State::Sta1 => drop(feed(&mut requestor, &ABORT)),
        State::Sta7 => requestor.release().unwrap(),
        State::Sta8 => drop(feed(&mut requestor, &RELEASE_RQ)),
        State::Sta11 => {
            requestor.release().unwrap();
            feed(&mut requestor, &RELEASE_RQ);
        }
        State::Sta13 => requestor.abort(),
        _ => {}
    }
    assert_eq!(requestor.state(), state);
    if state == State::Sta6 {
        requestor.begin(7, &Invocation::Find { sop_class: FIND }).unwrap();
        requestor.push_dataset(b"abcd");
    }
    requestor.take_output();
    requestor
}

const STATES: [State; 7] =
    [State::Sta1, State::Sta5, State::Sta6, State::Sta7, State::Sta8, State::Sta11, State::Sta13];

/// The events and the output must not depend on the cuts; what is sent can be read; after an end there is nothing but an abort.
fn check(state: State, bytes: &[u8], piece: usize) {
    let (mut whole, mut cut) = (in_state(state), in_state(state));
    let events = feed(&mut whole, bytes);
    assert_eq!(feed_cut(&mut cut, bytes, piece), events);
    assert_eq!(whole.state(), cut.state());
    let sent = whole.take_output();
    decode(&sent);
    // In Sta13 the answers depend on whether the one before was sent.
    if events.iter().all(|event| !ends(event)) && state != State::Sta13 {
        assert_eq!(cut.take_output(), sent);
    }
    let after: Vec<_> = events.iter().skip_while(|event| !ends(event)).skip(1).collect();
    assert!(matches!(after[..], [] | [Event::PeerAborted(_)]), "{after:?}");
}

fn ends(event: &Event) -> bool {
    matches!(event, Event::Violated(_) | Event::PeerAborted(_) | Event::Rejected(_) | Event::Released)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..300), piece in 1..50_usize) {
        for state in STATES {
            check(state, &bytes, piece);
        }
    }

    #[test]
    fn random_pdus_do_no_harm(pdus in vec((1..9_u8, vec(0..9_u8, 0..40), 0..9_u8), 0..12), piece in 1..50_usize) {
        let mut bytes = vec![];
        for (pdu_type, body, lie) in pdus {
            bytes.extend([pdu_type, 0, 0, 0, 0, if lie == 0 { 4 } else { body.len() as u8 }]);
            bytes.extend(body);
        }
        for state in STATES {
            check(state, &bytes, piece);
        }
    }

    /// Valid answers and messages, damaged.
    #[test]
    fn damaged_streams_do_no_harm(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        piece in 1..300_usize,
        order in vec(0..5_usize, 0..6),
    ) {
        let parts = [
            p_data(7, true, true, &response(0x20, 1, 0xFF00, true)),
            p_data(7, false, true, b"a match"),
            p_data(7, true, true, &response(0x20, 1, 0, false)),
            p_data(1, true, true, &request(0x30, 7, true)),
            encode(&Pdu::ReleaseRQ),
        ];
        let mut bytes: Vec<u8> = order.iter().flat_map(|part| parts[*part].clone()).collect();
        let mut answer = full_acceptance(0);
        for (at, byte) in &damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let at = at.index(answer.len());
            answer[at] = *byte;
        }
        check(State::Sta6, &bytes, piece);
        check(State::Sta5, &[answer, bytes].concat(), piece);
    }
}
