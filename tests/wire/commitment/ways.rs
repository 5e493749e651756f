//! The ways of a report, and peers that do not take it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::modality::{Listener, ask, of_ct, released, report, report_after, with_commitment};
use super::{start_knowing, uid};
use crate::catalogue::store;
use crate::node::Node;
use crate::wire::Wire;

#[test]
fn without_an_address_a_report_waits_until_the_peer_comes_again() {
    let node = Node::start(&[]);
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.3.1", &[&uid(0)])), 0);
    wire.release();
    node.logged(&["commitment report waits until the peer associates again"]);
    std::thread::sleep(Duration::from_millis(300));
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(report(&mut wire, Some(0)).transaction, "1.3.1");
    node.logged(&["commitment reported"]);
    wire.release();
}

#[test]
fn a_report_goes_only_to_the_one_who_asked() {
    let node = Node::start(&[]);
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.3.2", &[&uid(0)])), 0);
    wire.release();
    let mut other = with_commitment();
    other.calling_ae_title = "OTHER".into();
    let (stranger, _) = Wire::associate(node.address(), other);
    let elsewhere = Wire::connect_from("127.0.0.2".parse().unwrap(), node.address());
    let (elsewhere, _) = elsewhere.accepted(with_commitment());
    for wire in [&stranger, &elsewhere] {
        wire.0.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let peeked = wire.0.peek(&mut [0]);
        assert!(peeked.is_err(), "{peeked:?}");
    }
}

