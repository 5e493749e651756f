//! The catalogue of a running node: what is stored is found, and whatever happens to the file, instances are stored and acknowledged as
//! before, the node is ready, and the catalogue heals by itself.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tidegate_catalogue::{Reader, State};

use crate::http::get;
use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, request};

const SURFACE: (&str, &str) = ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0");

pub(crate) fn start() -> Node {
    Node::start_with_surface(&[])
}

/// Starts a node on the root of one that has ended.
pub(crate) fn start_on(root: &Path) -> Node {
    Node::start_prepared(&[SURFACE], |storage| fs::rename(root, storage).unwrap())
}

/// Stores instances with these numbers, each of which has to be acknowledged.
pub(crate) fn store(node: &Node, numbers: impl IntoIterator<Item = u32>) {
    let (mut wire, _) = Wire::associate(node.address(), request());
    for number in numbers {
        let uid = format!("1.2.3.4.{number}");
        assert_eq!(wire.store(1, &uid, &dataset(&uid, 100)).status, 0, "{uid}");
    }
    wire.release();
}

pub(crate) fn file(node: &Node) -> PathBuf {
    node.storage().join(".tidegate/catalogue.sqlite")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

/// The instances that the catalogue has, and those that are gone.
fn totals(path: &Path) -> Option<(u64, u64)> {
    let totals = Reader::open(path).and_then(|mut reader| reader.totals()).ok()?;
    Some((totals.instances, totals.gone))
}

pub(crate) fn wait_for(path: &Path, present: u64, gone: u64) {
    let has_come = eventually(|| totals(path) == Some((present, gone)));
    assert!(has_come, "{:?} in the catalogue, not {present} present and {gone} gone", totals(path));
}

pub(crate) fn status(node: &Node) -> Value {
    node.told(&["status", "--live"]).1
}

pub(crate) fn wait_for_condition(node: &Node, condition: &str) -> Value {
    let mut seen = Value::Null;
    let has_come = eventually(|| {
        seen = status(node)["catalogue"].take();
        seen["condition"] == condition
    });
    assert!(has_come, "it is not {condition}: {seen}");
    let metrics = get(node.admin_address(), "/metrics").body;
    assert!(metrics.contains(&format!("tidegate_catalogue_condition{{condition=\"{condition}\"}} 1")), "{metrics}");
    assert_ready(node);
    seen
}

fn assert_ready(node: &Node) {
    let answer = get(node.admin_address(), "/ready");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The catalogue agrees with the disk, file by file.
fn assert_agrees(node: &Node) {
    let stored = node.stored();
    wait_for_condition(node, "current");
    let mut reader = Reader::open(&file(node)).unwrap();
    for path in &stored {
        let known = reader.file(path).unwrap().unwrap_or_else(|| panic!("{} is not in it", path.display()));
        let bytes = fs::metadata(node.storage().join(path)).unwrap().len();
        assert_eq!((known.state, known.bytes), (State::Present, bytes), "{}", path.display());
    }
    assert_eq!(reader.totals().unwrap().instances, stored.len() as u64);
}

#[test]
fn what_is_stored_is_found_with_the_one_who_sent_it() {
    let mut node = start();
    store(&node, 0..3);
    store(&node, 0..3); // the same again
    wait_for(&file(&node), 3, 0);
    assert_agrees(&node);
    for ending in ["", "-wal", "-shm"] {
        let mode = fs::metadata(beside(&file(&node), ending)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it names patients");
    }
    let mut reader = Reader::open(&file(&node)).unwrap();
    let found = &reader.instances(&"1.2.3.4.1".parse().unwrap(), 10).unwrap()[0];
    assert_eq!(found.path, Path::new("1.2.3/1.2.3.4/1.2.3.4.1.dcm"));
    assert_eq!(found.origin.as_ref().unwrap().calling_ae_title.trim(), "WIRE");
    // The last one that closes the file removes its log.
    drop(reader);
    // The resends are entered in a batch of their own, or with the first.
    let has_entered = || get(node.admin_address(), "/metrics").body.contains("tidegate_catalogue_entered_total 6");
    assert!(eventually(has_entered), "{}", get(node.admin_address(), "/metrics").body);
    assert_eq!(node.stop(), Some(0));
    assert!(!beside(&file(&node), "-wal").exists(), "it is closed in order");
    assert!(!node.log_text().contains("1.2.3.4.1.dcm"));
}

#[test]
fn a_node_without_catalogue_has_no_file_and_says_so() {
    let mut node = Node::start_with_surface(&[("TIDEGATE__CATALOGUE__PATH", "off")]);
    store(&node, 0..2);
    assert_eq!(status(&node)["catalogue"], Value::Null);
    assert!(!get(node.admin_address(), "/metrics").body.contains("tidegate_catalogue"));
    assert_eq!(node.stop(), Some(0));
    assert!(!file(&node).exists());
}

#[test]
fn after_a_kill_the_catalogue_is_what_the_disk_is() {
    let mut node = start();
    store(&node, 0..20);
    // Whatever of them has been entered by now.
    node.signal(Signal::KILL);
    node.wait();
    fs::remove_file(node.storage().join("1.2.3/1.2.3.4/1.2.3.4.7.dcm")).unwrap();
    let node = start_on(&node.storage());
    assert_agrees(&node);
    store(&node, 7..9);
    let has_come = eventually(|| totals(&file(&node)).is_some_and(|(present, _)| present == 20));
    assert!(has_come, "{:?}", totals(&file(&node)));
}

/// Does something to the file of a node at rest, and holds the node to its promise.
fn survives(damage: impl FnOnce(&Path)) -> Node {
    let node = start();
    store(&node, 0..5);
    wait_for(&file(&node), 5, 0);
    wait_for_condition(&node, "current");
    damage(&file(&node));
    assert_ready(&node);
    // The node meets the damage when it needs a page that it does not hold.
    let mut number = 5;
    let has_healed = eventually(|| {
        store(&node, [number]);
        number += 1;
        std::thread::sleep(Duration::from_millis(200));
        totals(&file(&node)) == Some((u64::from(number), 0))
    });
    assert!(has_healed, "{:?}", status(&node)["catalogue"]);
    assert_agrees(&node);
    node
}

#[test]
fn a_deleted_file_is_made_again() {
    let node = survives(|path| {
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(path, ending));
        }
    });
    node.logged(&["catalogue unavailable; instances are stored as before", "deleted or replaced"]);
    node.logged(&["catalogue works again"]);
}

#[test]
fn a_truncated_file_is_set_aside_and_made_again() {
    let node = survives(|path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap();
        OpenOptions::new().write(true).open(beside(path, "-wal")).unwrap().set_len(0).unwrap();
    });
    node.logged(&["damaged catalogue set aside", ".damaged-"]);
}

