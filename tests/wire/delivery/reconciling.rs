//! `tidegate reconcile`: each difference between files, catalogue and destinations is named, and nothing is changed.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::finder::{Finder, Held, Manner};
use super::scp::{Behaviour, Scp};
use super::{Gateway, uid, with_delivery};
use crate::catalogue::{file, store};
use crate::node::eventually;
use crate::wire::{Wire, dataset_of, request};

const STUDY: &str = "1.2.3";
const SERIES: &str = "1.2.3.4";

struct Told {
    exit: Option<i32>,
    found: Value,
    text: String,
    stderr: String,
}

/// What the command says with these tables of the destination, as JSON and as text.
fn reconcile(gateway: &Gateway, tables: &str, arguments: &[&str]) -> Told {
    let configuration = tempfile::NamedTempFile::new().unwrap();
    fs::write(&configuration, with_delivery(tables)).unwrap();
    let run = |json: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("reconcile")
            .args(arguments)
            .args(json)
            .arg("--config")
            .arg(configuration.path())
            .arg("--storage")
            .arg(gateway.node.storage())
            .env("TIDEGATE_TEST_ANSWER_TIMEOUT_MS", "1500")
            .output()
            .unwrap()
    };
    let (json, text) = (run(&["--json"]), run(&[]));
    assert_eq!(json.status.code(), text.status.code(), "{json:?} {text:?}");
    Told {
        exit: json.status.code(),
        found: serde_json::from_slice(&json.stdout).unwrap_or(Value::Null),
        text: String::from_utf8(text.stdout).unwrap(),
        stderr: String::from_utf8(json.stderr).unwrap(),
    }
}

fn ask(gateway: &Gateway, finder: &Finder) -> Told {
    reconcile(gateway, &finder.destination(), &["--destination", "archive"])
}

/// A node that has delivered the instances 0 to 5, and what its destination has.
fn delivered() -> (Scp, Gateway, Held) {
    let scp = Scp::new(Behaviour::default());
    let gateway = Gateway::start(&scp.destination("archive", ""));
    store(&gateway.node, 0..6);
    gateway.wait_for(6, 0);
    let instances = (0..6).map(uid).collect();
    let held = Held::from([(STUDY.to_owned(), [(SERIES.to_owned(), instances)].into())]);
    (scp, gateway, held)
}

