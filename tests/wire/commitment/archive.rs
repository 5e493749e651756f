//! `commit_when`: the node says of an instance that it is committed when its destinations have it. And a modality that was away has its report soon
//! after it is back.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::modality::{Listener, ask, of_ct, report, with_commitment};
use super::uid;
use crate::catalogue::store;
use crate::delivery::scp::{Behaviour, Commit, Reply, Scp};
use crate::node::{Node, eventually};
use crate::wire::Wire;

/// A node whose reports wait for the archive there.
fn start(address: SocketAddr, more: &str) -> (Node, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    let text = format!(
        "[commitment]\ncommit_when = [\"archive\"]\n[delivery]\nto = [\"archive\"]\n[[destination]]\nname = \"archive\"\n\
         address = \"{address}\"\ncalled = \"ARCHIVE\"\n{more}\n"
    );
    fs::write(&path, text).unwrap();
    (Node::start_with(&["--config", path.to_str().unwrap()], &[]), directory)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Nothing comes on the association for so long.
fn is_quiet(wire: &Wire, time: Duration) -> bool {
    wire.0.set_read_timeout(Some(time)).unwrap();
    let is_quiet = wire.0.peek(&mut [0]).is_err();
    wire.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    is_quiet
}

#[test]
fn a_report_waits_for_the_archive_and_says_what_became_of_each() {
    let address = free_address();
    let (node, _directory) = start(address, "attempts = 1");
    store(&node, 0..3);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let uids = [uid(0), uid(1), uid(2), uid(9)];
    let references: Vec<&str> = uids.iter().map(String::as_str).collect();
    assert_eq!(ask(&mut wire, &of_ct("1.9.1", &references)), 0);
    assert!(is_quiet(&wire, Duration::from_secs(4)), "the archive has nothing yet");
    let answer = |of: &str, _| Reply::Status(if of == uid(1) { 0xC000 } else { 0 });
    let behaviour = Behaviour { answer: Box::new(answer), ..Behaviour::default() };
    let _scp = Scp::on(TcpListener::bind(address).unwrap(), behaviour);
    let report = report(&mut wire, Some(0));
    assert_eq!(report.committed, [uid(0), uid(2)]);
    assert_eq!(report.failed, [(uid(1), 0x0110), (uid(9), 0x0112)]);
    wire.release();
}

#[test]
fn where_the_archive_commits_the_report_waits_for_that_too_and_over_a_kill() {
    let scp = Scp::new(Behaviour { commit: Box::new(|_, _| Commit::Status(0x0110)), ..Behaviour::default() });
    let address = scp.address();
    let (mut node, directory) = start(address, "commit = true");
    store(&node, 0..2);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.9.2", &[&uid(0), &uid(1)])), 0);
    node.logged(&["destination does not commit"]);
    assert!(is_quiet(&wire, Duration::from_secs(3)), "the archive has not committed");
    node.signal(Signal::KILL);
    node.wait();
    let kept = directory.path().join("kept");
    fs::rename(node.storage(), &kept).unwrap();
    // Asked for no more, what was sent is delivered.
    let configuration = directory.path().join("node.toml");
    let text = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, text.replace("commit = true", "")).unwrap();
    let node = Node::start_configured(&configuration, |storage| fs::rename(&kept, storage).unwrap());
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    let report = report(&mut wire, Some(0));
    assert_eq!((report.transaction.as_str(), report.committed.len()), ("1.9.2", 2));
    wire.release();
}

#[test]
fn a_modality_that_was_away_has_its_report_soon_after_its_return() {
    let address = free_address();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    fs::write(&path, format!("[[peer]]\nae_title = \"WIRE\"\naddress = \"{address}\"\n")).unwrap();
    let node = Node::start_with(&["--config", path.to_str().unwrap()], &[]);
    store(&node, 0..1);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.9.3", &[&uid(0)])), 0);
    wire.release();
    node.logged(&["commitment report failed", "cannot connect to"]);
    // So long that the next attempt is due later than a probe.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(node.log_text().matches("commitment report failed").count(), 1, "a probe is no report");
    let began = Instant::now();
    let listener = Listener::on(address);
    let mut wire = listener.associated(true);
    assert_eq!(report(&mut wire, Some(0)).transaction, "1.9.3");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(eventually(|| node.log_text().contains("commitment reported")));
}
