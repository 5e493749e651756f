//! Delivery: what a node has acknowledged reaches its destinations, whatever these do meanwhile.

mod behaviour;
mod committing;
mod faults;
#[allow(dead_code, reason = "only a build with test-faults uses all of it")]
pub(crate) mod finder;
mod limits;
mod orders;
mod poison;
#[cfg(feature = "test-faults")]
mod reconciling;
mod reports;
#[cfg(feature = "test-faults")]
mod retention;
pub(crate) mod scp;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tidegate_catalogue::{DestinationRow, Reader};

use self::scp::{Behaviour, Reply, Scp};
use crate::catalogue::{file, store};
use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, dataset_of, request};

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn uid(number: u32) -> String {
    format!("1.2.3.4.{number}")
}

/// A node with these tables, and what goes with it.
struct Gateway {
    node: Node,
    configuration: PathBuf,
    _directory: tempfile::TempDir,
}

impl Gateway {
    /// A node that delivers everything to `archive`, as the table says.
    fn start(tables: &str) -> Self {
        Self::start_on(None, tables)
    }

    /// The same on the root of a node that has ended.
    fn start_on(root: Option<&Path>, tables: &str) -> Self {
        Self::start_in(&[], root, tables)
    }

    /// The same in this environment.
    fn start_in(environment: &[(&str, &str)], root: Option<&Path>, tables: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let configuration = directory.path().join("node.toml");
        fs::write(&configuration, with_delivery(tables)).unwrap();
        let node = Node::start_configured_in(environment, &configuration, |storage| {
            if let Some(root) = root {
                fs::rename(root, storage).unwrap();
            }
        });
        Self { node, configuration, _directory: directory }
    }

    /// Puts other tables in force.
    fn reload(&self, tables: &str) {
        self.configure(&with_delivery(tables));
    }

    /// Puts another configuration in force.
    fn configure(&self, text: &str) {
        let before = self.node.log_text().matches("configuration reloaded").count();
        fs::write(&self.configuration, text).unwrap();
        self.node.signal(Signal::HUP);
        self.node.logged_times("configuration reloaded", before + 1);
    }

    /// What the catalogue has of the destination.
    fn row(&self) -> Option<DestinationRow> {
        row(&file(&self.node))
    }

    /// Waits until the destination has had so many instances, so many are dead, and it is owed nothing else.
    fn wait_for(&self, delivered: i64, dead: i64) {
        let mut last = None;
        let is_so = eventually(|| {
            last = self.row();
            last.as_ref().is_some_and(|row| {
                let sums = &row.sums;
                (sums.delivered, sums.dead, sums.waiting, sums.retrying, sums.sent) == (delivered, dead, 0, 0, 0)
            })
        });
        assert!(is_so, "not {delivered} delivered and {dead} dead: {last:?}");
    }

    /// Kills the node, and gives back the root.
    fn kill(mut self) -> (PathBuf, tempfile::TempDir) {
        self.node.signal(Signal::KILL);
        self.node.wait();
        self.keep_root()
    }

    fn keep_root(&self) -> (PathBuf, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("storage");
        fs::rename(self.node.storage(), &kept).unwrap();
        (kept, directory)
    }
}

fn with_delivery(tables: &str) -> String {
    format!("[delivery]\nto = [\"archive\"]\n\n{tables}")
}

fn row(catalogue: &Path) -> Option<DestinationRow> {
    Reader::open(catalogue).and_then(|mut reader| reader.destination("archive")).ok().flatten()
}

/// An address where nothing listens yet.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The table of a destination there.
fn destination(address: SocketAddr, more: &str) -> String {
    format!(
        "[[destination]]\nname = \"archive\"\nkind = \"dicom\"\naddress = \"{address}\"\ncalled = \"ARCHIVE\"\n{more}\n"
    )
}

#[test]
fn what_is_stored_is_delivered_as_it_was_received() {
    let scp = Scp::new(Behaviour::default());
    let mut gateway = Gateway::start(&scp.destination("archive", ""));
    store(&gateway.node, 0..5);
    gateway.wait_for(5, 0);
    let received = scp.received();
    assert_eq!(received.len(), 5);
    for one in received {
        assert!(one.dataset == dataset(&one.uid, 100) && one.syntax == EXPLICIT, "{}", one.uid);
    }
    let request = &scp.requests()[0];
    assert_eq!((&*request.called_ae_title, &*request.calling_ae_title), ("ARCHIVE", "TIDEGATE"));
    assert_eq!(gateway.node.stop(), Some(0));
    assert_eq!(scp.aborted(), 0, "released at the end");
}

#[test]
fn large_instances_pass_whole_through_pdus_of_any_length() {
    for max_pdu_length in [0, 200, 4097, 16_384, 131_072, 1 << 20] {
        let scp = Scp::new(Behaviour { max_pdu_length, ..Behaviour::default() });
        let gateway = Gateway::start(&scp.destination("archive", ""));
        let (mut wire, _) = Wire::associate(gateway.node.address(), request());
        let pixels = if max_pdu_length == 200 { 200_001 } else { 3_000_000 };
        for (number, pixels) in [(0, pixels), (1, 0), (2, 130_000), (3, 131_072)] {
            assert_eq!(wire.store(1, &uid(number), &dataset(&uid(number), pixels & !1)).status, 0);
        }
        gateway.wait_for(4, 0);
        for one in scp.received() {
            let number: u32 = one.uid.rsplit('.').next().unwrap().parse().unwrap();
            let pixels = [pixels, 0, 130_000, 131_072][number as usize] & !1;
            assert!(one.dataset == dataset(&one.uid, pixels), "{} with {max_pdu_length}", one.uid);
            assert!(max_pdu_length == 0 || one.longest_pdu <= max_pdu_length as usize, "{}", one.longest_pdu);
        }
    }
}

