//! Requests and reports beside a report that is being sent, and beside each other.

use std::fs;
use std::time::Duration;

use dicom_ul::pdu::{PDataValueType, Pdu, UserVariableItem};

use super::modality::{CONTEXT, Listener, PUSH_INSTANCE, PUSH_MODEL, action, ask, of_ct, report, with_commitment};
use super::{start_knowing, uid};
use crate::catalogue::store;
use crate::node::Node;
use crate::wire::{Wire, command, p_data};

/// An association on which a long report has begun, of which the peer takes its time to read the rest.
fn within_a_report(node: &Node) -> Wire {
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let uids: Vec<String> =
        (0..100_000).map(|number| format!("1.2.826.0.1.3680043.9.7.{}.{number}", "7".repeat(24))).collect();
    let references: Vec<&str> = uids.iter().map(String::as_str).collect();
    assert_eq!(ask(&mut wire, &of_ct("1.6.1", &references)), 0);
    assert!(matches!(wire.pdu(), Some(Pdu::PData { .. })), "the report");
    wire
}

/// Reads the next PDU. Whether it ends a command or a dataset, and which.
fn next(wire: &mut Wire) -> Option<PDataValueType> {
    let pdu = wire.pdu();
    let Some(Pdu::PData { data }) = pdu else { panic!("{pdu:?}") };
    data.into_iter().find(|value| value.is_last).map(|value| value.value_type)
}

#[test]
fn a_report_does_not_overtake_a_response_that_waits_behind_another_report() {
    let listener = Listener::new();
    let (node, _directory) = start_knowing(&listener, "");
    store(&node, 0..1);
    let mut wire = within_a_report(&node);
    wire.send(&action(8, PUSH_MODEL, PUSH_INSTANCE, 1, &of_ct("1.6.2", &[&uid(0)])));
    let mut is_over = false;
    let mut read_on = |wire: &mut Wire| {
        assert!(!is_over, "the report was to last for longer");
        is_over = next(wire) == Some(PDataValueType::Data);
        std::thread::sleep(Duration::from_millis(10));
        is_over
    };
    // The node reads it between two parts of the report.
    while !node.log_text().contains("transaction=\"1.6.2\"") {
        read_on(&mut wire);
    }
    // Of a peer, the report that is due for the longest comes first: make it the other's.
    let record = rusqlite::Connection::open(node.storage().join(".tidegate/commitments.sqlite")).unwrap();
    let first: i64 = record.query_row("SELECT min(id) FROM request", [], |row| row.get(0)).unwrap();
    let (code, told) = node.told(&["commitments", "retry", &first.to_string()]);
    assert_eq!(code, Some(0), "{told}");
    let quiet = std::thread::spawn(move || (listener.is_quiet_for(Duration::from_secs(3)), listener));
    while !quiet.is_finished() {
        read_on(&mut wire);
    }
    let (is_quiet, listener) = quiet.join().unwrap();
    assert!(is_quiet, "the report of a request comes by call before its response");
    while !read_on(&mut wire) {}
    let response = wire.response();
    assert_eq!((response.command_field, response.message_id, response.status), (0x8130, 8, 0));
    let response = command(&[
        (0x0100, &0x8100_u16.to_le_bytes()),
        (0x0120, &1_u16.to_le_bytes()),
        (0x0800, &[1, 1]),
        (0x0900, &[0, 0]),
    ]);
    wire.send(&p_data(CONTEXT, 3, &response));
    let taking = listener.taking(0);
    wire.release();
    assert_eq!(taking.join().unwrap().1.transaction, "1.6.2");
}

#[test]
fn a_report_that_cannot_be_read_to_its_end_is_told_by_its_cause() {
    let node = Node::start(&[]);
    let mut wire = within_a_report(&node);
    let file = node.storage().join(".tidegate/commitments.sqlite");
    for ending in ["", "-wal"] {
        let path = format!("{}{ending}", file.display());
        let bytes = fs::metadata(&path).unwrap().len() as usize;
        fs::write(&path, vec![0xA5; bytes]).unwrap();
    }
    while let Some(Pdu::PData { .. }) = wire.pdu() {}
    node.logged(&["WARN", "commitment report cut short, aborted", "cannot be read"]);
    node.logged(&["association ended", "end=\"report_unreadable\""]);
}

#[test]
fn requests_in_a_window_of_operations_are_recorded_one_after_the_other() {
    let node = Node::start(&[("TIDEGATE__ASSOCIATIONS__ASYNC_OPERATIONS", "4")]);
    store(&node, 0..1);
    let mut request = with_commitment();
    request.user_variables.push(UserVariableItem::Unknown(0x53, vec![0, 4, 0, 1]));
    let (mut wire, _) = Wire::associate(node.address(), request);
    let asked: Vec<u8> = (1..=4)
        .flat_map(|id| action(id, PUSH_MODEL, PUSH_INSTANCE, 1, &of_ct(&format!("1.6.3.{id}"), &[&uid(0)])))
        .collect();
    wire.send(&asked);
    for id in 1..=4 {
        let response = wire.response();
        assert_eq!((response.command_field, response.message_id, response.status), (0x8130, id, 0));
    }
    let mut transactions: Vec<String> = (0..4).map(|_| report(&mut wire, Some(0)).transaction).collect();
    transactions.sort_unstable();
    assert_eq!(transactions, ["1.6.3.1", "1.6.3.2", "1.6.3.3", "1.6.3.4"]);
}

#[test]
fn a_report_by_call_names_the_node_as_one_on_the_association_does() {
    let listener = Listener::new();
    let (node, _directory) = start_knowing(&listener, "[node]\nae_title = \"NODE\"");
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.6.4", &[&uid(0)])), 0);
    assert_eq!(report(&mut wire, Some(0)).retrieve_ae_title, "NODE");
    assert_eq!(ask(&mut wire, &of_ct("1.6.5", &[&uid(0)])), 0);
    let taking = listener.taking(0);
    wire.release();
    assert_eq!(taking.join().unwrap().1.retrieve_ae_title, "NODE");
}

#[cfg(feature = "test-faults")]
#[test]
fn a_request_that_nobody_records_is_refused() {
    let node = Node::start(&[
        ("TIDEGATE__SUPERVISION__HANG_TIMEOUT", "2s"),
        ("TIDEGATE__SUPERVISION__MAX_RESTARTS", "0"),
        ("TIDEGATE__WRITERS__COMMIT_TIMEOUT", "4s"),
    ]);
    store(&node, 0..1);
    node.arm(&["commitment panic"]);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    node.logged(&["child ended", "commitment", "its group is given up"]);
    wire.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for number in 0..2 {
        assert_eq!(ask(&mut wire, &of_ct(&format!("1.6.6.{number}"), &[&uid(0)])), 0x0110);
    }
    wire.release();
}
