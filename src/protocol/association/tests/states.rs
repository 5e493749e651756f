//! Every state an acceptor can be in, against every PDU and every local request (PS3.8 table 9-10).

use super::peer::*;
use crate::event::{Event, PeerAbort, Violation};
use crate::state::State::{self, *};
use crate::{Association, ErrorComment, Operation, Rejection, Status};
use dicom_ul::pdu::{
    AbortRQSource, AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason,
    AssociationRJSource, Pdu,
};

const STATES: [State; 6] = [Sta1, Sta2, Sta3, Sta6, Sta8, Sta13];

/// The reaction to a PDU.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It is taken, and leads to this state.
    Taken(State),
    /// It is answered with an A-ABORT of this source and reason.
    Aborted(u8, u8),
    /// The transport connection is to be closed without a word.
    Closed,
    /// Nothing happens.
    Ignored,
}

/// One well-formed PDU of each type, by its type.
fn pdus() -> Vec<(u8, Vec<u8>)> {
    let echo = command(C_ECHO, 1, false);
    vec![
        (1, associate_bytes()),
        (
            2,
            encode(&Pdu::AssociationAC(AssociationAC {
                protocol_version: 1,
                calling_ae_title: "A".into(),
                called_ae_title: "B".into(),
                application_context_name: "1.2.840.10008.3.1.1.1".into(),
                presentation_contexts: vec![],
                user_variables: vec![],
            })),
        ),
        (
            3,
            encode(&Pdu::AssociationRJ(AssociationRJ {
                result: AssociationRJResult::Permanent,
                source: AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::NoReasonGiven),
            })),
        ),
        (4, p_data(vec![command_pdv(3, true, &echo)])),
        (5, encode(&Pdu::ReleaseRQ)),
        (6, encode(&Pdu::ReleaseRP)),
        (7, encode(&Pdu::AbortRQ { source: AbortRQSource::ServiceUser })),
        (0, encode(&Pdu::Unknown { pdu_type: 0, data: vec![0; 10] })),
        (8, encode(&Pdu::Unknown { pdu_type: 8, data: vec![] })),
        (0xFF, encode(&Pdu::Unknown { pdu_type: 0xFF, data: vec![4; 300] })),
    ]
}

fn outcome(state: State, pdu_type: u8) -> Outcome {
    use Outcome::*;
    //              1 RQ           2 AC           3 RJ           4 DATA         5 REL-RQ       6 REL-RP       7 ABORT  unknown
    let row = match state {
        Sta1 => [Ignored; 8],
        Sta2 => [
            Taken(Sta3),
            Aborted(0, 0),
            Aborted(0, 0),
            Aborted(0, 0),
            Aborted(0, 0),
            Aborted(0, 0),
            Closed,
            Aborted(0, 0),
        ],
        Sta3 => [
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Closed,
            Aborted(2, 1),
        ],
        Sta6 => [
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Taken(Sta6),
            Taken(Sta8),
            Aborted(2, 2),
            Closed,
            Aborted(2, 1),
        ],
        Sta8 => [
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Aborted(2, 2),
            Closed,
            Aborted(2, 1),
        ],
        Sta13 => [Aborted(2, 2), Ignored, Ignored, Ignored, Ignored, Ignored, Closed, Aborted(2, 1)],
        Sta4 | Sta5 | Sta7 | Sta9 | Sta10 | Sta11 | Sta12 => panic!("no state of an acceptor"),
    };
    row[match pdu_type {
        1..=7 => usize::from(pdu_type) - 1,
        _ => 7,
    }]
}

#[test]
fn every_pdu_in_every_state() {
    for state in STATES {
        for (pdu_type, pdu) in pdus() {
            for piece in [pdu.len(), 1, 7] {
                let mut association = association_in(state, 0);
                let events = feed_cut(&mut association, &pdu, piece);
                check(&mut association, state, pdu_type, events);
            }
        }
    }
}

fn check(association: &mut Association, state: State, pdu_type: u8, events: Vec<Event>) {
    let case = format!("PDU type {pdu_type} in {state:?}");
    let output = association.take_output();
    match outcome(state, pdu_type) {
        Outcome::Taken(next) => {
            assert_eq!(association.state(), next, "{case}");
            assert!(
                matches!(
                    (pdu_type, &events[..]),
                    (1, [Event::AssociateRequested(_)]) | (4, [Event::Echoed]) | (5, [Event::ReleaseRequested])
                ),
                "{case}: {events:?}"
            );
        }
        Outcome::Aborted(source, reason) => {
            assert_eq!(output, abort_bytes(source, reason), "{case}");
            assert_eq!(association.state(), Sta13, "{case}");
            let violation = match pdu_type {
                1..=7 => Violation::UnexpectedPdu(pdu_type),
                _ => Violation::UnrecognizedPdu(pdu_type),
            };
            // An association that is over already is not violated.
            let expected = if state == Sta13 { vec![] } else { vec![Event::Violated(violation)] };
            assert_eq!(events, expected, "{case}");
        }
        Outcome::Closed => {
            assert_eq!(output, b"", "{case}");
            assert_eq!(association.state(), Sta1, "{case}");
            assert_eq!(events, [Event::PeerAborted(PeerAbort { source: 0, reason: 0 })], "{case}");
        }
        Outcome::Ignored => {
            assert_eq!((events, output), (vec![], vec![]), "{case}");
            assert_eq!(association.state(), state, "{case}");
        }
    }
}

fn operation() -> Operation {
    Operation {
        context_id: 1,
        message_id: 9,
        command_field: 1,
        sop_class_uid: CT.into(),
        sop_instance_uid: b"1.2".to_vec(),
        action_type: None,
        event_type: None,
    }
}

#[test]
fn every_local_request_in_every_state() {
    type Request = fn(&mut Association);
    let requests: [(&str, Request); 5] = [
        ("accept", |a| a.accept()),
        ("reject", |a| a.reject(Rejection::LocalLimitExceeded)),
        ("answer_release", |a| a.answer_release()),
        ("abort", |a| a.abort()),
        ("respond", |a| a.respond(&operation(), Status::Success, &ErrorComment::default())),
    ];
    for state in STATES {
        for (name, request) in requests {
            let mut association = association_in(state, 0);
            request(&mut association);
            let output = association.take_output();
            let first_byte_and_next = match (name, state) {
                ("accept", Sta3) => (Some(2), Sta6),
                ("reject", Sta3) => (Some(3), Sta13),
                ("answer_release", Sta8) => (Some(6), Sta13),
                ("abort", Sta2) => (None, Sta1),
                ("abort", Sta3 | Sta6 | Sta8) => (Some(7), Sta13),
                ("respond", Sta6 | Sta8) => (Some(4), state),
                _ => (None, state),
            };
            assert_eq!((output.first().copied(), association.state()), first_byte_and_next, "{name} in {state:?}");
            decode(&output);
        }
    }
}

#[test]
fn local_answers_are_the_standards_bytes() {
    let mut association = association_in(Sta3, 0);
    association.reject(Rejection::LocalLimitExceeded);
    assert_eq!(association.take_output(), [3, 0, 0, 0, 0, 4, 0, 2, 3, 2]);
    let mut association = association_in(Sta3, 0);
    association.reject(Rejection::TemporaryCongestion);
    assert_eq!(association.take_output(), [3, 0, 0, 0, 0, 4, 0, 2, 3, 1]);
    let mut association = association_in(Sta8, 0);
    association.answer_release();
    assert_eq!(association.take_output(), [6, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    let mut association = established();
    association.abort();
    assert_eq!(association.take_output(), abort_bytes(0, 0));
}
