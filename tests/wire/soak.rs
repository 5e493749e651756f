//! Nothing leaks: thousands of associations, port checks, aborts and small instances, and the node holds what it held before.
//!
//! `cargo test` runs a twentieth of it; `TIDEGATE_SOAK=full` runs all.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, p_data, request, store_command};
use tidegate_memory::slope::slope;
use tidegate_memory::{MemorySnapshot, Stage};

/// Rounds of equal work, each followed by a look at the quiet node.
const ROUNDS: usize = 12;
const CLIENTS: usize = 8;

/// The work of one client in one round.
#[derive(Clone, Copy)]
struct Share {
    associations: usize,
    port_checks: usize,
    aborts: usize,
    instances: usize,
}

impl Share {
    /// 20,000 associations, 20,000 port checks, 2,000 aborts and 50,000 instances in all, or a twentieth of that.
    fn new() -> Self {
        let part = if std::env::var("TIDEGATE_SOAK").is_ok_and(|value| value == "full") { 1 } else { 20 };
        let each = |all: usize| (all / part).div_ceil(ROUNDS * CLIENTS);
        Self { associations: each(20_000), port_checks: each(20_000), aborts: each(2_000), instances: each(50_000) }
    }

    fn work(self, address: SocketAddr, client: usize, round: usize) {
        for _ in 0..self.associations {
            Wire::associate(address, request()).0.release();
        }
        for _ in 0..self.port_checks {
            drop(TcpStream::connect(address).unwrap());
        }
        let cut_off = dataset("1.2.3.100", 300_000);
        for i in 0..self.aborts {
            let (mut wire, _) = Wire::associate(address, request());
            wire.send(&p_data(1, 3, &store_command(1, "1.2.3.100")));
            for fragment in cut_off[..200_000].chunks(16_000) {
                wire.send(&p_data(1, 0, fragment));
            }
            if i % 2 == 0 {
                wire.send(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]); // an A-ABORT; the others just leave
            }
        }
        let (mut wire, _) = Wire::associate(address, request());
        for i in 0..self.instances {
            let uid = format!("1.2.3.{client}.{round}.{i}");
            assert_eq!(wire.store(i as u16, &uid, &dataset(&uid, 700)).status, 0);
        }
        wire.release();
    }
}

/// The bytes leased for associations. The admin stage is left out: the question itself holds a lease.
fn leased(snapshot: &MemorySnapshot) -> u64 {
    snapshot
        .stages
        .iter()
        .filter(|stage| !matches!(stage.stage, Stage::Admin | Stage::Catalogue))
        .map(|stage| stage.bytes)
        .sum()
}

/// The leases, the resident memory and the descriptors of the idle node.
struct Reading {
    snapshot: MemorySnapshot,
    rss: u64,
    descriptors: usize,
}

impl Reading {
    /// Waits until the last association is gone and freed pages have had time to go back.
    fn of(node: &Node) -> Self {
        let snapshot = || -> MemorySnapshot { serde_json::from_str(&node.mem(&["top", "--json"])).unwrap() };
        assert!(eventually(|| leased(&snapshot()) == 0), "leases are left: {}", node.mem(&["who"]));
        std::thread::sleep(Duration::from_millis(2_500));
        let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count();
        Self { snapshot: snapshot(), rss: kib * 1024, descriptors }
    }
}

/// The growth per round that `values` show with 95 % confidence: 0 if it could as well be none.
fn certain_growth(values: &[f64]) -> f64 {
    let points: Vec<_> = values.iter().enumerate().map(|(round, value)| (round as f64, *value)).collect();
    slope(&points).low_per_s.max(0.0)
}

