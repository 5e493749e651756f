//! The first bytes of a connection, and the answer to a request for association.

use std::sync::Arc;

use super::peer::*;
use crate::event::{Event, NotDicom, Violation};
use crate::{Association, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Rejection, State};
use dicom_ul::pdu::{AssociationRQ, Pdu, PresentationContextResultReason, UserVariableItem};

fn fresh() -> Association {
    Association::new(Arc::new(policy()))
}

#[test]
fn a_request_is_reported_and_answered() {
    let mut association = fresh();
    let events = feed(&mut association, &associate_bytes());
    let [Event::AssociateRequested(request)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*request.calling_ae_title, &*request.called_ae_title), ("CT1", "TIDEGATE"));
    assert_eq!((request.contexts_proposed, request.contexts_accepted), (4, 3));
    assert_eq!(request.implementation, "1.2.3 PEER_1");
    assert_eq!((association.state(), association.has_output()), (State::Sta3, false));

    association.accept();
    let output = association.take_output();
    let [Pdu::AssociationAC(answer)] = &decode(&output)[..] else { panic!("not one A-ASSOCIATE-AC") };
    use PresentationContextResultReason::*;
    let results: Vec<_> =
        answer.presentation_contexts.iter().map(|c| (c.id, c.reason.clone(), &*c.transfer_syntax)).collect();
    assert_eq!(
        results,
        [
            (1, Acceptance, EXPLICIT),
            (3, Acceptance, IMPLICIT),
            (5, AbstractSyntaxNotSupported, IMPLICIT),
            (7, Acceptance, IMPLICIT)
        ]
    );
    assert_eq!(
        answer.user_variables,
        [
            UserVariableItem::MaxLength(MAX_PDU_LENGTH),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.into()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.into()),
        ]
    );
}

#[test]
fn all_of_128_contexts_with_30_transfer_syntaxes_each_are_answered() {
    let syntaxes: Vec<String> = (0..30).map(|n| format!("1.2.840.10008.1.2.4.{}", 100 + n)).collect();
    let syntaxes: Vec<&str> = syntaxes.iter().map(String::as_str).collect();
    let request = AssociationRQ {
        presentation_contexts: (0..128).map(|n| proposed(2 * n + 1, CT, &syntaxes)).collect(),
        ..associate_rq(0)
    };
    let bytes = encode(&Pdu::AssociationRQ(request));
    assert!(bytes.len() > 90_000);
    for piece in [bytes.len(), 1448] {
        let mut association = fresh();
        let events = feed_cut(&mut association, &bytes, piece);
        assert!(matches!(&events[..], [Event::AssociateRequested(r)] if r.contexts_accepted == 128), "{events:?}");
        association.accept();
        let [Pdu::AssociationAC(answer)] = &decode(&association.take_output())[..] else { panic!() };
        assert!(answer.presentation_contexts.iter().all(|c| c.transfer_syntax == syntaxes[0]));
        let ids: Vec<u8> = answer.presentation_contexts.iter().map(|c| c.id).collect();
        assert_eq!(ids, (0..128).map(|n| 2 * n + 1).collect::<Vec<u8>>());
        // The last of them works.
        let echo = p_data(vec![command_pdv(255, true, &command(C_ECHO, 1, false))]);
        assert_eq!(feed(&mut association, &echo), [Event::Echoed]);
    }
}

#[test]
fn titles_and_reserved_bytes_go_back_as_they_came() {
    let all: Vec<u8> = (0..=255).collect();
    for fields in all.chunks(64) {
        let mut bytes = associate_bytes();
        bytes[10..74].copy_from_slice(fields);
        let mut association = fresh();
        let events = feed(&mut association, &bytes);
        assert!(matches!(events[..], [Event::AssociateRequested(_)]), "{events:?}");
        association.accept();
        let output = association.take_output();
        assert_eq!(output[10..74], *fields);
        decode(&output);
    }
}

#[test]
fn a_request_longer_than_taken_is_refused_from_its_header() {
    let header = |length: u32| [&[1, 0][..], &length.to_be_bytes()].concat();
    let mut association;
    let allowed = policy().max_request_length;
    let length = allowed + 1;
    for titles_have_come in [false, true] {
        let begin = [header(length), if titles_have_come { associate_bytes()[6..].to_vec() } else { Vec::new() }];
        association = fresh();
        let events = feed(&mut association, &begin.concat());
        assert_eq!(events, [Event::Violated(Violation::RequestLength { length, allowed })]);
        assert_eq!(association.take_output(), abort_bytes(0, 0));
        assert_eq!(association.needed(), 1);
        let titles = association.refused_titles().unwrap();
        assert_eq!(!titles.calling.is_empty() && !titles.called.is_empty(), titles_have_come, "{titles:?}");
    }

    let mut association = fresh();
    assert_eq!(feed(&mut association, &header(policy().max_request_length)), []);
    assert_eq!(association.needed(), policy().max_request_length as usize + 6);
}

