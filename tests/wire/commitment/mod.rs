//! Storage commitment: what the node says of an instance is so when it says it, and it says it to the one who asked, whatever happens meanwhile.

mod archive;
mod beside;
pub(crate) mod modality;
mod states;
mod truth;
mod ways;

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::modality::{
    CONTEXT, Listener, PUSH_INSTANCE, PUSH_MODEL, Report, action, ask, information, of_ct, report, with_commitment,
};
use crate::catalogue::{store, wait_for_condition};
use crate::node::{Node, eventually};
use crate::wire::{CT, Wire, command, dataset, p_data, request};

const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

/// Before files are changed: the catch-up of the start would enter them so.
fn has_caught_up(node: &Node) {
    node.logged(&["catalogue caught up"]);
}

fn uid(number: u32) -> String {
    format!("1.2.3.4.{number}")
}

/// A node that knows where the listener is.
fn start_knowing(listener: &Listener, more: &str) -> (Node, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    fs::write(&path, format!("{more}\n{}", listener.configuration())).unwrap();
    (Node::start_with(&["--config", path.to_str().unwrap()], &[]), directory)
}

#[test]
fn a_report_follows_on_the_association_that_asked() {
    let mut node = Node::start(&[]);
    store(&node, 0..3);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let uids = [uid(0), uid(1), uid(2)];
    let references: Vec<&str> = uids.iter().map(String::as_str).collect();
    assert_eq!(ask(&mut wire, &of_ct("1.2.1", &references)), 0);
    let began = Instant::now();
    let report = report(&mut wire, Some(0));
    assert!(began.elapsed() > Duration::from_millis(900), "the modality may release first");
    let expected = Report {
        event_type: 1,
        transaction: "1.2.1".to_owned(),
        retrieve_ae_title: "TIDEGATE".to_owned(),
        committed: uids.to_vec(),
        failed: Vec::new(),
    };
    assert_eq!(report, expected);
    node.logged(&["commitment reported", "committed=3"]);
    // The association goes on.
    assert_eq!(wire.store(2, &uid(9), &dataset(&uid(9), 100)).status, 0);
    wire.release();
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_modality_that_leaves_is_called() {
    let listener = Listener::new();
    let (mut node, _directory) = start_knowing(&listener, "");
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let taking = listener.taking(0);
    assert_eq!(ask(&mut wire, &of_ct("1.2.1", &[&uid(0)])), 0);
    let began = Instant::now();
    wire.release();
    let (_listener, report) = taking.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "at once");
    assert_eq!((report.event_type, report.committed), (1, vec![uid(0)]));
    node.logged(&["commitment reported"]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn what_is_not_there_as_it_was_is_not_committed() {
    let node = Node::start(&[]);
    store(&node, 0..4);
    has_caught_up(&node);
    let path = |number: u32| node.storage().join(format!("1.2.3/1.2.3.4/1.2.3.4.{number}.dcm"));
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let uids: Vec<String> = [0, 1, 2, 3, 77].into_iter().map(uid).collect();
    let references = [(CT, &*uids[0]), (CT, &*uids[1]), (CT, &*uids[2]), (MR, &*uids[3]), (CT, &*uids[4])];
    assert_eq!(ask(&mut wire, &information("1.2.2", references)), 0);
    // Between the request and the report.
    fs::remove_file(path(1)).unwrap();
    fs::OpenOptions::new().write(true).open(path(2)).unwrap().set_len(300).unwrap();
    let report = report(&mut wire, Some(0));
    assert_eq!((report.event_type, &report.committed[..]), (2, &uids[..1]));
    let failed = vec![(uid(1), 0x0112), (uid(2), 0x0110), (uid(3), 0x0119), (uid(77), 0x0112)];
    assert_eq!(report.failed, failed);
}

#[test]
fn a_file_with_other_bytes_of_the_same_length_is_found_by_its_digest() {
    let node = Node::start(&[("TIDEGATE__COMMITMENT__VERIFY", "digest")]);
    store(&node, 0..2);
    let path = node.storage().join("1.2.3/1.2.3.4/1.2.3.4.1.dcm");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.2.3", &[&uid(0), &uid(1)])), 0);
    let report = report(&mut wire, Some(0));
    assert_eq!((report.committed, report.failed), (vec![uid(0)], vec![(uid(1), 0x0110)]));
}

#[test]
fn a_version_that_was_removed_does_not_count() {
    let node = Node::start(&[]);
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(wire.store(1, &uid(0), &dataset(&uid(0), 500)).status, 0);
    let versions = node.stored();
    assert_eq!(versions.len(), 2);
    fs::remove_file(node.storage().join(versions.first().unwrap())).unwrap();
    assert_eq!(ask(&mut wire, &of_ct("1.2.4", &[&uid(0)])), 0);
    assert_eq!(report(&mut wire, Some(0)).committed, [uid(0)]);
}

#[test]
fn of_several_versions_a_damaged_one_is_not_passed_over() {
    let node = Node::start(&[]);
    store(&node, 0..1);
    has_caught_up(&node);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(wire.store(1, &uid(0), &dataset(&uid(0), 500)).status, 0);
    for (at, version) in node.stored().iter().enumerate() {
        let path = node.storage().join(version);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
        assert_eq!(ask(&mut wire, &of_ct(&format!("1.2.4.{at}"), &[&uid(0)])), 0);
        assert_eq!(report(&mut wire, Some(0)).failed, [(uid(0), 0x0110)], "the modality may have that one");
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(ask(&mut wire, &of_ct("1.2.4.9", &[&uid(0)])), 0);
    assert_eq!(report(&mut wire, Some(0)).committed, [uid(0)]);
}

#[test]
fn a_request_whose_node_is_killed_behind_the_response_is_reported_by_the_next() {
    let listener = Listener::new();
    let mut node = Node::start(&[]);
    store(&node, 0..2);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.2.5", &[&uid(0), &uid(1)])), 0);
    node.signal(Signal::KILL);
    node.wait();
    fs::remove_file(node.storage().join("1.2.3/1.2.3.4/1.2.3.4.1.dcm")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("storage");
    fs::rename(node.storage(), &kept).unwrap();
    let configuration = directory.path().join("node.toml");
    fs::write(&configuration, listener.configuration()).unwrap();
    let taking = listener.taking(0);
    let next = Node::start_configured(&configuration, |storage| fs::rename(&kept, storage).unwrap());
    let (_listener, report) = taking.join().unwrap();
    assert_eq!((report.transaction.as_str(), report.committed), ("1.2.5", vec![uid(0)]));
    assert_eq!(report.failed, [(uid(1), 0x0112)]);
    drop(next);
}

#[test]
fn every_request_has_a_response() {
    let node = Node::start(&[]);
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let good = of_ct("1.2.6", &[&uid(0)]);
    let mut ask_as = |class, instance, action_type, information: &[u8]| {
        wire.send(&action(3, class, instance, action_type, information));
        let response = wire.response();
        assert_eq!((response.command_field, response.message_id), (0x8130, 3));
        response.status
    };
    assert_eq!(ask_as(CT, PUSH_INSTANCE, 1, &good), 0x0118);
    assert_eq!(ask_as(PUSH_MODEL, "1.2.3", 1, &good), 0x0112);
    assert_eq!(ask_as(PUSH_MODEL, PUSH_INSTANCE, 2, &good), 0x0123);
    assert_eq!(ask_as(PUSH_MODEL, PUSH_INSTANCE, 1, &good[..good.len() - 3]), 0x0115);
    assert_eq!(ask_as(PUSH_MODEL, PUSH_INSTANCE, 1, &[]), 0x0120);
    assert_eq!(ask_as(PUSH_MODEL, PUSH_INSTANCE, 1, &of_ct("", &[&uid(0)])), 0x0115);
    assert_eq!(ask_as(PUSH_MODEL, PUSH_INSTANCE, 1, &of_ct("1.2.6", &[])), 0x0115);
    assert_eq!(ask_as(PUSH_MODEL, PUSH_INSTANCE, 1, b"no dataset at all"), 0x0115);
    let without = command(&[
        (0x0003, PUSH_MODEL.as_bytes()),
        (0x0100, &0x0130_u16.to_le_bytes()),
        (0x0110, &[9, 0]),
        (0x0800, &[1, 1]),
        (0x1001, PUSH_INSTANCE.as_bytes()),
        (0x1008, &[1, 0]),
    ]);
    wire.send(&p_data(CONTEXT, 3, &without));
    assert_ne!(wire.response().status, 0);
    assert_eq!(ask(&mut wire, &good), 0, "and the association is none the worse");
    assert_eq!(ask(&mut wire, &good), 0x0131, "the transaction is in use");
    assert_eq!(report(&mut wire, Some(0)).committed, [uid(0)]);
    assert_eq!(ask(&mut wire, &good), 0x0131, "and remains so");
}

#[test]
fn it_can_be_denied_by_a_rule_and_switched_off() {
    let rule = "[[access]]\nname = \"all\"\naction = \"allow\"\ncommitment = false";
    let (denied, _directory) = start_knowing(&Listener::new(), rule);
    let off = Node::start(&[("TIDEGATE__COMMITMENT__ENABLED", "false")]);
    let without_catalogue = Node::start(&[("TIDEGATE__CATALOGUE__PATH", "off")]);
    for node in [&denied, &off, &without_catalogue] {
        let (wire, answer) = Wire::associate(node.address(), with_commitment());
        let context = answer.presentation_contexts.iter().find(|context| context.id == CONTEXT).unwrap();
        assert_ne!(context.reason, dicom_ul::pdu::PresentationContextResultReason::Acceptance);
        wire.release();
    }
    for node in [&off, &without_catalogue] {
        node.logged(&["presentation contexts refused", "storage commitment is off"]);
    }
}

#[test]
fn a_hundred_thousand_references_take_little_memory() {
    let mut node = Node::start(&[]);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let uids: Vec<String> = (0..100_000).map(|number| format!("1.2.826.0.1.3680043.9.7.{number}")).collect();
    let references: Vec<&str> = uids.iter().map(String::as_str).collect();
    let before = resident();
    assert_eq!(ask(&mut wire, &of_ct("1.2.7", &references)), 0);
    let report = report(&mut wire, Some(0));
    let grown = resident() - before;
    assert_eq!((report.event_type, report.failed.len()), (2, 100_000));
    assert!(grown < 24 * 1024, "{grown} KiB"); // with the page cache of the catalogue, which the first question fills
    let more: Vec<&str> = references.iter().copied().chain(["1.2.3.4"]).collect();
    assert_eq!(ask(&mut wire, &of_ct("1.2.8", &more)), 0x0213);
    wire.release();
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn an_instance_that_the_catalogue_may_not_know_yet_is_waited_for() {
    let mut node = Node::start_with_surface(&[]);
    store(&node, 0..1);
    wait_for_condition(&node, "current");
    assert_eq!(node.stop(), Some(0));
    // The next node has to make its catalogue anew.
    let kept = tempfile::tempdir().unwrap();
    let root = kept.path().join("storage");
    fs::rename(node.storage(), &root).unwrap();
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(root.join(format!(".tidegate/catalogue.sqlite{ending}")));
    }
    let next = Node::start_prepared(&[], |storage| fs::rename(&root, storage).unwrap());
    let (mut wire, _) = Wire::associate(next.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.2.9", &[&uid(0)])), 0);
    assert_eq!(report(&mut wire, Some(0)).committed, [uid(0)]);
}

#[test]
fn a_request_beside_the_last_instance_on_another_association_counts_it() {
    let node = Node::start(&[]);
    let (mut asking, _) = Wire::associate(node.address(), with_commitment());
    let (mut storing, _) = Wire::associate(node.address(), request());
    assert_eq!(ask(&mut asking, &of_ct("1.2.10", &[&uid(0)])), 0);
    assert_eq!(storing.store(1, &uid(0), &dataset(&uid(0), 100)).status, 0);
    assert_eq!(report(&mut asking, Some(0)).committed, [uid(0)]);
    storing.release();
    let is_logged = || node.log_text().contains("commitment reported");
    assert!(eventually(is_logged));
}
