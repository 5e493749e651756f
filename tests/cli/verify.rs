//! `tidegate verify` and `tidegate recover` on what a real node stored, whole and damaged, beside it and after it was killed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Running, output, run_to_end, tidegate};
use dicom_dictionary_std::uids;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use rustix::process::Signal;
use serde_json::Value;

pub(crate) fn node(directory: &Path) -> Running {
    Running::start(tidegate(directory, &["--listen", "127.0.0.1:0", "--storage", "data"]))
}

/// Elements in implicit VR little endian.
fn elements(group: u16, elements: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (element, value) in elements {
        let padding = value.len() % 2;
        bytes.extend([group.to_le_bytes(), element.to_le_bytes()].concat());
        bytes.extend(((value.len() + padding) as u32).to_le_bytes());
        bytes.extend(*value);
        bytes.extend(vec![0; padding]);
    }
    bytes
}

/// Sends an instance, all of it or its beginning, and waits for the answer to a whole one.
pub(crate) fn send(
    node: &Running,
    sop_instance_uid: &str,
    whole: bool,
) -> dicom_ul::ClientAssociation<std::net::TcpStream> {
    let mut association = dicom_ul::ClientAssociationOptions::new()
        .calling_ae_title("CT1")
        .with_presentation_context(uids::CT_IMAGE_STORAGE, vec![uids::IMPLICIT_VR_LITTLE_ENDIAN])
        .establish(node.address_after("listening on "))
        .unwrap();
    let presentation_context_id = association.presentation_contexts()[0].id;
    let uid = sop_instance_uid.as_bytes();
    let command = elements(
        0,
        &[
            (0x0002, uids::CT_IMAGE_STORAGE.as_bytes()),
            (0x0100, &[1, 0]),
            (0x0110, &[1, 0]),
            (0x0700, &[0, 0]),
            (0x0800, &[1, 0]),
            (0x1000, uid),
        ],
    );
    let group_length = elements(0, &[(0, &(command.len() as u32).to_le_bytes())]);
    let mut dataset = elements(8, &[(0x16, uids::CT_IMAGE_STORAGE.as_bytes()), (0x18, uid)]);
    dataset.extend(elements(0x20, &[(0x0D, b"1.2"), (0x0E, b"1.2.3")]));
    dataset.extend(elements(0x7FE0, &[(0x10, &[7; 20_000])]));
    if !whole {
        dataset.truncate(15_000);
    }
    for (value_type, is_last, data) in
        [(PDataValueType::Command, true, [group_length, command].concat()), (PDataValueType::Data, whole, dataset)]
    {
        let value = PDataValue { presentation_context_id, value_type, is_last, data };
        association.send(&Pdu::PData { data: vec![value] }).unwrap();
    }
    if whole {
        assert!(matches!(association.receive().unwrap(), Pdu::PData { .. }));
    }
    association
}

fn path_of(directory: &Path, uid: &str) -> PathBuf {
    directory.join("data/1.2/1.2.3").join(format!("{uid}.dcm"))
}

