//! What operators and modalities see after refusals, restarts and reloads.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::modality::{Listener, ask, of_ct, report, with_commitment};
use super::uid;
use crate::catalogue::store;
use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset};

/// What a command prints about a node, as JSON.
fn told(node: &Node, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .args(["--json", "--storage", node.storage().to_str().unwrap()])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Has these instances reported on an association of this AE title.
fn reported(node: &Node, calling: &str, transaction: &str, instances: &[&str]) -> super::Report {
    let mut request = with_commitment();
    request.calling_ae_title = calling.into();
    let (mut wire, _) = Wire::associate(node.address(), request);
    assert_eq!(ask(&mut wire, &of_ct(transaction, instances)), 0);
    let report = report(&mut wire, Some(0));
    node.logged(&["commitment reported", transaction]);
    wire.release();
    report
}

/// Kills the node, and starts another on its root.
fn replaced(mut node: Node, environment: &[(&str, &str)]) -> Node {
    node.signal(Signal::KILL);
    node.wait();
    let kept = tempfile::tempdir().unwrap();
    let root = kept.path().join("storage");
    fs::rename(node.storage(), &root).unwrap();
    Node::start_prepared(environment, |storage| fs::rename(&root, storage).unwrap())
}

#[test]
fn an_instance_that_was_refused_since_another_is_stored_is_not_committed_to_its_sender() {
    let refuse = [("TIDEGATE__STORAGE__DUPLICATES", "refuse")];
    let node = Node::start(&refuse);
    store(&node, 0..2);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(wire.store(1, &uid(0), &dataset(&uid(0), 500)).status, 0x0111);
    assert_eq!(ask(&mut wire, &of_ct("1.4.1", &[&uid(0), &uid(1)])), 0);
    let first = report(&mut wire, Some(0));
    assert_eq!((first.committed, first.failed), (vec![uid(1)], vec![(uid(0), 0x0110)]));
    node.logged(&["WARN", "commitment reported: not all instances are committed", "not_committed=1"]);
    wire.release();
    // To another AE title it is committed.
    assert_eq!(reported(&node, "OTHER", "1.4.2", &[&uid(0)]).committed, [uid(0)]);
    // A restart forgets nothing.
    let node = replaced(node, &refuse);
    assert_eq!(reported(&node, "WIRE", "1.4.3", &[&uid(0)]).failed, [(uid(0), 0x0110)]);
    // Once the peer has sent what is stored, it is.
    store(&node, 0..1);
    assert_eq!(reported(&node, "WIRE", "1.4.4", &[&uid(0)]).committed, [uid(0)]);
}

#[test]
fn a_file_that_a_report_calls_missing_is_gone_for_operators_too() {
    let node = Node::start(&[]);
    store(&node, 0..2);
    let state = || told(&node, &["instance", &uid(1)]).pointer("/instances/0/state").cloned().unwrap_or_default();
    assert!(eventually(|| state() == "present"), "{}", told(&node, &["instance", &uid(1)]));
    fs::remove_file(node.storage().join("1.2.3/1.2.3.4/1.2.3.4.1.dcm")).unwrap();
    assert_eq!(reported(&node, "WIRE", "1.4.5", &[&uid(1)]).failed, [(uid(1), 0x0112)]);
    let began = Instant::now();
    assert!(eventually(|| state() == "gone"), "{}", state());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn after_a_restart_and_without_the_service_operators_see_what_waits() {
    let (directory, listener) = (tempfile::tempdir().unwrap(), Listener::new());
    let path = directory.path().join("node.toml");
    fs::write(&path, listener.configuration()).unwrap();
    drop(listener); // nobody listens there
    let node = Node::start_configured(&path, |_| {});
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.4.6", &[&uid(0)])), 0);
    wire.release();
    node.logged(&["commitment report failed", "cannot connect"]);
    let health = |node: &Node| told(node, &["status"])["commitment"].take();
    assert!(eventually(|| health(&node)["retrying"] == 1));
    let node = replaced(node, &[("TIDEGATE__COMMITMENT__ENABLED", "false")]);
    let seen = eventually(|| (&health(&node)["retrying"], &health(&node)["condition"]) == (&1.into(), &"off".into()));
    assert!(seen, "{}", health(&node));
    let node = replaced(node, &[("TIDEGATE__CATALOGUE__PATH", "off")]);
    let listed = told(&node, &["commitments", "--pending", "--calling", "WIRE"]);
    assert_eq!(listed["commitments"][0]["transaction_uid"], "1.4.6", "{listed}");
}

#[test]
fn a_reload_that_corrects_the_address_of_a_peer_is_followed_by_an_attempt() {
    let (directory, wrong, right) = (tempfile::tempdir().unwrap(), Listener::new(), Listener::new());
    let path = directory.path().join("node.toml");
    fs::write(&path, wrong.configuration()).unwrap();
    drop(wrong);
    let node = Node::start_configured(&path, |_| {});
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.4.7", &[&uid(0)])), 0);
    wire.release();
    node.logged(&["commitment report failed", "again_in_s"]);
    fs::write(&path, right.configuration()).unwrap();
    let (began, taking) = (Instant::now(), right.taking(0));
    node.signal(Signal::HUP);
    let (_listener, report) = taking.join().unwrap();
    assert_eq!(report.transaction, "1.4.7");
    assert!(began.elapsed() < Duration::from_secs(15), "before the next attempt was due");
}
