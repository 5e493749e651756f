//! Delivered files are deleted above the limit, undelivered ones never. The feature shortens the pauses of retention to a second.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use tidegate_catalogue::{Reader, State};

use super::scp::{Behaviour, Reply, Scp};
use super::{Gateway, destination, free_address};
use crate::catalogue::file;
use crate::commitment::modality::{Listener, ask, of_ct, with_commitment};
use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset_of, request};

/// Four files have more, two have less than half of it.
const LIMITS: &str = "[retention]\nmax_bytes = \"1 MiB\"\nlow_water = 0.6\n";
const PIXELS: usize = 300_000;

fn study(number: u32) -> String {
    format!("1.2.3.{number}")
}

fn uid(number: u32) -> String {
    format!("1.2.3.{number}.1.1")
}

/// Sends one instance of each study.
fn store(node: &Node, studies: impl IntoIterator<Item = u32>) {
    let (mut wire, _) = Wire::associate(node.address(), request());
    for number in studies {
        let (study, series) = (study(number), format!("1.2.3.{number}.1"));
        assert_eq!(wire.store(1, &uid(number), &dataset_of(&uid(number), (&study, &series), PIXELS)).status, 0);
    }
    wire.release();
}

fn path(number: u32) -> PathBuf {
    format!("1.2.3.{number}/1.2.3.{number}.1/1.2.3.{number}.1.1.dcm").into()
}

fn paths(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<PathBuf> {
    numbers.into_iter().map(path).collect()
}

fn state(node: &Node, number: u32) -> State {
    Reader::open(&file(node)).unwrap().file(&path(number)).unwrap().unwrap().state
}

#[test]
fn the_oldest_delivered_studies_go_with_their_directories() {
    let scp = Scp::new(Behaviour::default());
    let gateway = Gateway::start(&format!("{LIMITS}{}", scp.destination("archive", "")));
    store(&gateway.node, 0..6);
    let left = || gateway.node.stored() == paths(4..6);
    assert!(eventually(left), "{:?}", gateway.node.stored());
    assert_eq!(scp.received().len(), 6);
    assert!(!gateway.node.storage().join(study(0)).exists() && gateway.node.storage().join(study(4)).exists());
    gateway.node.logged(&["delivered files deleted"]);
    assert!(eventually(|| (0..6)
        .map(|number| state(&gateway.node, number))
        .filter(|state| *state == State::Released)
        .count()
        == 4));
    // Sent again, it is stored again, and not delivered again.
    store(&gateway.node, [0]);
    assert!(gateway.node.stored().contains(&path(0)));
    sleep(Duration::from_secs(2));
    assert_eq!(scp.received().len(), 6);
}

#[test]
fn what_is_not_delivered_stays_and_it_is_said() {
    let poisoned = |uid_of: &str, _: usize| if uid_of == uid(1) { Reply::Status(0xC000) } else { Reply::Status(0) };
    let scp = Scp::new(Behaviour { answer: Box::new(poisoned), ..Behaviour::default() });
    let address = free_address();
    let gateway = Gateway::start(&format!("{LIMITS}{}", destination(address, "attempts = 1")));
    store(&gateway.node, 0..6);
    gateway.node.logged(&["stored files have more bytes than retention.max_bytes"]);
    assert_eq!(gateway.node.stored(), paths(0..6));
    // The destination is back, and refuses one for good.
    gateway.reload(&format!("{LIMITS}{}", scp.destination("archive", "attempts = 1")));
    assert!(eventually(|| gateway.node.stored() == paths([1, 5])), "{:?}", gateway.node.stored());
}

/// The modality listens, and does not answer: its request is not reported.
#[test]
fn what_a_commitment_request_names_stays_until_that_is_reported() {
    let (scp, modality) = (Scp::new(Behaviour::default()), Listener::new());
    let tables = |limits: &str| format!("{limits}{}{}", scp.destination("archive", ""), modality.configuration());
    let gateway = Gateway::start(&tables(&LIMITS.replace("1 MiB", "1 GiB")));
    store(&gateway.node, 0..6);
    gateway.wait_for(6, 0);
    let (mut wire, _) = Wire::associate(gateway.node.address(), with_commitment());
    assert_eq!(ask(&mut wire, &of_ct("1.2.1", &[&uid(0)])), 0);
    wire.release();
    gateway.reload(&tables(LIMITS));
    assert!(eventually(|| gateway.node.stored() == paths([0, 5])), "{:?}", gateway.node.stored());
    sleep(Duration::from_secs(3));
    assert_eq!(gateway.node.stored(), paths([0, 5]), "and no sweep that follows takes it");
    let report = modality.take(0);
    assert_eq!(report.committed, [uid(0)]);
    store(&gateway.node, 6..8);
    assert!(eventually(|| gateway.node.stored() == paths([6, 7])), "{:?}", gateway.node.stored());
}

/// A file that is not the one that was stored, or that somebody has put a link in place of.
#[test]
fn a_file_that_is_another_one_stays() {
    let scp = Scp::new(Behaviour::default());
    let large = LIMITS.replace("1 MiB", "1 GiB");
    let gateway = Gateway::start(&format!("{large}{}", scp.destination("archive", "")));
    store(&gateway.node, 0..6);
    gateway.wait_for(6, 0);
    let at = gateway.node.storage().join(path(0));
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::remove_file(&at).unwrap();
    std::os::unix::fs::symlink(outside.path(), &at).unwrap();
    gateway.reload(&format!("{LIMITS}{}", scp.destination("archive", "")));
    gateway.node.logged(&["delivered file not deleted"]);
    assert!(outside.path().exists() && at.symlink_metadata().is_ok());
}
