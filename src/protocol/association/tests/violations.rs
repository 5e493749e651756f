//! PDVs and command sets that break the protocol, and the A-ABORT each of them gets.

use super::peer::*;
use crate::command::CommandError;
use crate::event::{Event, Violation};
use bytes::BufMut;

fn violated(bytes: &[u8], violation: Violation, source: u8, reason: u8) {
    let (mut events, output) = said(bytes);
    assert_eq!(events.pop(), Some(Event::Violated(violation)));
    assert_eq!(output, abort_bytes(source, reason), "{violation}");
}

#[test]
fn pdvs_whose_length_does_not_fit_are_violations() {
    let pdu = |value: &[u8]| {
        let mut pdu = vec![4, 0];
        pdu.put_u32(value.len() as u32);
        pdu.put_slice(value);
        pdu
    };
    violated(&pdu(b"\0\0\0\x01\x01\x03"), Violation::PdvLength(1), 2, 6);
    violated(&pdu(b"\0\0\0\x00\x01\x03"), Violation::PdvLength(0), 2, 6);
    violated(&pdu(b"\0\0\0\x03\x01\x03"), Violation::PdvLength(3), 2, 6);
    violated(&pdu(b"\xFF\xFF\xFF\xFF\x01\x03"), Violation::PdvLength(u32::MAX), 2, 6);
    violated(&pdu(b"\0\0\0\x02\x01"), Violation::PdvLength(5), 2, 6);
    violated(&pdu(b"\0\0\0\x02\x01\x01\0"), Violation::PdvLength(1), 2, 6);
}

#[test]
fn what_follows_a_violation_in_its_pdu_is_dropped() {
    let echo = command_pdv(3, true, &command(C_ECHO, 1, false));
    let stray = data_pdv(1, true, &abort_bytes(0, 0)); // its value must not be taken for a PDU
    let bytes = p_data(vec![echo.clone(), stray.clone(), echo.clone(), stray]);
    let (events, output) = said(&[bytes, p_data(vec![echo])].concat());
    assert_eq!(events, [Event::Echoed, Event::Violated(Violation::UnexpectedPdv)]);
    assert!(output.ends_with(&abort_bytes(2, 5)));
    assert_eq!(decode(&output).len(), 2);
}

#[test]
fn a_context_that_was_not_accepted_is_a_violation() {
    let echo = command(C_ECHO, 1, false);
    for context_id in [0, 2, 5, 9, 254, 255] {
        let bytes = p_data(vec![command_pdv(context_id, true, &echo)]);
        violated(&bytes, Violation::ContextNotAccepted(context_id), 2, 6);
    }
}

#[test]
fn pdvs_out_of_place_are_violations() {
    let store = command(C_STORE, 1, true);
    let find = command_pdv(1, true, &command(C_FIND, 1, true));
    let cases = [
        vec![data_pdv(1, true, b"dataset without command")],
        vec![store_pdv(), command_pdv(1, true, &store)],
        vec![store_pdv(), data_pdv(1, false, b"x"), command_pdv(1, true, &store)],
        vec![store_pdv(), data_pdv(7, true, b"another context")],
        vec![command_pdv(1, false, &store[..10]), data_pdv(1, true, b"dataset inside command")],
        vec![command_pdv(1, false, &store[..10]), command_pdv(7, true, &store[10..])],
        vec![find.clone(), command_pdv(1, true, &store)],
        vec![find, data_pdv(7, true, b"another context")],
        vec![command_pdv(1, true, &command(C_STORE, 1, false)), data_pdv(1, true, b"dataset not announced")],
    ];
    for values in cases {
        let apart = values.iter().flat_map(|value| p_data(vec![value.clone()])).collect::<Vec<_>>();
        violated(&apart, Violation::UnexpectedPdv, 2, 5);
        violated(&p_data(values), Violation::UnexpectedPdv, 2, 5);
    }
}

#[test]
fn a_command_set_that_cannot_be_acted_on_is_aborted_by_its_user() {
    let echo = command(C_ECHO, 1, false);
    let cases = [
        (echo[..echo.len() - 1].to_vec(), CommandError::Truncated),
        (vec![], CommandError::MissingElement),
        (command(C_ECHO | 0x8000, 1, false), CommandError::UnexpectedResponse),
    ];
    for (command, error) in cases {
        violated(&p_data(vec![command_pdv(1, true, &command)]), Violation::Command(error), 0, 0);
    }
}

#[test]
fn a_command_set_has_a_limit() {
    let allowed = policy().max_command_set;
    let room = allowed as usize - command(C_ECHO, 1, false).len() - 8;
    let filled = |bytes: usize| command_with(C_ECHO, 1, false, &[(0x5000, &vec![0; bytes])]);
    assert_eq!(filled(room).len(), allowed as usize);
    let (events, _) = said(&p_data(vec![command_pdv(3, true, &filled(room))]));
    assert_eq!(events, [Event::Echoed]);

    let long = filled(room + 1024);
    assert_eq!(long.len(), allowed as usize + 1024);
    violated(&p_data(vec![command_pdv(3, true, &long)]), Violation::CommandSetLength { allowed }, 0, 0);
    let pieces: Vec<_> = long.chunks(100).map(|piece| command_pdv(3, false, piece)).collect();
    violated(&p_data(pieces.clone()), Violation::CommandSetLength { allowed }, 0, 0);
    let apart: Vec<_> = pieces.into_iter().flat_map(|piece| p_data(vec![piece])).collect();
    violated(&apart, Violation::CommandSetLength { allowed }, 0, 0);
}