#[test]
fn a_file_with_flipped_bits_is_set_aside_and_made_again() {
    let node = survives(|path| {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let bytes = file.metadata().unwrap().len();
        let log = OpenOptions::new().write(true).open(beside(path, "-wal")).unwrap();
        log.set_len(0).unwrap();
        for at in (0..bytes).step_by(512) {
            file.write_all_at(&[0xA5; 64], at).unwrap();
        }
    });
    node.logged(&["damaged catalogue set aside", ".damaged-"]);
}

#[test]
fn a_directory_in_its_place_is_set_aside() {
    let node = survives(|path| {
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(path, ending));
        }
        fs::create_dir(path).unwrap();
    });
    node.logged(&["damaged catalogue set aside", ".damaged-"]);
}

/// Another program that holds the file.
struct Holder(Child);

impl Holder {
    fn lock(path: &Path) -> Self {
        let program = "import sqlite3, sys\n\
            c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
            c.execute('BEGIN EXCLUSIVE')\n\
            print('locked', flush=True)\n\
            sys.stdin.read()\n\
            c.execute('ROLLBACK')";
        let mut command = Command::new("python3");
        command.args(["-c", program]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(child)
    }

    fn release(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_that_another_program_locks_delays_no_instance() {
    let node = start();
    store(&node, 0..5);
    wait_for(&file(&node), 5, 0);
    wait_for_condition(&node, "current");
    let holder = Holder::lock(&file(&node));
    store(&node, 5..10);
    let seen = wait_for_condition(&node, "behind");
    assert!(seen["reason"].as_str().unwrap().contains("locked by another process"), "{seen}");
    assert_eq!(seen["remedy"], Value::Null);
    store(&node, 10..15);
    assert_eq!(totals(&file(&node)), Some((5, 0)), "it can be read meanwhile");
    node.logged_times("catalogue cannot be written; trying again, and instances are stored as before", 1);
    holder.release();
    wait_for(&file(&node), 15, 0);
    assert_agrees(&node);
}

#[test]
fn a_file_of_another_program_at_a_path_of_the_operators_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ours.sqlite");
    File::create(&path).unwrap().write_all(b"the accounts of another program").unwrap();
    let node = Node::start_with_surface(&[("TIDEGATE__CATALOGUE__PATH", path.to_str().unwrap())]);
    store(&node, 0..3);
    let seen = wait_for_condition(&node, "unavailable");
    assert!(seen["reason"].as_str().unwrap().contains("is not a catalogue of tidegate"), "{seen}");
    assert_eq!(seen["remedy"], "set catalogue.path to another file");
    node.logged(&["catalogue unavailable", "set catalogue.path to another file"]);
    assert_eq!(fs::read(&path).unwrap(), b"the accounts of another program");
    fs::remove_file(&path).unwrap();
    wait_for(&path, 3, 0);
    wait_for_condition(&node, "current");
}

#[test]
fn a_restored_root_may_have_an_older_catalogue_or_a_newer_one() {
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("catalogue.sqlite");
    let mut node = start();
    store(&node, 0..5);
    wait_for(&file(&node), 5, 0);
    wait_for_condition(&node, "current");
    assert_eq!(node.stop(), Some(0));
    fs::copy(file(&node), &copy).unwrap();

    let mut node = start_on(&node.storage());
    store(&node, 5..10);
    wait_for(&file(&node), 10, 0);
    assert_eq!(node.stop(), Some(0));
    // Older than the disk: five are new to it.
    let newer = copies.path().join("newer.sqlite");
    fs::copy(file(&node), &newer).unwrap();
    fs::copy(&copy, file(&node)).unwrap();
    let mut node = start_on(&node.storage());
    wait_for(&file(&node), 10, 0);
    assert_agrees(&node);
    assert_eq!(node.stop(), Some(0));

    // Newer than the disk, whose directory is restored without the last five.
    for number in 5..10 {
        fs::remove_file(node.storage().join(format!("1.2.3/1.2.3.4/1.2.3.4.{number}.dcm"))).unwrap();
    }
    fs::copy(&newer, file(&node)).unwrap();
    let node = start_on(&node.storage());
    wait_for(&file(&node), 5, 5);
    assert_agrees(&node);
}

#[test]
fn without_patients_none_is_kept() {
    let node = Node::start_with_surface(&[("TIDEGATE__CATALOGUE__PATIENT", "false")]);
    store(&node, 0..3);
    wait_for(&file(&node), 3, 0);
    let found = Reader::open(&file(&node)).unwrap().study("1.2.3").unwrap().unwrap().summary.values;
    assert_eq!((found.patient_id, found.patient_name), (None, None));
}

/// The writer of a node at rest holds what it needs; readers meet the damage.
#[test]
fn a_node_at_rest_heals_when_somebody_asks() {
    let node = start();
    store(&node, 0..5);
    wait_for(&file(&node), 5, 0);
    wait_for_condition(&node, "current");
    for damage in [0, 5000] {
        if damage == 0 {
            for ending in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(beside(&file(&node), ending));
            }
        } else {
            OpenOptions::new().write(true).open(file(&node)).unwrap().set_len(damage).unwrap();
            OpenOptions::new().write(true).open(beside(&file(&node), "-wal")).unwrap().set_len(0).unwrap();
        }
        let is_answered = || {
            let mut studies = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            studies.args(["studies", "--json", "--storage"]).arg(node.storage());
            let answer = studies.output().unwrap();
            let studies: Option<Value> = serde_json::from_slice(&answer.stdout).ok();
            studies.is_some_and(|studies| studies["studies"][0]["files"] == 5)
        };
        assert!(eventually(is_answered), "{damage}: {:?}", status(&node)["catalogue"]);
        assert_agrees(&node);
    }
}

/// The volume of the root is not mounted: each start on its mount point leaves the catalogue as it is.
#[test]
fn a_catalogue_of_another_root_is_left_alone_by_each_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.sqlite");
    let named = ("TIDEGATE__CATALOGUE__PATH", path.to_str().unwrap());
    let mut node = Node::start_with_surface(&[named]);
    store(&node, 0..3);
    wait_for(&path, 3, 0);
    assert_eq!(node.stop(), Some(0));
    let mut node = Node::start_with_surface(&[named]);
    for _ in 0..2 {
        let seen = wait_for_condition(&node, "unavailable");
        assert!(seen["reason"].as_str().unwrap().contains("another storage root"), "{seen}");
        store(&node, 5..6);
        assert_eq!(totals(&path), Some((3, 0)));
        assert_eq!(node.stop(), Some(0));
        let root = node.storage();
        node = Node::start_prepared(&[SURFACE, named], |storage| fs::rename(&root, storage).unwrap());
    }
}
