//! The files of two access rules: a peer under one of them does not reach what belongs to the other, whatever values it sends.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::node::Node;
use crate::wire::{Wire, dataset_of, request};
use dicom_ul::pdu::AssociationRQ;

const STUDY: &str = "1.2.840.99.1";
const UID: &str = "1.2.840.99.1.7";

struct Site {
    node: Node,
    _directory: tempfile::TempDir,
}

impl Site {
    fn start(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tidegate.toml");
        fs::write(&file, configuration).unwrap();
        Self { node: Node::start_with(&["--config", file.to_str().unwrap()], &[]), _directory: directory }
    }

    /// The status for one instance of `calling` with these study and series UIDs and pixels.
    fn send(&self, calling: &str, uid: &str, (study, series): (&str, &str), pixels: usize) -> u16 {
        let asking = AssociationRQ { calling_ae_title: calling.into(), ..request() };
        let (mut wire, _) = Wire::associate(self.node.address(), asking);
        let status = wire.store(1, uid, &dataset_of(uid, (study, series), pixels)).status;
        wire.release();
        status
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.node.storage().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// Rule `ct` with this layout and policy beside a rule that has the node's own.
fn beside_the_default(layout: &str, duplicates: &str) -> String {
    format!(
        "[[access]]\nname = \"ct\"\naction = \"allow\"\ncalling = [\"CT*\"]\nlayout = \"{layout}\"\nduplicates = \"{duplicates}\"\n\
         [[access]]\nname = \"others\"\naction = \"allow\"\n"
    )
}

#[test]
fn a_peer_of_another_rule_neither_overwrites_nor_blocks_nor_plants() {
    let site = Site::start(&beside_the_default("ct/{StudyInstanceUID}/{SOPInstanceUID}.dcm", "refuse"));
    assert_eq!(site.send("CT1", UID, (STUDY, "1.2"), 1000), 0);
    let path = format!("ct/{STUDY}/{UID}.dcm");
    let before = site.read(&path);
    for study in ["ct", "CT", "Ct"] {
        assert_eq!(site.send("EVIL", UID, (study, STUDY), 2000), 0, "it is stored, elsewhere");
        assert_eq!(site.read(&path), before, "{study}");
    }
    // Nor does it plant another instance beside those of rule ct.
    assert_eq!(site.send("EVIL", "1.2.3.9", ("ct", STUDY), 100), 0);
    let in_ct: Vec<_> = fs::read_dir(site.node.storage().join("ct").join(STUDY)).unwrap().collect();
    assert_eq!(in_ct.len(), 1, "{in_ct:?}");
    assert!(!site.read(&format!("%63t/{STUDY}/1.2.3.9.dcm")).is_empty());

    for duplicates in ["refuse", "replace", "keep-both"] {
        let site = Site::start(&beside_the_default("ct/{SOPInstanceUID}.dcm", duplicates));
        // A directory where the file of rule ct will be, and where its second version will.
        for series in [format!("{UID}.dcm"), format!("{UID}~2.dcm")] {
            assert_eq!(site.send("EVIL", "1.2.3.9", ("ct", &series), 100), 0);
        }
        assert_eq!(site.send("CT1", UID, (STUDY, "1.2"), 1000), 0, "{duplicates}");
        assert!(!site.read(&format!("ct/{UID}.dcm")).is_empty());
        let second = site.send("CT1", UID, (STUDY, "1.2"), 2000);
        assert_eq!(second, if duplicates == "refuse" { 0x0111 } else { 0 }, "{duplicates}");
    }
}

#[test]
fn in_a_layout_that_rules_share_no_rule_replaces_what_another_protects() {
    let rules = |of_ct: &str, of_others: &str| {
        let rule = |name: &str, calling: &str, duplicates: &str| {
            format!(
                "[[access]]\nname = \"{name}\"\naction = \"allow\"\ncalling = [\"{calling}\"]\n\
                 layout = \"in/{{SOPInstanceUID}}.dcm\"\nduplicates = \"{duplicates}\"\n"
            )
        };
        rule("ct", "CT*", of_ct) + &rule("others", "*", of_others)
    };
    // The policy of rule ct; the answer to a peer under rule others, which says replace; and whether the file of ct stays.
    for (of_ct, status, stays) in [("refuse", 0x0111, true), ("keep-both", 0, true), ("replace", 0, false)] {
        let site = Site::start(&rules(of_ct, "replace"));
        assert_eq!(site.send("CT1", UID, (STUDY, "1.2"), 1000), 0);
        let before = site.read(&format!("in/{UID}.dcm"));
        assert_eq!(site.send("EVIL", UID, (STUDY, "1.2"), 2000), status, "{of_ct}");
        assert_eq!(site.read(&format!("in/{UID}.dcm")) == before, stays, "{of_ct}");
    }
}

#[test]
fn layouts_that_could_meet_are_refused_at_the_start_with_both_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    fs::write(&file, beside_the_default("{PatientID}/{SOPInstanceUID}.dcm", "refuse")).unwrap();
    for command in ["check-config", "run"] {
        let mut node = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        node.args([command, "--config", file.to_str().unwrap()]).current_dir(directory.path());
        let output = node.output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {printed}");
        let first = "[[access]] 1 (\"ct\"): layout = \"{PatientID}/{SOPInstanceUID}.dcm\"";
        for words in [first, "rule 2 (\"others\", {StudyInstanceUID}/", "such as \"ct/\""] {
            assert!(printed.contains(words), "{command}: {printed}");
        }
    }
}

#[test]
fn a_study_directory_that_is_a_symbolic_link_does_not_lead_out_of_the_root() {
    for commit in ["adaptive", "log", "per-file"] {
        for study_is_link in [true, false] {
            let outside = tempfile::tempdir().unwrap();
            let place = |root: &Path| {
                let study = root.join("1.2.3");
                let link = if study_is_link { study } else { study.join("1.2.3.4") };
                fs::create_dir_all(link.parent().unwrap()).unwrap();
                symlink(outside.path(), link).unwrap();
            };
            let environment = [("TIDEGATE__STORAGE__COMMIT", commit), ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB")];
            let mut node = Node::start_prepared(&environment, place);
            let (mut wire, _) = Wire::associate(node.address(), request());
            // The second goes through the spool.
            for (id, pixels) in [(1, 1000), (2, 1 << 20)] {
                let uid = format!("1.2.3.4.{id}");
                let response = wire.store(id, &uid, &dataset_of(&uid, ("1.2.3", "1.2.3.4"), pixels));
                assert_eq!(response.status, 0x0110, "{commit}: {response:?}");
            }
            let elsewhere = dataset_of("1.2.3.5", ("1.2.4", "1.2.4.1"), 1000);
            assert_eq!(wire.store(3, "1.2.3.5", &elsewhere).status, 0, "{commit}: another study is stored");
            wire.release();
            node.logged(&["instance refused", "symbolic link stands in the way"]);
            assert_eq!(node.stop(), Some(0));
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{commit}");
        }
    }
}
