//! What a node owes to destinations that nobody serves: each instance that was acknowledged, over a kill, a lost catalogue and lost receipts; and what
//! operators do about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::catalogue::{file, wait_for};
use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, request};

/// Nobody listens on port 1 of the loopback address.
const DESTINATIONS: &str = "
[delivery]
to = ['archive']
[[destination]]
name = 'archive'
address = '127.0.0.1:1'
called = 'ARCHIVE'
[[destination]]
name = 'research'
address = '127.0.0.1:1'
called = 'RESEARCH'
";

/// Instances of one title go to both, those of another nowhere.
const RULES: &str = "
[[access]]
name = 'both'
action = 'allow'
calling = ['BOTH']
deliver_to = ['research', 'archive']
[[access]]
name = 'none'
action = 'allow'
calling = ['NONE']
deliver_to = []
[[access]]
name = 'others'
action = 'allow'
";

struct Gateway {
    directory: TempDir,
    node: Node,
}

impl Gateway {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("node.toml"), format!("{DESTINATIONS}{RULES}")).unwrap();
        let node = Node::start_configured(&directory.path().join("node.toml"), |_| {});
        Self { directory, node }
    }

    /// Starts again on the same root, after something was done to it.
    fn start_again(&mut self, prepare: impl FnOnce(&Path)) {
        let root = self.directory.path().join("root");
        fs::rename(self.node.storage(), &root).unwrap();
        prepare(&root);
        let config = self.directory.path().join("node.toml");
        self.node = Node::start_configured(&config, |storage| fs::rename(&root, storage).unwrap());
    }

    fn store(&self, calling: &str, numbers: impl IntoIterator<Item = u32>) {
        let title = calling.to_owned();
        let (mut wire, _) =
            Wire::associate(self.node.address(), dicom_ul::pdu::AssociationRQ { calling_ae_title: title, ..request() });
        for number in numbers {
            let uid = format!("1.2.3.4.{number}");
            assert_eq!(wire.store(1, &uid, &dataset(&uid, 100)).status, 0, "{uid}");
        }
        wire.release();
    }

    /// What waits or is tried again, and what is dead.
    fn owed(&self, destination: &str) -> (u64, u64) {
        let (_, found) = self.node.told(&["outbox"]);
        let rows = found["destinations"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == destination).unwrap_or_else(|| panic!("{found}"));
        let count = |name: &str| row[name].as_u64().unwrap();
        (count("waiting") + count("retrying"), count("dead"))
    }

    fn wait_until_owed(&self, destination: &str, owed: u64) {
        let mut seen = (0, 0);
        let has_come = eventually(|| {
            seen = self.owed(destination);
            seen == (owed, 0)
        });
        assert!(has_come, "{destination} is owed {seen:?}, not {owed}");
    }

    fn order(&self, arguments: &[&str]) -> u64 {
        let (exit, changed) = self.node.told(&[&["outbox"], arguments].concat());
        assert_eq!((exit, &changed["is_done"]), (Some(0), &Value::Bool(true)), "{changed}");
        changed["changed"].as_u64().unwrap()
    }
}

fn remove_catalogue(root: &Path) {
    for ending in ["", "-wal", "-shm", "-lock"] {
        let _ = fs::remove_file(root.join(format!(".tidegate/catalogue.sqlite{ending}")));
    }
}

#[test]
fn an_instance_is_owed_to_the_destinations_of_its_rule_and_operators_change_that() {
    let gateway = Gateway::start();
    gateway.store("CT1", 0..4);
    gateway.store("BOTH", 4..6);
    gateway.store("NONE", 6..9);
    wait_for(&file(&gateway.node), 9, 0);
    gateway.wait_until_owed("archive", 6);
    gateway.wait_until_owed("research", 2);
    // The same again from a sender with one destination more.
    gateway.store("BOTH", 0..2);
    gateway.wait_until_owed("research", 4);
    gateway.wait_until_owed("archive", 6);
    let (exit, shown) = gateway.node.told(&["outbox", "show", "--destination", "research", "--limit", "2"]);
    let rows = shown["deliveries"].as_array().unwrap();
    assert_eq!((exit, rows.len(), shown["next"].is_string()), (Some(0), 2, true), "{shown}");
    assert_eq!((&rows[0]["destination"], &rows[0]["study_instance_uid"]), (&"research".into(), &"1.2.3".into()));
    assert_eq!(gateway.order(&["drop", "--destination", "archive", "--instance", "1.2.3.4.0"]), 1);
    assert_eq!(gateway.order(&["add", "--destination", "research", "--study", "1.2.3"]), 5);
    gateway.wait_until_owed("archive", 5);
    gateway.wait_until_owed("research", 9);
    let study = gateway.node.told(&["study", "1.2.3"]).1;
    assert_eq!(study["deliveries"][1]["destination"], "research", "{study}");
    assert_eq!(gateway.node.told(&["studies", "--undelivered"]).1["studies"].as_array().unwrap().len(), 1);
    assert_eq!(gateway.order(&["drop", "--destination", "research", "--all"]), 9);
    gateway.node.logged(&["deliveries changed by an operator", "research", "drop all"]);
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["outbox", "add", "--destination", "nowhere", "--all", "--storage"])
        .arg(gateway.node.storage())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("no destination of that name"), "{told}");
}