fn verify(directory: &Path, arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut command = tidegate(directory, &[&["verify", "data", "--json"], arguments].concat());
    let (code, stdout, stderr) = run_to_end(&mut command);
    assert_eq!(stderr, "", "no progress bar where there is no terminal");
    (code, stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn damage_is_told_beside_a_running_node_and_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let node = node(at);
    let _associations: Vec<_> = ["1.2.3.1", "1.2.3.2", "1.2.3.3"].map(|uid| send(&node, uid, true)).into();

    let (code, lines) = verify(at, &[]);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!((lines.len(), &lines[0]["files"], &lines[0]["whole"]), (1, &3.into(), &3.into()));
    let (code, lines) = verify(at, &["--all", "--threads", "1"]);
    assert_eq!((code, lines.len()), (0, 4), "{lines:?}");

    let mut bytes = fs::read(path_of(at, "1.2.3.1")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path_of(at, "1.2.3.1"), bytes).unwrap();
    fs::rename(path_of(at, "1.2.3.2"), path_of(at, "1.2.3.20")).unwrap();
    let (code, mut lines) = verify(at, &[]);
    // Whether the catalogue has entered by now what was renamed is another matter.
    lines.retain(|line| line["condition"] != "missing");
    assert_eq!((code, lines.len()), (1, 3), "{lines:?}");
    let summary = &lines[2];
    let counts = ["damaged", "misplaced", "whole"].map(|count| summary[count].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1]);

    let (code, stdout, _) = run_to_end(&mut tidegate(at, &["verify", "data"]));
    assert_eq!(code, 1);
    assert!(
        stdout.contains("misplaced 1.2/1.2.3/1.2.3.20.dcm: elsewhere than the layout puts it: 1.2/1.2.3/1.2.3.2.dcm"),
        "{stdout}"
    );
    assert!(
        stdout.contains("data: 3 files, 59.9 KiB")
            && stdout.contains("1 whole, 0 malformed as received, 1 misplaced, 1 damaged"),
        "{stdout}"
    );
}

const DEFAULT: &str = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm";

/// The condition of each file and the exit code.
fn conditions(directory: &Path, arguments: &[&str]) -> (i32, Vec<String>) {
    let (code, lines) = verify(directory, &[&["--all"], arguments].concat());
    let (summary, files) = lines.split_last().unwrap();
    let conditions: Vec<String> = files.iter().map(|line| line["condition"].as_str().unwrap().to_owned()).collect();
    for condition in ["whole", "misplaced", "damaged"] {
        let count = conditions.iter().filter(|found| *found == condition).count();
        assert_eq!(summary[condition], count, "{summary}");
    }
    (code, conditions)
}

/// Two files by an access rule's layout and by `storage.layout`. Whatever layouts are known later, whole files are never damaged.
#[test]
fn a_whole_file_elsewhere_than_the_known_layouts_is_misplaced_and_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let configuration = |layout: &str, of_rule: &str| {
        let rules = [
            format!("[[access]]\nname = 'ct'\naction = 'allow'\ncalling = ['CT1']\nlayout = '{of_rule}'\n"),
            "[[access]]\nname = 'others'\naction = 'allow'\n".to_owned(),
        ];
        format!("[storage]\nroot = 'data'\nlayout = '{layout}'\n{}", rules.concat())
    };
    let (of_rule, changed) = ("ct/{SOPInstanceUID}.dcm", "moved/{SOPInstanceUID}.dcm");
    fs::write(at.join("t.toml"), configuration(DEFAULT, of_rule)).unwrap();
    let node = Running::start(tidegate(at, &["--listen", "127.0.0.1:0", "--config", "t.toml"]));
    let _associations: Vec<_> = ["1.2.3.1", "1.2.3.2"].map(|uid| send(&node, uid, true)).into();
    drop(node);
    let usual = at.join("data/1.2/1.2.3/1.2.3.2.dcm");
    fs::create_dir_all(usual.parent().unwrap()).unwrap();
    fs::rename(at.join("data/ct/1.2.3.2.dcm"), usual).unwrap();

    let with_rules = conditions(at, &["--config", "t.toml"]);
    assert_eq!(with_rules, (0, vec!["whole".to_owned(); 2]));
    // Without the configuration: the rule's layout is not known.
    let (code, found) = conditions(at, &[]);
    assert_eq!((code, found.iter().filter(|condition| *condition == "misplaced").count()), (0, 1), "{found:?}");
    assert_eq!(conditions(at, &["--fail-misplaced"]).0, 1);
    assert_eq!(conditions(at, &["--layout", of_rule, "--fail-misplaced"]), with_rules, "--layout adds one");
    // After a change of storage.layout, and of the rule's.
    for (layout, of_rule, added) in [(changed, of_rule, DEFAULT), (DEFAULT, changed, of_rule)] {
        fs::write(at.join("changed.toml"), configuration(layout, of_rule)).unwrap();
        let (code, found) = conditions(at, &["--config", "changed.toml"]);
        assert_eq!((code, found.iter().filter(|condition| *condition == "misplaced").count()), (0, 1), "{found:?}");
        assert_eq!(conditions(at, &["--config", "changed.toml", "--layout", added]), with_rules);
    }
    let (_, stdout, _) = run_to_end(&mut tidegate(at, &["verify", "data"]));
    assert!(stdout.contains("1 misplaced, 0 damaged") && stdout.contains("1 is misplaced, and no damage"), "{stdout}");

    // Damage stays damage, wherever the file is.
    let misplaced = at.join("data/ct/1.2.3.1.dcm");
    let mut bytes = fs::read(&misplaced).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&misplaced, bytes).unwrap();
    assert_eq!(conditions(at, &[]).0, 1);
}