#[test]
fn a_node_that_is_quiet_again_holds_what_it_held_before() {
    let node = Node::start(&[
        ("TIDEGATE__STORAGE__DURABILITY", "none"),
        ("TIDEGATE__LOG__LEVEL", "warn"),
        ("TIDEGATE__MEMORY__BUDGET", "128 MiB"),
        // Connections that are closed at once count until they are served: on a machine with other work they outnumber 512.
        ("TIDEGATE__ASSOCIATIONS__MAX", "1024"),
        ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited"),
    ]);
    let share = Share::new();
    let mut readings = Vec::new();
    // The first round warms up: threads, tables and the allocator's caches come to stay.
    for round in 0..=ROUNDS {
        let address = node.address();
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| std::thread::spawn(move || share.work(address, client, round))).collect();
        for client in clients {
            client.join().unwrap();
        }
        readings.push(Reading::of(&node));
    }
    let log = fs::read_to_string(node.log()).unwrap();
    assert!(!log.contains("memory leak suspected"), "false alarm: {log}");
    let (first, last) = (&readings[0], &readings[ROUNDS]);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    for (round, reading) in readings.iter().enumerate() {
        eprintln!(
            "round {round}: allocated {:.2} MiB, unattributed {:.2} MiB, rss {:.2} MiB, {} descriptors",
            mib(reading.snapshot.allocator.allocated as f64),
            mib(reading.snapshot.unattributed_bytes as f64),
            mib(reading.rss as f64),
            reading.descriptors,
        );
    }
    assert_eq!(leased(&last.snapshot), 0);
    assert_eq!(last.descriptors, first.descriptors, "file descriptors");
    let unattributed: Vec<_> = readings.iter().map(|r| r.snapshot.unattributed_bytes as f64).collect();
    let rss: Vec<_> = readings.iter().map(|r| r.rss as f64).collect();
    assert!(mib(unattributed[ROUNDS] - unattributed[0]) <= 2.0, "unattributed has grown");
    assert!(mib(rss[ROUNDS] - rss[0]) <= 8.0, "resident memory has grown");
    // A slope that is certain, and would matter: 64 KiB in each round of thousands of connections.
    assert!(certain_growth(&unattributed) < 65_536.0, "unattributed grows");
    assert!(certain_growth(&rss) < 4.0 * 65_536.0, "resident memory grows");
}

/// Half-received datasets cannot lock each other up: 200 of them fill the budget many times over, all at once, and all arrive.
#[test]
fn two_hundred_datasets_at_once_fit_a_budget_of_32_mib() {
    const SENDERS: usize = 200;
    /// Fragments; 200 times that is several budgets, which nobody can make room in by being complete.
    const HALF: usize = 8;
    let node = Node::start(&[
        ("TIDEGATE__STORAGE__DURABILITY", "none"),
        ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited"),
        ("TIDEGATE__MEMORY__BUDGET", "32 MiB"),
        ("TIDEGATE__WRITERS__HANDOFF_TIMEOUT", "10m"),
    ]);
    let full = std::env::var("TIDEGATE_SOAK").is_ok_and(|value| value == "full");
    let whole = Arc::new(dataset("1.2.3.200.000", if full { 16 << 20 } else { 1 << 20 }));
    let (at_once, goes_on) = (Arc::new(Barrier::new(SENDERS)), Arc::new(AtomicBool::new(false)));
    let address = node.address();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (whole, at_once, goes_on) = (whole.clone(), at_once.clone(), goes_on.clone());
            std::thread::spawn(move || {
                let (mut wire, _) = Wire::associate(address, request());
                let uid = format!("1.2.3.200.{sender:03}");
                let mut head = whole[..1000].to_vec();
                let at = head.windows(uid.len()).position(|window| window == b"1.2.3.200.000").unwrap();
                head[at..at + uid.len()].copy_from_slice(uid.as_bytes());
                at_once.wait();
                wire.send(&p_data(1, 3, &store_command(1, &uid)));
                wire.send(&p_data(1, 0, &head));
                for (number, fragment) in whole[1000..].chunks(64_000).enumerate() {
                    while number == HALF && !goes_on.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    wire.send(&p_data(1, 0, fragment));
                }
                wire.send(&p_data(1, 2, &[]));
                let status = wire.response().status;
                wire.release();
                (uid, status)
            })
        })
        .collect();
    let snapshot = || -> MemorySnapshot { serde_json::from_str(&node.mem(&["top", "--json"])).unwrap() };
    let is_needed = eventually(|| snapshot().highest_bytes > snapshot().budget_bytes / 2);
    goes_on.store(true, Ordering::Relaxed);
    assert!(is_needed, "the budget was not even needed");
    for sender in senders {
        let (uid, status) = sender.join().unwrap();
        assert_eq!(status, 0, "{uid}");
        let file = fs::read(node.storage().join(format!("1.2.3/1.2.3.4/{uid}.dcm"))).unwrap();
        assert!(file.ends_with(&whole[1000..]), "{uid} is not whole");
    }
    let snapshot = snapshot();
    assert!(snapshot.highest_bytes <= snapshot.budget_bytes, "the budget was exceeded");
    assert_eq!(node.temp_files(), 0);
}
