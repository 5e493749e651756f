//! The stream of events: complete for a client that comes back, whatever became of the node meanwhile, and bounded for one that does not read.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use super::{QUIET, Receiver, kill, store};
use crate::catalogue::{file, wait_for};
use crate::commitment::modality::{ask as ask_for, of_ct, report, with_commitment};
use crate::http::ask;
use crate::node::{Node, eventually};
use crate::wire::Wire;

/// A node with an admin surface, on the root of another if there was one.
pub(super) fn start(root: Option<&Path>, tables: &str) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("node.toml");
    fs::write(&configuration, tables).unwrap();
    Node::start_configured_in(&[("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0")], &configuration, |storage| {
        if let Some(root) = root {
            fs::rename(root, storage).unwrap();
        }
    })
}

fn bearer(node: &Node) -> String {
    let file = node.storage().join(".tidegate/admin.token");
    assert!(eventually(|| file.exists()), "the node makes a token");
    format!("Bearer {}", fs::read_to_string(file).unwrap().trim())
}

/// A client of the stream.
struct Stream {
    socket: BufReader<TcpStream>,
    text: String,
}

/// A block of it.
#[derive(Debug, Default, PartialEq)]
struct Block {
    id: String,
    event: String,
    data: Value,
}

impl Stream {
    fn open(node: &Node, query: &str, last_event_id: Option<&str>) -> Self {
        let mut socket = TcpStream::connect(node.admin_address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let header = last_event_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        write!(
            socket,
            "GET /api/events/stream{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n{header}\r\n",
            bearer(node)
        )
        .unwrap();
        let mut socket = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(socket.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        Self { socket, text: String::new() }
    }

    /// The next block; `None`: the stream has ended in order.
    fn block(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut found = Block::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => found.id = id.to_owned(),
                        Some(("event", event)) => found.event = event.to_owned(),
                        Some(("data", data)) => found.data = serde_json::from_str(data).unwrap(),
                        _ => assert!(line.starts_with(':'), "{line}"),
                    }
                }
                self.text = rest.to_owned();
                return Some(found);
            }
            let mut size = String::new();
            self.socket.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.socket.read_exact(&mut chunk).unwrap();
            if size == 0 {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    /// The next block with an event, which tells its type.
    fn event(&mut self, kind: &str) -> Block {
        // Other blocks are the first one, and one every 15 seconds.
        for _ in 0..8 {
            let block = self.block().unwrap();
            if !block.event.is_empty() {
                assert_eq!(block.event, kind, "{block:?}");
                return block;
            }
        }
        panic!("no {kind} has come");
    }
}

#[test]
fn a_client_that_comes_back_has_missed_nothing_and_has_what_a_sink_has() {
    let receiver = Receiver::started();
    let tables = format!("{QUIET}{}", receiver.table(""));
    let node = start(None, &tables);
    wait_for(&file(&node), 0, 0);
    let mut stream = Stream::open(&node, "", None);
    let begin = stream.block().unwrap();
    assert!(begin.id.ends_with("-0") && begin.event.is_empty(), "{begin:?}");
    store(&node, "1.2.3", 0..2);
    let series = stream.event("series.complete");
    let study = stream.event("study.complete");
    receiver.wait_for(&[("series.complete", "1.2.3"), ("study.complete", "1.2.3")]);
    let sent: Vec<_> = receiver.requests().iter().map(|request| request["event"].clone()).collect();
    assert_eq!([&series.data, &study.data], [&sent[0], &sent[1]]);
    assert_eq!(study.id, study.data["id"].as_str().unwrap());

    let (root, _kept) = kill(node);
    let mut node = start(Some(&root), QUIET);
    wait_for(&file(&node), 2, 0);
    store(&node, "1.2.4", 0..1);
    // Where the client was, beside the `after` of its first request.
    let mut again = Stream::open(&node, "?after=-0", Some(&series.id));
    assert_eq!(again.event("study.complete"), study);
    let others = [again.event("series.complete"), again.event("study.complete")];
    assert!(others.iter().all(|block| block.data["subject"] == "1.2.4"), "without a sink, too: {others:?}");
    let mut studies = Stream::open(&node, "?after=-2&type=study.complete", None);
    assert_eq!(
        [studies.event("study.complete").id, studies.event("study.complete").id],
        [study.id, others[1].id.clone()]
    );
    assert_eq!(node.stop(), Some(0), "who listens keeps no node from stopping");
    // It is told of it if there is time, which a node without associations has not.
    let mut rest = String::new();
    let _ = again.socket.read_to_string(&mut rest);
    assert!(rest.is_empty() || rest.contains("node.draining"), "{rest}");
}

#[test]
fn what_is_missing_is_told() {
    let node = start(None, QUIET);
    wait_for(&file(&node), 0, 0);
    let place = Stream::open(&node, "", None).block().unwrap().id;
    store(&node, "1.2.3", 0..1);
    let mut stream = Stream::open(&node, "?after=0", None);
    stream.event("series.complete");
    let study = stream.event("study.complete");
    let (root, _kept) = kill(node);
    let db = Connection::open(root.join(".tidegate/catalogue.sqlite")).unwrap();
    db.execute("DELETE FROM event WHERE id = 1", []).unwrap();
    drop(db);
    let node = start(Some(&root), QUIET);
    wait_for(&file(&node), 1, 0);
    let mut stream = Stream::open(&node, "", Some(&place));
    let gap = stream.event("gap");
    assert_eq!(gap.data["reason"], "events are missing that are not kept any more: 1");
    assert_eq!(stream.event("study.complete"), study);
    // Of a catalogue that was lost, and of numbers that this one has not had.
    let own = format!("{}-3", place.rsplit_once('-').unwrap().0);
    for (after, reason) in [
        ("0123456789abcdef-1", "the catalogue was made anew since"),
        ("0123456789abcdef-99", "the catalogue was made anew since"),
        ("99", "no such event, the last is 2"),
        (&*own, "no such event, the last is 2"),
    ] {
        let mut stream = Stream::open(&node, &format!("?after={after}"), None);
        let gap = stream.event("gap");
        assert!(gap.data["reason"].as_str().unwrap().starts_with(reason), "{after}: {gap:?}");
        assert_eq!(stream.event("study.complete"), study);
    }
    let token = bearer(&node);
    let status = |query: &str, token: &str| {
        ask(node.admin_address(), "GET", &format!("/api/events/stream{query}"), &[("Authorization", token)], "").status
    };
    assert_eq!([status("?type=study.finished", &token), status("?after=x", &token), status("?x=1", &token)], [400; 3]);
    assert_eq!(ask(node.admin_address(), "GET", "/api/events/stream", &[], "").status, 401);
}

/// Events of a node that has had many.
fn with_events(count: usize) -> Node {
    let quiet = "[completeness]\nstudy_quiet = \"1h\"\nseries_quiet = \"1h\"\n";
    let node = start(None, quiet);
    wait_for(&file(&node), 0, 0);
    store(&node, "1.2.3", 0..1);
    wait_for(&file(&node), 1, 0);
    let (root, _kept) = kill(node);
    let mut db = Connection::open(root.join(".tidegate/catalogue.sqlite")).unwrap();
    let rows = db.transaction().unwrap();
    for _ in 0..count {
        let sql =
            "INSERT INTO event (kind, study, subject, at_ms, data) VALUES (0, 1, '1.2.3', 0, json_object('x', ?1))";
        rows.execute(sql, ["x".repeat(1000)]).unwrap();
    }
    rows.commit().unwrap();
    drop(db);
    start(Some(&root), quiet)
}

/// What the admin surface has leased.
fn leased(node: &Node) -> u64 {
    let snapshot: Value = serde_json::from_str(&node.mem(&["top", "--json"])).unwrap();
    let admin = snapshot["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "admin").cloned();
    admin.and_then(|stage| stage["bytes"].as_u64()).unwrap_or_default()
}

#[test]
fn a_client_that_does_not_read_is_ended_and_one_more_than_may_be_ends_the_oldest() {
    let count = 9000;
    let mut node = with_events(count);
    let mut idle = Stream::open(&node, "?after=0", None);
    let mut reading = Stream::open(&node, "?after=0", None);
    for number in 1..=count {
        assert!(reading.event("study.complete").id.ends_with(&format!("-{number}")));
    }
    // Two connections, and a page that the idle one does not take.
    assert!(eventually(|| leased(&node) < 1 << 20), "{} bytes", leased(&node));
    std::thread::sleep(Duration::from_secs(7));
    let mut bytes = Vec::new();
    let _ = idle.socket.read_to_end(&mut bytes); // its end is a reset
    assert!(bytes.len() < 4 << 20, "{} bytes", bytes.len());
    let mut others: Vec<_> = (0..16).map(|_| Stream::open(&node, "", None)).collect();
    let mut rest = String::new();
    let _ = reading.socket.read_to_string(&mut rest);
    assert!(others.iter_mut().all(|other| other.block().is_some()));
    drop(others);
    assert_eq!(node.stop(), Some(0));
}

/// Its lines so far, by the file that it writes.
struct Tail {
    process: Child,
    directory: tempfile::TempDir,
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tail {
    fn start(socket: &Path, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let output = |name: &str| Stdio::from(fs::File::create(directory.path().join(name)).unwrap());
        let process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["events", "tail", "--socket"])
            .arg(socket)
            .args(arguments)
            .stdout(output("out"))
            .stderr(output("err"))
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn has(&self, name: &str, words: &str) -> bool {
        let is_there = eventually(|| self.text(name).contains(words));
        assert!(is_there, "{words}: {}{}", self.text("out"), self.text("err"));
        is_there
    }
}

#[test]
fn a_terminal_follows_the_events_of_a_node_that_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let tables = format!("{QUIET}[admin]\nsocket = {socket:?}\n");
    let node = start(None, &tables);
    wait_for(&file(&node), 0, 0);
    let studies = Tail::start(&socket, &["--json", "--type", "study.complete"]);
    let people = Tail::start(&socket, &["--after", "0"]);
    store(&node, "1.2.3", 0..2);
    studies.has("out", "\"subject\":\"1.2.3\"");
    people.has("out", "  1.2.3 basis quiet");
    let (root, _kept) = kill(node);
    people.has("err", "waiting for it");
    let node = start(Some(&root), &tables);
    wait_for(&file(&node), 2, 0);
    store(&node, "1.2.4", 0..1);
    studies.has("out", "\"subject\":\"1.2.4\"");
    people.has("err", "the node answers again");
    let lines: Vec<Value> = studies.text("out").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines.iter().map(|event| (event["type"].clone(), event["subject"].clone())).collect();
    assert_eq!(told, [("study.complete".into(), "1.2.3".into()), ("study.complete".into(), "1.2.4".into())]);
    assert_eq!(lines[0]["source"], "/tidegate/TIDEGATE");
    people.has("out", lines[1]["id"].as_str().unwrap());
}

#[test]
fn a_drain_and_a_report_of_commitment_are_events_of_no_study_once_each() {
    let receiver = Receiver::started();
    let tables = format!("{QUIET}{}", receiver.table("events = [\"commitment.reported\", \"node.draining\"]"));
    let mut node = start(None, &tables);
    wait_for(&file(&node), 0, 0);
    let mut stream = Stream::open(&node, "?type=commitment.reported", None);
    crate::catalogue::store(&node, 0..2);
    let (mut wire, _) = Wire::associate(node.address(), with_commitment());
    assert_eq!(ask_for(&mut wire, &of_ct("1.2.9", &["1.2.3.4.0", "1.2.3.4.1", "1.2.3.4.7"])), 0);
    report(&mut wire, Some(0));
    let reported = stream.event("commitment.reported");
    let facts = ["instances", "committed", "not_committed"].map(|name| reported.data["data"][name].clone());
    assert_eq!((reported.data["subject"].clone(), facts), ("1.2.9".into(), [3, 2, 1].map(Value::from)));
    wire.release();
    let token = bearer(&node);
    assert_eq!(ask(node.admin_address(), "POST", "/api/drain", &[("Authorization", &token)], "").status, 202);
    receiver.wait_for(&[("commitment.reported", "1.2.9"), ("node.draining", "TIDEGATE")]);
    assert_eq!(receiver.requests()[1]["event"]["data"]["reason"], "operator");
    assert_eq!(node.stop(), Some(0));

    // What the record says is told again, and is known.
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("storage");
    fs::rename(node.storage(), &kept).unwrap();
    let node = start(Some(&kept), &tables);
    wait_for(&file(&node), 2, 0);
    std::thread::sleep(Duration::from_secs(2));
    let (root, _kept) = kill(node);
    // A node that was killed between its two files.
    let db = Connection::open(root.join(".tidegate/catalogue.sqlite")).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM event WHERE kind = 6", [], |row| row.get::<_, i64>(0)), Ok(1));
    db.execute_batch("DELETE FROM event WHERE kind = 6; DELETE FROM told WHERE origin LIKE 'commitment %'").unwrap();
    drop(db);
    let node = start(Some(&root), &tables);
    let mut stream = Stream::open(&node, "?after=-100&type=commitment.reported", None);
    assert_eq!(stream.event("commitment.reported").data["subject"], "1.2.9");
}

#[test]
fn a_question_in_the_first_moments_of_a_new_root_waits_for_the_catalogue() {
    for _ in 0..5 {
        let mut node = start(None, QUIET);
        let token = bearer(&node);
        for path in ["/api/sinks/events?after=-1", "/api/studies"] {
            let answer = ask(node.admin_address(), "GET", path, &[("Authorization", &token)], "");
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        assert_eq!(node.stop(), Some(0));
    }
}

#[test]
fn the_last_events_of_a_type_are_those_of_the_type() {
    let node = start(None, QUIET);
    wait_for(&file(&node), 0, 0);
    store(&node, "1.2.3", 0..1);
    store(&node, "1.2.4", 0..1);
    let last = |count: &str, kind: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["events", "tail", "--no-follow", "--json", "--last", count, "--type", kind, "--storage"])
            .arg(node.storage())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert!(eventually(|| last("9", "study.complete") == 2));
    // The last event of all is of the other type.
    assert_eq!([last("1", "series.complete"), last("1", "study.complete"), last("2", "series.complete")], [1, 1, 2]);
    assert_eq!(last("0", "series.complete"), 0);
}