#[test]
fn a_destination_that_is_down_gets_everything_when_it_is_back_also_from_the_next_process() {
    let address = free_address();
    let gateway = Gateway::start(&destination(address, ""));
    store(&gateway.node, 0..20);
    gateway.node.logged(&["destination is down", "ARCHIVE"]);
    let (root, _kept) = gateway.kill();
    let next = Gateway::start_on(Some(&root), &destination(address, ""));
    store(&next.node, 20..30);
    next.node.logged(&["destination is down"]);
    let scp = Scp::on(TcpListener::bind(address).unwrap(), Behaviour::default());
    next.wait_for(30, 0);
    next.node.logged(&["destination is back"]);
    assert!(scp.counts().values().all(|count| *count == 1), "{:?}", scp.counts());
    next.node.logged_times("destination is down", 1);
}

#[test]
fn instances_go_study_by_study_in_the_order_of_their_series() {
    let address = free_address();
    let gateway = Gateway::start(&destination(address, "connections = 2"));
    let (mut wire, _) = Wire::associate(gateway.node.address(), request());
    for number in 0..30 {
        let (study, series) = (format!("1.2.{}", number % 3), format!("1.2.{}.{}", number % 3, number % 2));
        let bytes = dataset_of(&uid(number), (&study, &series), 100);
        assert_eq!(wire.store(1, &uid(number), &bytes).status, 0);
    }
    gateway.node.logged(&["destination is down"]);
    assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.waiting == 30)));
    let slow = Behaviour { answer: Box::new(|_, _| Reply::Late(Duration::from_millis(20), 0)), ..Behaviour::default() };
    let scp = Scp::on(TcpListener::bind(address).unwrap(), slow);
    gateway.wait_for(30, 0);
    // Each connection has one study at a time.
    let mut studies: Vec<Vec<u32>> = vec![Vec::new(); 8];
    for one in scp.received() {
        let number: u32 = one.uid.rsplit('.').next().unwrap().parse().unwrap();
        studies[one.association].push(number % 3);
    }
    for mut studies in studies {
        studies.dedup();
        assert!(studies.len() <= 3, "a connection changes its study when it is done: {studies:?}");
    }
    assert_eq!(scp.most_open(), 2);
}

#[test]
fn the_window_of_the_destination_is_used() {
    let scp = Scp::new(Behaviour { window: 8, ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", "connections = 1\nhours = \"off\""));
    store(&gateway.node, 0..200);
    gateway.wait_for(200, 0);
    assert_eq!(scp.most_outstanding(), 2, "another message comes before the answer");
    let one_at_a_time = Scp::new(Behaviour::default());
    let gateway = Gateway::start(&one_at_a_time.destination("archive", "connections = 1"));
    store(&gateway.node, 0..50);
    gateway.wait_for(50, 0);
    assert_eq!(one_at_a_time.most_outstanding(), 1);
}

#[test]
fn a_destination_that_takes_another_native_syntax_gets_the_instance_in_that() {
    let accept = |context: &dicom_ul::pdu::PresentationContextProposed| {
        context.transfer_syntaxes.iter().find(|syntax| *syntax == IMPLICIT).cloned()
    };
    let scp = Scp::new(Behaviour { accept: Box::new(accept), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", ""));
    let (mut wire, _) = Wire::associate(gateway.node.address(), request());
    for (number, pixels) in [(0, 100), (1, 1_000_000)] {
        assert_eq!(wire.store(1, &uid(number), &dataset(&uid(number), pixels)).status, 0);
    }
    gateway.wait_for(2, 0);
    for one in scp.received() {
        assert_eq!(one.syntax, IMPLICIT);
        let pixels = if one.uid == uid(0) { 100 } else { 1_000_000 };
        assert!(one.dataset == implicit(&dataset(&one.uid, pixels)), "{}", one.uid);
    }
}

/// A dataset in explicit VR without sequences, in implicit VR.
fn implicit(mut explicit: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !explicit.is_empty() {
        out.extend(&explicit[..4]);
        let (header, length) = match &explicit[4..6] {
            b"OW" => (12, u32::from_le_bytes(explicit[8..12].try_into().unwrap())),
            _ => (8, u32::from(u16::from_le_bytes(explicit[6..8].try_into().unwrap()))),
        };
        out.extend(length.to_le_bytes());
        out.extend(&explicit[header..header + length as usize]);
        explicit = &explicit[header + length as usize..];
    }
    out
}

#[test]
fn destinations_come_change_and_go_with_a_reload() {
    let (first, second) = (Scp::new(Behaviour::default()), Scp::new(Behaviour::default()));
    let gateway = Gateway::start(&first.destination("archive", ""));
    store(&gateway.node, 0..3);
    gateway.wait_for(3, 0);
    // Another address.
    gateway.reload(&second.destination("archive", ""));
    store(&gateway.node, 3..6);
    gateway.wait_for(6, 0);
    assert_eq!((first.received().len(), second.received().len()), (3, 3));
    // It goes, and returns.
    gateway.configure("[delivery]\nto = []\n");
    assert!(eventually(|| second.open() == 0));
    store(&gateway.node, 6..7);
    gateway.reload(&first.destination("archive", ""));
    store(&gateway.node, 7..9);
    gateway.wait_for(8, 0);
    assert_eq!((first.received().len(), second.received().len()), (5, 3));
    assert!(!gateway.node.log_text().contains("child ended"));
}