/// The file of a database, changed by `change`, which gets its bytes and the place of each page of its table `instance`.
fn rewrite(path: &Path, change: impl Fn(&mut [u8], [std::ops::Range<usize>; 2])) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let page_bytes: u32 = database.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    let mut roots = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'instance'").unwrap();
    let root: u32 = roots.query_row([], |row| row.get(0)).unwrap();
    drop(roots);
    drop(database);
    let (page_bytes, root) = (page_bytes as usize, root as usize);
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes, [0..page_bytes, (root - 1) * page_bytes..root * page_bytes]);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_catalogue_that_cannot_be_read_is_a_failure_and_none_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let running = node(at);
    let associations: Vec<_> = ["1.2.3.1", "1.2.3.2"].map(|uid| send(&running, uid, true)).into();
    drop(associations);
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    fs::remove_file(path_of(at, "1.2.3.2")).unwrap();
    let (code, lines) = verify(at, &[]);
    assert_eq!((code, &lines.last().unwrap()["missing"]), (1, &1.into()), "{lines:?}");

    let catalogue = at.join("data/.tidegate/catalogue.sqlite");
    let unread = |because: &str| {
        let (code, stdout, stderr) = run_to_end(&mut tidegate(at, &["verify", "data", "--json"]));
        let totals: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        assert_eq!((code, &totals["missing"], &totals["whole"]), (1, &Value::Null, &1.into()), "{stdout}");
        assert!(stderr.contains(because), "{stderr}");
        let (code, stdout, _) = run_to_end(&mut tidegate(at, &["verify", "data"]));
        assert!(code == 1 && stdout.contains("0 damaged, an unknown number missing"), "{stdout}");
    };
    rewrite(&catalogue, |bytes, [_, instances]| bytes[instances].fill(0xA5));
    unread("the catalogue could not be read to its end");
    rewrite(&catalogue, |bytes, [first, _]| bytes[first].fill(0xA5));
    unread("the catalogue is not used");

    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(at.join(format!("data/.tidegate/catalogue.sqlite{ending}")));
    }
    let (code, lines) = verify(at, &[]);
    assert_eq!((code, &lines.last().unwrap()["missing"]), (0, &0.into()), "{lines:?}");
}