#[test]
fn a_malformed_request_is_aborted() {
    let whole = associate_bytes();
    let check = |bytes: &[u8], must_fail: bool| {
        let mut association = fresh();
        let events = feed(&mut association, bytes);
        match &events[..] {
            [Event::Violated(Violation::MalformedRequest(_))] => {
                assert_eq!(association.take_output(), abort_bytes(0, 0));
                assert_eq!(association.state(), State::Sta13);
            }
            [Event::AssociateRequested(_)] if !must_fail => {}
            // Without any item there is no application context either.
            [Event::Rejected(Rejection::ApplicationContext)] if bytes.len() == 6 + 68 => {}
            other => panic!("{other:?}"),
        }
    };
    for length in 0..whole.len() - 6 {
        let mut cut = whole[..6 + length].to_vec();
        cut[2..6].copy_from_slice(&(length as u32).to_be_bytes());
        check(&cut, length < 68 + 25); // up to the end of the application context item
    }
    for at in 74..whole.len() {
        for value in [0, 1, 0x50, 0xFF] {
            let mut changed = whole.clone();
            changed[at] = value;
            let mut association = fresh();
            let events = feed(&mut association, &changed);
            assert_eq!(events.len(), 1, "byte {at} = {value}");
            decode(&association.take_output());
        }
    }
}

#[test]
fn a_refusal_by_policy_is_an_a_associate_rj() {
    let mut strict = policy();
    strict.require_called_ae_title = true;
    strict.ae_title = "OTHER".into();
    let mut association = Association::new(Arc::new(strict));
    let events = feed(&mut association, &associate_bytes());
    let [Event::Rejected(rejected)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*rejected, Rejection::CalledAeTitle);
    let titles = association.refused_titles().unwrap();
    assert_eq!((titles.calling.as_str(), titles.called.as_str()), ("CT1", "TIDEGATE"));
    assert_eq!(association.take_output(), [3, 0, 0, 0, 0, 4, 0, 1, 1, 7]);
    assert_eq!(association.state(), State::Sta13);
    association.accept();
    assert!(!association.has_output());
}

/// Found by fuzzing: what followed the header of a P-DATA PDU was looked at as if it were the first of the connection.
#[test]
fn a_pdu_is_not_taken_for_a_stranger_by_what_is_in_it() {
    for piece in [12, 1] {
        let events = feed_cut(&mut fresh(), b"\x04\0\0\0\0\x40TRACE ", piece);
        assert_eq!(events, [Event::Violated(Violation::UnexpectedPdu(4))]);
    }
}

#[test]
fn strangers_are_recognised_and_not_answered() {
    let strangers: [(&[u8], NotDicom); 5] = [
        (b"GET / HTTP/1.1\r\nHost: pacs:11112\r\n\r\n", NotDicom::Http),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", NotDicom::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NotDicom::Http),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", NotDicom::Tls),
        (b"\x16\x03\x03\x00\x05\x01", NotDicom::Tls),
    ];
    for (bytes, kind) in strangers {
        for piece in [bytes.len(), 1] {
            let mut association = fresh();
            assert_eq!(feed_cut(&mut association, bytes, piece), [Event::NotDicom(kind)]);
            assert_eq!(feed(&mut association, &[b'x'; 5000]), []);
            assert_eq!((association.state(), association.has_output()), (State::Sta1, false));
        }
    }
}

#[test]
fn garbage_is_aborted() {
    for bytes in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], &[0; 64], &[0xFF; 64], b"\x80\x2e\x01\x03\x01\0"] {
        let mut association = fresh();
        assert_eq!(feed(&mut association, bytes), [Event::Violated(Violation::UnrecognizedPdu(bytes[0]))]);
        assert_eq!(association.take_output(), abort_bytes(0, 0));
    }
    // Too little to tell.
    let mut association = fresh();
    assert_eq!(feed(&mut association, b"SSH-2"), []);
    assert_eq!((association.state(), association.needed()), (State::Sta2, 6));
}

#[test]
fn a_peer_that_does_not_wait_for_the_answer_is_aborted() {
    let mut association = fresh();
    let echo = p_data(vec![command_pdv(3, true, &command(C_ECHO, 1, false))]);
    let events = feed(&mut association, &[associate_bytes(), echo].concat());
    assert!(matches!(events[..], [Event::AssociateRequested(_), Event::Violated(Violation::UnexpectedPdu(4))]));
    association.accept();
    assert_eq!(association.take_output(), abort_bytes(2, 2));
}