#[test]
fn a_peer_that_does_not_take_the_report_is_told_by_its_cause() {
    let listener = Listener::new();
    let (node, _directory) = start_knowing(&listener, "");
    store(&node, 0..1);
    let ask_and_leave = |transaction: &str| {
        let (mut wire, _) = Wire::associate(node.address(), with_commitment());
        assert_eq!(ask(&mut wire, &of_ct(transaction, &[&uid(0)])), 0);
        wire.release();
    };
    ask_and_leave("1.3.3");
    let mut wire = listener.associated(false);
    released(&mut wire);
    node.logged(&["commitment report failed, and is tried again", "does not accept this node as scp"]);
    ask_and_leave("1.3.4");
    let mut wire = listener.associated(true);
    assert_eq!(report(&mut wire, Some(0x0110)).transaction, "1.3.4");
    released(&mut wire);
    ask_and_leave("1.3.5");
    let mut wire = listener.associated(true);
    assert_eq!(report(&mut wire, None).transaction, "1.3.5");
    wire.send(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    node.logged_times("commitment report failed, and is tried again", 3);
    // One that is asked for since is reported meanwhile.
    ask_and_leave("1.3.6");
    assert_eq!(listener.take(0).transaction, "1.3.6");
}

/// Asks, on an association that ends before the report.
fn ask_and_leave(node: &Node, transactions: &[&str]) {
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    for transaction in transactions {
        assert_eq!(ask(&mut wire, &of_ct(transaction, &[&uid(0)])), 0);
    }
    wire.release();
}

#[test]
fn a_report_that_cannot_be_recorded_is_not_sent_again() {
    let listener = Listener::new();
    let (node, _directory) = start_knowing(&listener, "");
    store(&node, 0..1);
    ask_and_leave(&node, &["1.3.10"]);
    let mut wire = listener.associated(true);
    let record = rusqlite::Connection::open(node.storage().join(".tidegate/commitments.sqlite")).unwrap();
    record.busy_timeout(Duration::from_secs(5)).unwrap();
    let lock = || record.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(report_after(&mut wire, Some(0), lock).transaction, "1.3.10");
    released(&mut wire);
    node.logged(&["storage commitment requests cannot be recorded", "locked by another process"]);
    // A modality that comes, and one that asks, change nothing about it.
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.3.11", &[&uid(0)])), 0x0110);
    wire.release();
    assert!(listener.is_quiet_for(Duration::from_secs(5)), "it is reported again");
    let told = |line: &str| node.log_text().matches(line).count();
    assert_eq!((told("requests cannot be recorded"), told("requests works again")), (1, 0), "{}", node.log_text());
    record.execute_batch("ROLLBACK").unwrap();
    node.logged(&["commitment reported"]);
    node.logged(&["record of commitment requests works again"]);
    assert!(listener.is_quiet_for(Duration::from_secs(2)));
}

#[test]
fn a_peer_that_cannot_be_reached_is_called_once_for_all_of_its_requests() {
    let listener = Listener::new();
    let (node, _directory) = start_knowing(&listener, "");
    store(&node, 0..1);
    ask_and_leave(&node, &["1.3.20", "1.3.21", "1.3.22", "1.3.24", "1.3.25", "1.3.26"]);
    let mut wire = listener.associated(true);
    report(&mut wire, None);
    drop(wire);
    node.logged(&["commitment report failed, and is tried again"]);
    // One that was about to go out on the association that ended is called for itself.
    listener.is_quiet_for(Duration::from_secs(2));
    assert!(listener.is_quiet_for(Duration::from_secs(4)), "each is tried for itself");
    // One that asks now may be there again, and then it is told the rest at its next attempt, or when it comes.
    ask_and_leave(&node, &["1.3.23"]);
    assert_eq!(listener.take(0).transaction, "1.3.23");
}

#[test]
fn a_peer_that_gets_an_address_by_a_reload_is_called_at_once() {
    let listener = Listener::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    fs::write(&path, "").unwrap();
    let node = Node::start_with(&["--config", path.to_str().unwrap()], &[]);
    store(&node, 0..1);
    ask_and_leave(&node, &["1.3.30"]);
    node.logged(&["commitment report waits until the peer associates again"]);
    assert!(listener.is_quiet_for(Duration::from_secs(2)));
    fs::write(&path, listener.configuration()).unwrap();
    node.signal(Signal::HUP);
    let began = Instant::now();
    assert_eq!(listener.take(0).transaction, "1.3.30");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_report_that_is_overdue_when_a_node_starts_is_sent_at_its_first_attempt() {
    let listener = Listener::new();
    let mut node = Node::start(&[]);
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.3.7", &[&uid(0)])), 0);
    std::thread::sleep(Duration::from_millis(700)); // it is evaluated, and the association is not idle yet
    node.signal(Signal::KILL);
    node.wait();
    let directory = tempfile::tempdir().unwrap();
    let (kept, configuration) = (directory.path().join("storage"), directory.path().join("node.toml"));
    fs::rename(node.storage(), &kept).unwrap();
    fs::write(&configuration, listener.configuration()).unwrap();
    let began = Instant::now();
    let taking = listener.taking(0);
    let next = Node::start_configured(&configuration, |storage| fs::rename(&kept, storage).unwrap());
    let (_listener, report) = taking.join().unwrap();
    assert_eq!(report.transaction, "1.3.7");
    assert!(began.elapsed() < Duration::from_secs(20), "no attempt before it has failed");
    let reported = next.logged(&["commitment reported", "1.3.7"]);
    assert!(reported.contains("attempts=1"), "{reported}");
}

#[test]
fn a_report_of_what_is_missing_goes_out_on_the_open_association_of_a_peer_with_an_address() {
    let listener = Listener::new();
    let (node, _directory) = start_knowing(&listener, "");
    store(&node, 0..2);
    fs::remove_file(node.storage().join("1.2.3/1.2.3.4/1.2.3.4.1.dcm")).unwrap();
    for (transaction, missing) in [("1.3.8", uid(1)), ("1.3.9", uid(77))] {
        let (mut wire, _) = Wire::associate(node.address(), with_commitment());
        assert_eq!(ask(&mut wire, &of_ct(transaction, &[&uid(0), &missing])), 0);
        wire.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let report = report(&mut wire, Some(0));
        assert_eq!((report.transaction.as_str(), report.failed), (transaction, vec![(missing, 0x0112)]));
        wire.release();
    }
}
