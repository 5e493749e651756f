//! Completeness of studies and the webhooks that tell of it, with a receiver in another language that fails in every way.

mod away;
mod hints;
mod stream;
mod told;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use tidegate_catalogue::{Reader, SinkRow};

use crate::catalogue::{file, wait_for};
use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset_of, request};

/// `whsec_` and 32 bytes.
const KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The receiver.
struct Receiver {
    process: Option<Child>,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Receiver {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        fs::write(&key, KEY).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { process: None, address, directory }
    }

    fn started() -> Self {
        let mut receiver = Self::new();
        receiver.start();
        receiver
    }

    fn start(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/sinks/receiver.py");
        let process = Command::new("python3")
            .arg(script)
            .args([&self.address.port().to_string(), KEY])
            .arg(self.directory.path())
            .spawn()
            .unwrap();
        self.process = Some(process);
        assert!(eventually(|| TcpStream::connect(self.address).is_ok()));
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// What it answers to the next requests.
    fn tell(&self, answers: &[&str]) {
        fs::write(self.directory.path().join("script"), answers.join("\n")).unwrap();
    }

    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.path().join("requests")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Type and subject of what it has taken, each event once, in the order in which it came first.
    fn taken(&self) -> Vec<(String, String)> {
        let mut ids = Vec::new();
        let mut taken = Vec::new();
        for request in self.requests() {
            assert!(request["is_signed"] == true && request["is_fresh"] == true, "{request}");
            assert_eq!(request["type"], "application/cloudevents+json");
            assert_eq!(request["event"]["id"], request["id"]);
            let is_taken = ["200", "long", "early", "double", "slow"].iter().any(|told| request["told"] == *told);
            if is_taken && !ids.contains(&request["id"]) {
                ids.push(request["id"].clone());
                let text = |name: &str| request["event"][name].as_str().unwrap().to_owned();
                taken.push((text("type"), text("subject")));
            }
        }
        taken
    }

    /// Waits for these. Only the events of one study have an order.
    fn wait_for(&self, expected: &[(&str, &str)]) {
        let by_study = |mut events: Vec<(String, String)>| {
            events.sort_by(|one, other| one.1.cmp(&other.1));
            events
        };
        let expected: Vec<_> = expected.iter().map(|(kind, of)| ((*kind).to_owned(), (*of).to_owned())).collect();
        assert!(eventually(|| self.taken().len() >= expected.len()), "{:?}", self.taken());
        assert_eq!(by_study(self.taken()), by_study(expected));
    }

    fn table(&self, more: &str) -> String {
        let key = self.directory.path().join("key");
        format!("[[sink]]\nname = \"ris\"\nurl = \"http://{}/hook?a=1\"\nsecret_file = {key:?}\n{more}\n", self.address)
    }
}

const QUIET: &str = "[completeness]\nstudy_quiet = \"2s\"\nseries_quiet = \"1s\"\n";

/// A node with a sink, on the root of another if there was one.
fn start(root: Option<&Path>, tables: &str) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("node.toml");
    fs::write(&configuration, tables).unwrap();
    let node = Node::start_configured(&configuration, |storage| {
        if let Some(root) = root {
            fs::rename(root, storage).unwrap();
        }
    });
    drop(directory);
    node
}

fn kill(mut node: Node) -> (PathBuf, tempfile::TempDir) {
    node.signal(Signal::KILL);
    node.wait();
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("storage");
    fs::rename(node.storage(), &kept).unwrap();
    (kept, directory)
}

fn send(wire: &mut Wire, study: &str, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        let uid = format!("{study}.1.{number}");
        let dataset = dataset_of(&uid, (study, &format!("{study}.1")), 100);
        assert_eq!(wire.store(1, &uid, &dataset).status, 0, "{uid}");
    }
}

fn store(node: &Node, study: &str, numbers: impl IntoIterator<Item = u32>) {
    let (mut wire, _) = Wire::associate(node.address(), request());
    send(&mut wire, study, numbers);
    wire.release();
}

fn row(node: &Node) -> Option<SinkRow> {
    Reader::open(&file(node)).and_then(|mut reader| reader.sink("ris")).ok().flatten()
}