/// The differences of a kind, by their UIDs.
fn named(found: &Value, kind: &str) -> Vec<String> {
    let all = found["named"].as_array().unwrap().iter().filter(|one| one["kind"] == kind);
    all.map(|one| one["sop_instance_uid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_destination_that_has_everything_differs_in_nothing() {
    let (_scp, mut gateway, held) = delivered();
    let finder = Finder::new(held.clone(), Manner::Honest);
    let told = ask(&gateway, &finder);
    assert_eq!((told.exit, &told.found["instances"]), (Some(0), &6.into()), "{} {}", told.found, told.stderr);
    assert!(told.text.contains("6 instances delivered, 0 missing there, 0 not known here"), "{}", told.text);
    assert_eq!(finder.titles()[0], ("TIDEGATE".to_owned(), "ARCHIVE".to_owned()));
    // Unsorted, twice, and with matches of another study.
    let told = ask(&gateway, &Finder::new(held.clone(), Manner::Untidy));
    assert_eq!((told.exit, &told.found["ignored"]), (Some(0), &2.into()), "{}", told.found);
    // Without a node.
    assert_eq!(gateway.node.stop(), Some(0));
    assert_eq!(ask(&gateway, &finder).exit, Some(0));
}

#[test]
fn what_is_missing_there_and_what_is_unknown_here_is_named() {
    let (scp, gateway, mut held) = delivered();
    // Of another study, which the destination has lost.
    let (mut wire, _) = Wire::associate(gateway.node.address(), request());
    let dataset = dataset_of("1.7.1", ("1.7", "1.7.0"), 100);
    assert_eq!(wire.store(1, "1.7.1", &dataset).status, 0);
    gateway.wait_for(7, 0);
    let series = held.get_mut(STUDY).unwrap();
    series.get_mut(SERIES).unwrap().retain(|one| *one != uid(2) && *one != uid(4));
    series.insert("1.2.3.99".to_owned(), vec!["1.2.3.99.1".to_owned(), uid(4)]);
    let finder = Finder::new(held, Manner::Honest);
    let told = ask(&gateway, &finder);
    let found = &told.found;
    assert_eq!((told.exit, &found["differences"], &found["studies"]), (Some(1), &3.into(), &2.into()), "{found}");
    assert_eq!(named(found, "missing"), [uid(2), "1.7.1".to_owned()], "one that is in another series is there");
    assert_eq!(named(found, "unknown"), ["1.2.3.99.1"]);
    for line in [
        "1.2.3.4.2: missing there, study 1.2.3",
        "1.2.3.99.1: not known here, study 1.2.3",
        "tidegate outbox add --destination archive --instance UID",
    ] {
        assert!(told.text.contains(line), "{}", told.text);
    }
    let only = reconcile(&gateway, &finder.destination(), &["--destination", "archive", "--study", "1.7"]);
    assert_eq!(named(&only.found, "missing"), ["1.7.1"]);
    // What the text says helps.
    assert_eq!(gateway.row().unwrap().sums.delivered, 7, "nothing was changed");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["outbox", "add", "--destination", "archive", "--instance", &uid(2), "--storage"])
        .arg(gateway.node.storage())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(eventually(|| scp.counts()[&uid(2)] == 2), "it is sent again: {:?}", scp.counts());
    gateway.wait_for(7, 0);
    assert_eq!(scp.received().len(), 8);
}

#[test]
fn a_destination_that_does_not_answer_is_told_from_one_that_differs() {
    let (_scp, gateway, held) = delivered();
    for (manner, why) in [
        (Manner::Refuses, "does not accept C-FIND of the Study Root model: abstract syntax not supported"),
        (Manner::Hangs, "gave no response to C-FIND in time"),
        (Manner::Dies, "the peer closed the connection"),
        (Manner::Long(70_000), "a match is longer than 65536 bytes"),
        (Manner::Garbage, "no dataset in implicit VR"),
    ] {
        let began = Instant::now();
        let told = ask(&gateway, &Finder::new(held.clone(), manner));
        assert_eq!(told.exit, Some(5), "{manner:?}: {} {}", told.found, told.stderr);
        assert!(told.stderr.contains(why), "{manner:?}: {}", told.stderr);
        assert!(told.found["failed"].as_str().unwrap().contains(why), "{manner:?}: {}", told.found);
        assert!(began.elapsed() < Duration::from_secs(20), "{manner:?}");
    }
    // A700 out of resources, A900 not this class, C001 unable to process, FE00 cancelled: the next study is asked for.
    for status in [0xA700, 0xA900, 0xC001, 0xFE00] {
        let told = ask(&gateway, &Finder::new(held.clone(), Manner::Fails(status)));
        assert_eq!((told.exit, &told.found["unanswered"]), (Some(5), &1.into()), "{status:04X}: {}", told.found);
        assert!(told.text.contains(&format!("status {status:04X} as the test says")), "{}", told.text);
        assert_eq!(told.found["missing"], 0, "what is not answered is not missing");
    }
    let nobody = super::destination(super::free_address(), "");
    let told = reconcile(&gateway, &nobody, &["--destination", "archive"]);
    assert!(told.exit == Some(5) && told.stderr.contains("cannot connect"), "{}", told.stderr);
    let told = reconcile(&gateway, &nobody, &["--destination", "elsewhere"]);
    assert!(told.exit == Some(2) && told.stderr.contains("configured: archive"), "{}", told.stderr);
}

#[test]
fn an_answer_without_end_is_ended() {
    let (_scp, gateway, held) = delivered();
    let finder = Finder::new(held, Manner::Endless);
    let configuration = tempfile::NamedTempFile::new().unwrap();
    fs::write(&configuration, with_delivery(&finder.destination())).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["reconcile", "--destination", "archive", "--config"])
        .arg(configuration.path())
        .arg("--storage")
        .arg(gateway.node.storage())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert!(eventually(|| finder.sent() > 400_000), "{}", finder.sent());
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap();
    assert!(peak < 64 * 1024, "{peak} KiB");
    let ended = eventually(|| child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(ended && output.status.code() == Some(5) && told.contains("its answer has no end"), "{told}");
}

#[test]
fn every_difference_on_a_node_is_named_and_nothing_is_changed() {
    let (scp, gateway, _) = delivered();
    let tables = scp.destination("archive", "");
    let clean = reconcile(&gateway, &tables, &[]);
    assert_eq!(clean.exit, Some(0), "{}", clean.found);
    let root = gateway.node.storage();
    let at = |number: u32| root.join(format!("{STUDY}/{SERIES}/{}.dcm", uid(number)));
    // A file that somebody removed, one that is shorter, one that the node never had.
    fs::remove_file(at(0)).unwrap();
    let bytes = fs::read(at(1)).unwrap();
    fs::write(at(1), &bytes[..bytes.len() - 2]).unwrap();
    fs::copy(at(5), at(100)).unwrap();
    // Somebody has edited the catalogue: a record without its row, a delivery that nobody made and nobody owes, a released file that is there.
    let db = rusqlite::Connection::open(file(&gateway.node)).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    let of = |number: u32| {
        let uid: tidegate_catalogue::PackedUid = uid(number).parse().unwrap();
        db.query_row("SELECT id FROM instance WHERE uid = ?1", [uid.as_bytes()], |row| row.get::<_, i64>(0)).unwrap()
    };
    // With their sums: a catalogue that contradicts itself is made anew.
    for number in [2, 3] {
        db.execute("DELETE FROM delivered WHERE instance = ?1", [of(number)]).unwrap();
        db.execute_batch(
            "UPDATE destination SET delivered = delivered - 1; UPDATE study_destination SET delivered = delivered - 1",
        )
        .unwrap();
    }
    let less =
        "UPDATE series SET instances = instances - 1, bytes = bytes - (SELECT bytes FROM instance WHERE id = ?1)";
    let (second, fourth) = (of(2), of(4));
    db.execute(less, [second]).unwrap();
    db.execute("DELETE FROM instance WHERE id = ?1", [second]).unwrap();
    db.execute(&format!("{less}, gone = gone + 1"), [fourth]).unwrap();
    db.execute("UPDATE instance SET state = 2, ended_ms = 1 WHERE id = ?1", [fourth]).unwrap();
    drop(db);
    // The event of what came within the last two seconds may be on its way.
    std::thread::sleep(Duration::from_secs(3));
    let before = fs::read_dir(at(1).parent().unwrap()).unwrap().count();
    let told = reconcile(&gateway, &tables, &[]);
    assert_eq!(told.exit, Some(1), "{}", told.found);
    for (number, words) in [(0, "gone"), (1, "bytes"), (2, "not in"), (4, "not in"), (100, "not in")] {
        let line = told.text.lines().find(|line| line.contains(&format!("{}.dcm", uid(number))));
        assert!(line.is_some_and(|line| line.contains(words)), "{number}: {}", told.text);
    }
    assert!(told.text.contains(&format!("{}: missing for archive", uid(3))), "{}", told.text);
    assert_eq!(told.found["missing"], 1, "{}", told.found);
    assert_eq!(fs::read_dir(at(1).parent().unwrap()).unwrap().count(), before);
    let again = reconcile(&gateway, &tables, &[]);
    assert_eq!(again.found["differences"], told.found["differences"], "nothing is changed");
    assert_eq!(scp.received().len(), 6);
}
