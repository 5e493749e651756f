//! The files that a node makes: their mode and group, and its directory of temp files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::node::Node;
use crate::wire::{Wire, dataset, request};

/// The directory of the series that `dataset` belongs to.
const SERIES: &str = "1.2.3/1.2.3.4";

#[test]
fn files_and_directories_have_the_mode_and_group_that_are_configured() {
    let group = rustix::process::getegid().as_raw();
    let group_text = group.to_string();
    let environment = [
        ("TIDEGATE__STORAGE__FILE_MODE", "0664"),
        ("TIDEGATE__STORAGE__DIRECTORY_MODE", "2770"),
        ("TIDEGATE__STORAGE__GROUP", group_text.as_str()),
        ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB"),
    ];
    let node = Node::start(&environment);
    let (mut wire, _) = Wire::associate(node.address(), request());
    // By the log, by itself, through the spool.
    for (number, bytes) in [(1, 1000), (2, 60_000), (3, 400_000)] {
        let uid = format!("1.2.3.15.{number}");
        assert_eq!(wire.store(number, &uid, &dataset(&uid, bytes)).status, 0);
        let mode = |path: PathBuf| {
            let found = fs::metadata(node.storage().join(path)).unwrap();
            assert_eq!(found.gid(), group);
            found.mode() & 0o7777
        };
        assert_eq!(mode(format!("{SERIES}/{uid}.dcm").into()), 0o664, "{bytes} bytes");
        assert_eq!((mode("1.2.3".into()), mode(SERIES.into()), mode("".into())), (0o2770, 0o2770, 0o2770));
        assert_eq!(mode(".tidegate".into()) & 0o027, 0, "the node's own directory is closed");
    }
    assert!(!node.log_text().contains("can change what is stored"), "what is configured is no reason to warn");
}

#[test]
fn a_removed_directory_of_temp_files_is_made_again_without_a_refusal() {
    let node = Node::start(&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB")]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    for number in 1..=40 {
        // Large ones are spooled.
        let (uid, bytes) = (format!("1.2.3.16.{number}"), if number % 4 == 0 { 300_000 } else { 2000 });
        let sent = dataset(&uid, bytes);
        let _ = fs::remove_dir_all(node.storage().join(".tidegate/tmp"));
        assert_eq!(wire.store(number, &uid, &sent).status, 0, "{number}");
        let stored = fs::read(node.storage().join(format!("{SERIES}/{uid}.dcm"))).unwrap();
        assert!(stored.ends_with(&sent), "{number}");
    }
    wire.release();
}