#[test]
fn a_study_is_announced_once_when_it_is_quiet_and_again_when_it_was_reopened() {
    let receiver = Receiver::started();
    let tables = format!("{QUIET}{}", receiver.table("patient = true"));
    let mut node = start(None, &tables);
    store(&node, "1.2.3", 0..3);
    receiver.wait_for(&[("series.complete", "1.2.3"), ("study.complete", "1.2.3")]);
    let requests = receiver.requests();
    let event = &requests[1]["event"];
    assert_eq!((&event["specversion"], &event["source"]), (&"1.0".into(), &"/tidegate/TIDEGATE".into()));
    assert_eq!((&event["data"]["instances"], &event["data"]["completions"]), (&3.into(), &1.into()));
    assert_eq!(requests[0]["path"], "/hook?a=1");
    // Late by less than a second.
    let last_ms = fs::metadata(node.storage().join("1.2.3/1.2.3.1/1.2.3.1.2.dcm")).unwrap().modified().unwrap();
    let last_s = last_ms.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let late = requests[1]["at"].as_f64().unwrap() - last_s - 2.0;
    assert!((-0.1..2.0).contains(&late), "late by {late} s");
    // The same again is nothing new.
    store(&node, "1.2.3", 0..3);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(receiver.taken().len(), 2);
    store(&node, "1.2.3", 2..4);
    let more = [("study.reopened", "1.2.3"), ("series.complete", "1.2.3"), ("study.complete", "1.2.3")];
    receiver.wait_for(&[&[("series.complete", "1.2.3"), ("study.complete", "1.2.3")][..], &more].concat());
    assert_eq!(receiver.requests()[4]["event"]["data"]["instances"], 4);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_study_that_somebody_is_sending_is_not_complete() {
    let receiver = Receiver::started();
    let node = start(None, &format!("{QUIET}{}", receiver.table("events = [\"study.complete\"]")));
    let (mut wire, _) = Wire::associate(node.address(), request());
    send(&mut wire, "1.2.5", 0..2);
    store(&node, "1.2.6", 0..1);
    std::thread::sleep(Duration::from_secs(5));
    receiver.wait_for(&[("study.complete", "1.2.6")]);
    let ended = Instant::now();
    wire.release();
    receiver.wait_for(&[("study.complete", "1.2.6"), ("study.complete", "1.2.5")]);
    assert!(ended.elapsed() < Duration::from_millis(1500), "{:?}", ended.elapsed());
}

#[test]
fn a_receiver_that_fails_gets_everything_in_order_and_a_redirect_is_not_followed() {
    let receiver = Receiver::started();
    receiver.tell(&["500", "close", "garbage", "301", "long", "503:1", "hang"]);
    let mut node = start(None, &format!("{QUIET}{}", receiver.table("timeout = \"1s\"")));
    store(&node, "1.2.3", 0..2);
    receiver.wait_for(&[("series.complete", "1.2.3"), ("study.complete", "1.2.3")]);
    let requests = receiver.requests();
    assert!(requests.iter().all(|request| request["path"] == "/hook?a=1"), "{requests:?}");
    let told: Vec<_> = requests.iter().map(|request| request["told"].as_str().unwrap()).collect();
    assert_eq!(told[..4], ["500", "close", "garbage", "301"], "{told:?}");
    node.logged(&["sink takes events again", "ris"]);
    assert!(eventually(|| row(&node).is_some_and(|row| (row.waiting, row.published, row.dead) == (0, 2, 0))));
    let log = node.log_text();
    assert!(!log.contains("whsec_") && !log.contains("hook"), "{log}");
    assert_eq!(node.stop(), Some(0));
}

/// An event follows the one before it as soon as that was taken, and never overtakes one that was not.
#[test]
fn events_of_one_study_keep_their_order_through_failures() {
    let receiver = Receiver::started();
    let mut answers = vec!["200"; 120];
    for (at, answer) in [(7, "503"), (8, "close"), (30, "500"), (31, "500"), (60, "garbage"), (100, "slow")] {
        answers[at] = answer;
    }
    receiver.tell(&answers);
    let mut node = start(None, &receiver.table("events = [\"instance.stored\"]"));
    store(&node, "1.2.3", 0..120);
    store(&node, "1.2.4", 0..3);
    assert!(eventually(|| row(&node).is_some_and(|row| (row.waiting, row.published) == (0, 123))));
    for (study, number) in [("1.2.3", 120), ("1.2.4", 3)] {
        let of_study = |request: &&Value| request["event"]["subject"] == study;
        let is_taken = |request: &&Value| request["told"] == "200" || request["told"] == "slow";
        let requests = receiver.requests();
        let event =
            |request: &Value| request["id"].as_str().and_then(|id| id.rsplit('-').next()?.parse().ok()).unwrap();
        let tried: Vec<u64> = requests.iter().filter(of_study).map(event).collect();
        assert!(tried.is_sorted(), "{tried:?}");
        let taken = requests.iter().filter(of_study).filter(is_taken).count();
        assert_eq!(taken, number);
    }
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn an_answer_counts_for_its_own_request_alone() {
    let receiver = Receiver::started();
    receiver.tell(&["early", "500", "double", "500"]);
    let node = start(None, &format!("{QUIET}{}", receiver.table("events = [\"study.complete\"]")));
    for (told, study) in [(1, "1.2.3"), (2, "1.2.4")] {
        store(&node, study, 0..1);
        receiver.wait_for(&["1.2.3", "1.2.4"].map(|study| ("study.complete", study))[..told]);
    }
    store(&node, "1.2.5", 0..1);
    receiver.wait_for(&["1.2.3", "1.2.4", "1.2.5"].map(|study| ("study.complete", study)));
    let told: Vec<_> = receiver.requests().iter().map(|request| request["told"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["early", "500", "double", "500", "200"]);
}

/// Whatever is under way with them: it waits for its answer at the old address, and holds nothing.
#[test]
fn settings_are_those_of_the_next_event_while_attempts_hang() {
    let (former, latter) = (Receiver::started(), Receiver::started());
    former.tell(&["hang"; 20]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    let more = "events = [\"instance.stored\"]\ntimeout = \"5m\"";
    fs::write(&path, former.table(more)).unwrap();
    let node = Node::start_configured(&path, |_| {});
    let studies: Vec<_> = (0..8).map(|study| format!("1.2.{study}")).collect();
    studies[..6].iter().for_each(|study| store(&node, study, 0..1));
    assert!(eventually(|| former.requests().len() == 4));
    fs::write(&path, latter.table(more)).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["configuration reloaded"]);
    studies[6..].iter().for_each(|study| store(&node, study, 0..1));
    assert!(eventually(|| latter.taken().len() == 4), "{:?}", latter.taken());
    latter.tell(&["410"]);
    let more: Vec<_> = (100..160).map(|study| format!("1.2.{study}")).collect();
    more.iter().for_each(|study| store(&node, study, 0..1));
    assert!(eventually(|| row(&node).is_some_and(|row| row.gone_ms.is_some())));
    let requests = latter.requests();
    let at = requests.iter().position(|request| request["told"] == "410").unwrap();
    assert!(requests.len() <= at + 4, "{} were sent behind 410", requests.len() - at - 1);
}

fn operate(node: &Node, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output =
        command.arg("events").args(arguments).args(["--sink", "ris", "--storage"]).arg(node.storage()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_receiver_that_changes_the_protocol_ends_nothing_and_one_that_refuses_all_is_said_to() {
    let receiver = Receiver::started();
    receiver.tell(&["switch", "interim", "401", "401"]);
    let node = start(None, &format!("{QUIET}{}", receiver.table("events = [\"study.complete\"]")));
    store(&node, "1.2.3", 0..1);
    receiver.wait_for(&[("study.complete", "1.2.3")]);
    let told: Vec<_> = receiver.requests().iter().map(|request| request["told"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["switch", "interim", "401", "401", "200"], "each is one attempt");
    node.logged(&["sink does not take events; trying again"]);
    node.logged(&["sink takes events again"]);
    assert!(!node.log_text().contains("child ended"));
}

/// What a sink has read of its events, and the connections that it has, do not outlive an order or the settings.
#[test]
fn what_is_dropped_is_not_sent_and_after_a_reload_nothing_goes_to_the_former_address() {
    let (former, latter) = (Receiver::started(), Receiver::started());
    former.tell(&["slow"; 100]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    let only = "events = [\"study.complete\"]";
    fs::write(&path, format!("{QUIET}{}", former.table(only))).unwrap();
    let node = Node::start_configured(&path, |_| {});
    wait_for(&file(&node), 0, 0);
    let studies = |from: u32| (from..from + 30).map(|study| format!("1.2.{study}")).collect::<Vec<_>>();
    // Over one association: they are complete at about the same time. What comes about behind an order is not under it.
    let store_all = |studies: &[String]| {
        let (mut wire, _) = Wire::associate(node.address(), request());
        studies.iter().for_each(|study| send(&mut wire, study, 0..1));
        wire.release();
    };
    let come = || row(&node).map_or(0, |row| row.waiting + row.published);
    store_all(&studies(100));
    assert!(eventually(|| come() == 30 && former.requests().len() >= 4));
    operate(&node, &["drop", "--all"]);
    let begun = former.requests().len() + 4;
    assert!(eventually(|| row(&node).is_some_and(|row| row.waiting == 0)));
    std::thread::sleep(Duration::from_secs(2));
    assert!(former.requests().len() <= begun, "{} after {begun}", former.requests().len());
    let (before, had) = (former.requests().len(), come());
    store_all(&studies(200));
    assert!(eventually(|| come() == had + 30 && former.requests().len() >= before + 4));
    fs::write(&path, format!("{QUIET}{}", latter.table(only))).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["configuration reloaded"]);
    let begun = former.requests().len() + 4;
    assert!(eventually(|| row(&node).is_some_and(|row| row.waiting == 0)));
    assert!(former.requests().len() <= begun, "{} after {begun}", former.requests().len());
    let (to_former, to_latter) = (former.taken(), latter.taken());
    assert!(studies(200).iter().all(|study| to_former.iter().chain(&to_latter).any(|(_, of)| of == study)));
}

/// Kills the node again and again while studies come, at any moment between their arrival and the note of what was sent.
#[test]
fn no_kill_loses_an_event_or_makes_one_too_early() {
    let mut receiver = Receiver::new();
    // A node may take long to be back: until then, the study is not due.
    let quiet = "[completeness]\nstudy_quiet = \"30s\"\nseries_quiet = \"1s\"\n";
    let tables = format!("{quiet}{}", receiver.table("events = [\"study.complete\", \"study.reopened\"]"));
    let mut node = start(None, &tables);
    wait_for(&file(&node), 0, 0);
    let kills = 12;
    for round in 0..kills {
        let study = format!("1.2.{round}");
        let (mut wire, _) = Wire::associate(node.address(), request());
        send(&mut wire, &study, 0..5);
        if round == kills / 2 {
            receiver.start();
        }
        let wait_ms = u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()) % 3000;
        std::thread::sleep(Duration::from_millis(wait_ms));
        let (root, _kept) = kill(node);
        node = start(Some(&root), &tables);
        // The rest of it comes before it has been quiet.
        store(&node, &study, 5..8);
    }
    let is_whole = |taken: &[(String, String)]| {
        (0..kills).all(|round| taken.iter().any(|(_, study)| *study == format!("1.2.{round}")))
    };
    let is_done = || is_whole(&receiver.taken()) && row(&node).is_some_and(|row| row.waiting == 0);
    assert!((0..5).any(|_| eventually(is_done)), "{:?}", receiver.taken());
    for round in 0..kills {
        let of = |request: &&Value| request["event"]["subject"] == format!("1.2.{round}").as_str();
        let requests = receiver.requests();
        let of_study: Vec<_> = requests.iter().filter(of).collect();
        let mut ids: Vec<_> = of_study.iter().map(|request| request["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        let events: Vec<_> = of_study.iter().map(|request| &request["event"]).collect();
        assert_eq!(ids.len(), 1, "announced once: {events:?}");
        assert_eq!(events[0]["data"]["instances"], 8, "{events:?}");
    }
}