/// A destination that the configuration no longer names is listed as long as it is owed something.
#[test]
fn a_destination_that_is_gone_and_owed_nothing_is_listed_no_more() {
    let gateway = Gateway::start();
    gateway.store("BOTH", 0..3);
    gateway.wait_until_owed("research", 3);
    let (archive, _) = DESTINATIONS.rsplit_once("[[destination]]").unwrap();
    fs::write(gateway.directory.path().join("node.toml"), archive).unwrap();
    gateway.node.signal(Signal::HUP);
    gateway.node.logged(&["configuration reloaded"]);
    let listed = || {
        let (_, found) = gateway.node.told(&["outbox"]);
        let rows = found["destinations"].as_array().unwrap().clone();
        rows.iter().map(|row| (row["name"].clone(), row["is_configured"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(listed(), [("archive".into(), true.into()), ("research".into(), false.into())]);
    assert_eq!(gateway.order(&["drop", "--destination", "research", "--all"]), 3);
    assert!(eventually(|| listed() == [("archive".into(), true.into())]), "{:?}", listed());
}

#[test]
fn what_was_acknowledged_is_owed_after_a_kill_and_a_pause_lasts() {
    let mut gateway = Gateway::start();
    gateway.order(&["pause", "--destination", "archive"]);
    for round in 0..3 {
        gateway.store("CT1", round * 20..round * 20 + 20);
        // Whatever of them has been entered by now.
        gateway.node.signal(Signal::KILL);
        gateway.node.wait();
        gateway.start_again(|_| {});
        gateway.wait_until_owed("archive", u64::from(round) * 20 + 20);
        let (_, found) = gateway.node.told(&["outbox", "list"]);
        assert_eq!(found["destinations"][0]["is_paused"], true, "{found}");
    }
    gateway.order(&["resume", "--destination", "archive"]);
    assert_eq!(gateway.node.told(&["outbox"]).1["destinations"][0]["is_paused"], false);
    // Without the node, the catalogue tells.
    assert_eq!(gateway.node.stop(), Some(0));
    assert_eq!(gateway.owed("archive"), (60, 0));
    assert_eq!(gateway.node.told(&["outbox", "show"]).1["deliveries"].as_array().unwrap().len(), 50);
}

#[test]
fn a_lost_catalogue_owes_again_what_receipts_name_and_the_rules_of_files_without() {
    let mut gateway = Gateway::start();
    gateway.store("CT1", 0..5);
    gateway.store("BOTH", 5..8);
    gateway.store("NONE", 8..10);
    wait_for(&file(&gateway.node), 10, 0);
    assert_eq!(gateway.node.stop(), Some(0));
    gateway.start_again(remove_catalogue);
    gateway.wait_until_owed("archive", 8);
    gateway.wait_until_owed("research", 3);
    assert_eq!(gateway.node.stop(), Some(0));
    // A copy that keeps no attributes.
    gateway.start_again(|root| {
        remove_catalogue(root);
        let files = (0..10).map(|number| -> PathBuf { root.join(format!("1.2.3/1.2.3.4/1.2.3.4.{number}.dcm")) });
        files.for_each(|file| rustix::fs::removexattr(&file, "user.tidegate.xxh128").unwrap());
    });
    gateway.wait_until_owed("archive", 8);
    gateway.wait_until_owed("research", 3);
    gateway.node.logged(&["stored files have no receipt", "files=8"]);
}
