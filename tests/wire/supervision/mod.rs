//! Children made to misbehave in every way there is (feature `test-faults`): each is found out, replaced or given up, its work
//! is done by another, and the record says what it was.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::node::{Node, eventually};
use crate::pki::Authority;
use crate::wire::{Wire, dataset, p_data, request, store_command, store_message};
use dicom_ul::pdu::{Pdu, UserVariableItem};
use rustls::version::TLS13;
use tidegate_memory::MemorySnapshot;

mod associations;
mod tree;
mod writers;

/// A hang is detected within a test's time. A shorter timeout would take a child that waits for a processor or a busy disk for a hung one.
const QUICK: [(&str, &str); 2] =
    [("TIDEGATE__SUPERVISION__HANG_TIMEOUT", "3s"), ("TIDEGATE__LOG__STATISTICS_INTERVAL", "1s")];
/// More than the floor of an association holds: it is leased for itself.
const PIXELS: usize = 100_000;

const ONE_WRITER: (&str, &str) = ("TIDEGATE__WRITERS__COUNT", "1");

fn start(more: &[(&str, &str)]) -> Node {
    Node::start(&[&QUICK, more].concat())
}

fn associate(node: &Node) -> Wire {
    Wire::associate(node.address(), request()).0
}

fn store(node: &Node, uid: &str) -> u16 {
    let mut wire = associate(node);
    let status = wire.store(1, uid, &dataset(uid, PIXELS)).status;
    wire.release();
    status
}

/// Every stored file, by name; there is one for each instance.
fn stored(node: &Node) -> Vec<String> {
    fn walk(directory: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true if name == ".tidegate" => {}
                true => walk(&entry.path(), names),
                false => names.push(name),
            }
        }
    }
    let mut names = Vec::new();
    walk(&node.storage(), &mut names);
    names.sort();
    names
}

fn assert_stored_whole(node: &Node, uid: &str, dataset: &[u8]) {
    assert_eq!(stored(node), [format!("{uid}.dcm")]);
    let file = fs::read(node.storage().join("1.2.3/1.2.3.4").join(format!("{uid}.dcm"))).unwrap();
    assert!(file.ends_with(dataset), "{} bytes of {}", file.len(), dataset.len());
}

fn is_abort(pdu: Option<Pdu>) -> bool {
    matches!(pdu, Some(Pdu::AbortRQ { .. }))
}

/// Threads and descriptors of a node that is up to its last part: the admin socket answers.
fn at_rest(node: &Node) -> (usize, usize) {
    assert_eq!(held_bytes(node), 0);
    node.threads_and_descriptors()
}

fn held_bytes(node: &Node) -> u64 {
    let snapshot: MemorySnapshot = serde_json::from_str(&node.mem(&["top", "--json"])).unwrap();
    snapshot
        .stages
        .iter()
        .filter(|stage| !matches!(stage.stage.name(), "admin" | "catalogue"))
        .map(|stage| stage.bytes)
        .sum()
}