#[test]
fn wrong_use_is_told() {
    let (code, _, stderr) = output(&["verify", "nowhere"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("tidegate: cannot open nowhere: "), "{stderr}");
    assert_eq!(output(&["verify", ".", "--layout", "{Nonsense}"]).0, 2);
    assert_eq!(output(&["recover", "nowhere"]).0, 1);
    let (code, stdout, _) = output(&["recover", "."]);
    assert_eq!((code, stdout.as_str()), (0, ".: no node has ever stored here\n"));
}

#[test]
fn what_a_kill_left_is_explained_and_cleaned() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut command = tidegate(at, &["--listen", "127.0.0.1:0", "--storage", "data"]);
    // Every dataset of some size is spooled, so that there is something to leave.
    command.env("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB");
    let mut node = Running::start(command);
    let _stored = send(&node, "1.2.3.1", true);
    let tmp = at.join("data/.tidegate/tmp");
    fs::write(tmp.join("cut"), fs::read(path_of(at, "1.2.3.1")).unwrap()).unwrap();
    let (code, stdout, _) = run_to_end(&mut tidegate(at, &["recover", "data"]));
    assert_eq!(code, 0);
    assert!(stdout.contains(&format!("a node is running (process {})", node.child.id())), "{stdout}");
    let (code, _, stderr) = run_to_end(&mut tidegate(at, &["recover", "data", "--clean"]));
    assert_eq!(code, 1);
    assert!(stderr.contains(&node.child.id().to_string()), "{stderr}");

    node.signal(Signal::KILL);
    node.child.wait().unwrap();
    let (code, stdout, _) = run_to_end(&mut tidegate(at, &["recover", "data"]));
    assert_eq!(code, 0);
    assert!(stdout.contains("cut: instance 1.2.3.1 from CT1, 20."), "{stdout}");
    assert!(stdout.contains("data: 1 unfinished files") && tmp.join("cut").exists(), "{stdout}");
    let (code, stdout, _) = run_to_end(&mut tidegate(at, &["recover", "data", "--clean", "--json"]));
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, &lines[0]["calling_ae_title"], &lines[1]["removed_files"]), (0, &"CT1".into(), &1.into()));
    assert!(!tmp.join("cut").exists() && path_of(at, "1.2.3.1").exists());
}

#[test]
fn completions_and_man_pages_come_from_the_grammar() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, stderr) = output(&["completions", shell]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{shell}");
        assert!(stdout.contains("check-config"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run_to_end(&mut tidegate(directory.path(), &["man", "pages/here"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    for page in ["tidegate.1", "tidegate-run.1", "tidegate-verify.1", "tidegate-mem-top.1"] {
        let text = fs::read_to_string(directory.path().join("pages/here").join(page)).unwrap();
        assert!(text.contains(".TH "), "{page}");
    }
}

#[test]
fn the_catalogue_knows_what_was_received_since_and_what_a_file_without_a_digest_was() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let node = node(at);
    let _associations: Vec<_> = ["1.2.3.1", "1.2.3.2", "1.2.3.3"].map(|uid| send(&node, uid, true)).into();
    while !run_to_end(&mut tidegate(at, &["study", "1.2"])).1.contains(", 3 files, ") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let counts = |lines: &[Value]| {
        let totals = lines.last().unwrap();
        ["files", "damaged", "missing", "without_digest"].map(|name| totals[name].as_u64().unwrap())
    };
    let (code, lines) = verify(at, &["--since", "1h"]);
    assert_eq!((code, counts(&lines)), (0, [3, 0, 0, 0]));
    assert!(lines[0]["since"].is_string(), "{lines:?}");
    assert_eq!(counts(&verify(at, &["--since", "2999-01-01"]).1), [0; 4]);

    // A copy without attributes, and one that is another's by a bit.
    for (uid, flipped) in [("1.2.3.1", 0), ("1.2.3.2", 1)] {
        let mut content = fs::read(path_of(at, uid)).unwrap();
        *content.last_mut().unwrap() ^= flipped;
        fs::remove_file(path_of(at, uid)).unwrap();
        fs::write(path_of(at, uid), content).unwrap();
    }
    fs::remove_file(path_of(at, "1.2.3.3")).unwrap();
    let is_told = || {
        assert_eq!(counts(&verify(at, &[]).1), [2, 1, 1, 0]);
        let (code, lines) = verify(at, &["--since", "1h"]);
        assert_eq!((code, counts(&lines)), (1, [2, 1, 1, 0]));
        let of = |uid: &str| lines.iter().find(|line| line["path"].as_str().is_some_and(|path| path.contains(uid)));
        assert_eq!(of("1.2.3.2.dcm").unwrap()["condition"], "damaged");
        assert_eq!(of("1.2.3.3.dcm").unwrap()["condition"], "missing");
    };
    is_told();
    node.signal(Signal::KILL);
    drop(node);
    is_told();
}
