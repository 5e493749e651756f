//! What is called committed is there at that moment, whatever was so before, whatever the catalogue knows, and whatever files say of themselves.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::modality::{Listener, ask, of_ct, report, with_commitment};
use super::{has_caught_up, uid};
use crate::catalogue::{self, store, wait_for};
use crate::http;
use crate::node::{Node, eventually};
use crate::wire::Wire;

/// A node whose catalogue nobody can write. Before the last one stopped, the instance 1 was evaluated as committed and 0 as missing, which has come
/// since, and the report was not taken. Meanwhile something is done to the storage root.
fn with_an_outcome_of_before(meanwhile: impl FnOnce(&Path)) -> (Node, Connection) {
    let mut node = Node::start(&[]);
    store(&node, 1..2);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.5.1", &[&uid(0), &uid(1)])), 0);
    wire.release();
    node.logged(&["commitment report waits until the peer associates again"]);
    store(&node, 0..1);
    wait_for(&catalogue::file(&node), 2, 0);
    assert_eq!(node.stop(), Some(0));
    let kept = tempfile::tempdir().unwrap();
    let root = kept.path().join("storage");
    fs::rename(node.storage(), &root).unwrap();
    meanwhile(&root);
    let mut lock = None;
    let node = Node::start_prepared(&[], |storage| {
        fs::rename(&root, storage).unwrap();
        let connection = Connection::open(storage.join(".tidegate/catalogue.sqlite")).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        lock = Some(connection);
    });
    (node, lock.unwrap())
}

#[test]
fn an_instance_that_was_there_and_is_not_is_not_committed_while_the_catalogue_catches_up() {
    let (node, _lock) = with_an_outcome_of_before(|root| {
        fs::remove_file(root.join("1.2.3/1.2.3.4/1.2.3.4.1.dcm")).unwrap();
    });
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let report = report(&mut wire, Some(0));
    assert_eq!((report.event_type, report.committed, report.failed), (2, vec![uid(0)], vec![(uid(1), 0x0112)]));
}

#[test]
fn an_instance_that_the_catalogue_knows_no_more_is_committed_by_no_former_look() {
    let (node, lock) = with_an_outcome_of_before(|root| {
        fs::remove_file(root.join("1.2.3/1.2.3.4/1.2.3.4.1.dcm")).unwrap();
        let catalogue = Connection::open(root.join(".tidegate/catalogue.sqlite")).unwrap();
        assert_eq!(catalogue.execute("DELETE FROM instance WHERE uid = x'1A2A3A4A1F'", []).unwrap(), 1);
    });
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    wire.0.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let peeked = wire.0.peek(&mut [0]);
    assert!(peeked.is_err(), "nobody can tell, and it is reported");
    wire.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    drop(lock);
    let report = report(&mut wire, Some(0));
    assert_eq!((report.event_type, report.committed, report.failed), (2, vec![uid(0)], vec![(uid(1), 0x0112)]));
}

#[test]
fn a_file_in_the_place_of_another_brings_no_digest_of_its_own() {
    let node = Node::start(&[("TIDEGATE__COMMITMENT__VERIFY", "digest")]);
    store(&node, 0..3);
    has_caught_up(&node);
    wait_for(&catalogue::file(&node), 3, 0);
    let path = |number: u32| node.storage().join(format!("1.2.3/1.2.3.4/1.2.3.4.{number}.dcm"));
    assert_eq!(fs::metadata(path(0)).unwrap().len(), fs::metadata(path(1)).unwrap().len());
    fs::rename(path(1), path(0)).unwrap();
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.5.2", &[&uid(0), &uid(1), &uid(2)])), 0);
    let report = report(&mut wire, Some(0));
    assert_eq!((report.committed, report.failed), (vec![uid(2)], vec![(uid(0), 0x0110), (uid(1), 0x0112)]));
}

/// What was read for a former look is read again if it has changed since.
#[test]
fn a_file_that_gets_other_bytes_before_the_report_is_not_committed() {
    let node = Node::start(&[("TIDEGATE__COMMITMENT__VERIFY", "digest")]);
    store(&node, 0..3);
    has_caught_up(&node);
    wait_for(&catalogue::file(&node), 3, 0);
    std::thread::sleep(Duration::from_millis(50));
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.5.4", &[&uid(0), &uid(1), &uid(2)])), 0);
    wire.release();
    node.logged(&["commitment report waits until the peer associates again"]);
    let path = |number: u32| node.storage().join(format!("1.2.3/1.2.3.4/1.2.3.4.{number}.dcm"));
    // In place, and by a file of the same length that has no digest.
    for (number, place) in [(0, path(0)), (1, node.storage().join("other.dcm"))] {
        let mut bytes = fs::read(path(number)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&place, bytes).unwrap();
        fs::rename(&place, path(number)).unwrap();
    }
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let report = report(&mut wire, Some(0));
    assert_eq!((report.committed, report.failed), (vec![uid(2)], vec![(uid(0), 0x0110), (uid(1), 0x0110)]));
}

/// Time that the process has spent on a processor.
fn spent(node: &Node) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_drained_node_sleeps_and_reports_when_it_serves_again() {
    let (directory, listener) = (tempfile::tempdir().unwrap(), Listener::new());
    let path = directory.path().join("node.toml");
    fs::write(&path, listener.configuration()).unwrap();
    let address = listener.address();
    drop(listener); // nobody listens there
    let surface = [("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0")];
    let node = Node::start_with(&["--config", path.to_str().unwrap()], &surface);
    let token = fs::read_to_string(node.storage().join(".tidegate/admin.token")).unwrap();
    let drain = |method: &str| {
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("Authorization", &*bearer), ("Content-Type", "application/json")];
        assert!(http::ask(node.admin_address(), method, "/api/drain", &headers, "").status < 300);
    };
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.5.3", &[&uid(0)])), 0);
    wire.release();
    node.logged(&["commitment report failed", "cannot connect"]);
    drain("POST");
    std::thread::sleep(Duration::from_secs(7)); // by now a probe would be due
    let before = spent(&node);
    std::thread::sleep(Duration::from_secs(2));
    let busy = spent(&node) - before;
    assert!(busy < Duration::from_millis(400), "{busy:?} in 2 s");
    let listener = Listener::on(address);
    let began = Instant::now();
    drain("DELETE");
    assert_eq!(listener.take(0).transaction, "1.5.3");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(eventually(|| node.log_text().contains("commitment reported")));
}
