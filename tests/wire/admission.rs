//! Places and memory that a peer holds without use: they are given to those who need them.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, echo_command, p_data, request, store_command, store_message};
use dicom_ul::pdu::Pdu;

/// An address of this host that no other peer of a test has.
fn other_host() -> std::net::IpAddr {
    [127, 0, 0, 9].into()
}

/// Whether the node has ended the connection. Bytes from the node are skipped.
fn is_over(wire: &mut Wire) -> bool {
    wire.0.set_nonblocking(true).unwrap();
    let mut bytes = [0; 64];
    let over = loop {
        match wire.0.read(&mut bytes) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != ErrorKind::WouldBlock,
        }
    };
    wire.0.set_nonblocking(false).unwrap();
    over
}

fn is_rejected(mut wire: Wire) -> bool {
    match wire.ask(request()) {
        Some(Pdu::AssociationRJ(_)) => true,
        Some(Pdu::AssociationAC(_)) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_released_association_has_no_place_although_its_peer_keeps_the_connection() {
    let node =
        Node::start(&[("TIDEGATE__ASSOCIATIONS__MAX", "2"), ("TIDEGATE__ASSOCIATIONS__MAX_PER_CALLING_AE", "1")]);
    let mut kept = Vec::new();
    for _ in 0..8 {
        let (mut wire, _) = Wire::associate(node.address(), request());
        wire.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert!(matches!(wire.pdu(), Some(Pdu::ReleaseRP)));
        kept.push(wire);
    }
}

/// At a limit that the configuration states, a newcomer is rejected at once, unless an association has stored nothing and is quiet.
#[test]
fn an_association_that_stores_nothing_gives_way_and_one_that_has_stored_does_not() {
    for limit in ["MAX", "MAX_PER_ADDRESS"] {
        let node = Node::start(&[(&format!("TIDEGATE__ASSOCIATIONS__{limit}"), "2")]);
        let (mut useful, _) = Wire::associate(node.address(), request());
        assert_eq!(useful.store(1, "1.2.3.700.1", &dataset("1.2.3.700.1", 1000)).status, 0);
        let (mut unused, _) = Wire::associate(node.address(), request());
        let began = Instant::now();
        assert!(is_rejected(Wire::connect(node.address())) || began.elapsed() >= Duration::from_secs(5), "{limit}");
        let mut admitted = None;
        let is_admitted = eventually(|| {
            let _ = unused.0.write_all(&p_data(3, 3, &echo_command())); // echoes are no use
            let mut wire = Wire::connect(node.address());
            let answer = wire.ask(request());
            admitted = matches!(answer, Some(Pdu::AssociationAC(_))).then_some(wire);
            admitted.is_some()
        });
        assert!(is_admitted && eventually(|| is_over(&mut unused)), "{limit}");
        node.logged(&["it has stored nothing, and another needs its place"]);
        assert_eq!(useful.store(2, "1.2.3.700.2", &dataset("1.2.3.700.2", 1000)).status, 0, "{limit}");
    }
}

/// Nobody chose the limit of an address: a program that only opens associations does not shut out another on the same host.
#[test]
fn under_the_default_limit_of_an_address_a_newcomer_waits_for_an_unused_association() {
    let node = Node::start(&[("TIDEGATE__ASSOCIATIONS__MAX", "16")]);
    let held: Vec<_> = (0..4).map(|_| Wire::associate(node.address(), request()).0).collect();
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, "1.2.3.701.1", &dataset("1.2.3.701.1", 1000)).status, 0);
    Wire::connect_from(other_host(), node.address()).accepted(request()).0.release();
    drop(held);
    wire.release();
    node.settled();
}

/// Eight datasets that stop arriving take the whole budget. Their senders keep their associations as long as nobody else needs it.
#[test]
fn holders_that_stall_give_back_when_others_need_memory() {
    const MIB: u64 = 1 << 20;
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "16"),
        ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited"),
        ("TIDEGATE__MEMORY__BUDGET", "16 MiB"),
        ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "4 MiB"),
    ]);
    let begun = |number: usize| {
        let uid = format!("1.2.3.702.{number}");
        let (mut wire, _) = Wire::associate(node.address(), request());
        wire.send(&p_data(1, 3, &store_command(1, &uid)));
        for fragment in dataset(&uid, 4_000_000)[..1_600_000].chunks(16_000) {
            wire.send(&p_data(1, 0, fragment));
        }
        wire
    };
    let holders: Vec<_> = (0..8).map(begun).collect();
    let mut number = 0;
    let has_given_back = eventually(|| {
        let uid = format!("1.2.3.703.{number}");
        number += 1;
        let (mut wire, _) = Wire::connect_from(other_host(), node.address()).accepted(request());
        assert_eq!(wire.store(1, &uid, &dataset(&uid, 3_000_000)).status, 0);
        wire.release();
        node.held().1 < 4 * MIB
    });
    assert!(has_given_back, "{:?} holders and bytes after {number} visits", node.held());
    drop(holders);
    node.settled();
    node.wait_for_temp_files(0);
}

#[test]
fn empty_pdus_do_not_keep_an_association_and_stored_instances_do() {
    let node = Node::start(&[("TIDEGATE__ASSOCIATIONS__IDLE_TIMEOUT", "2s")]);
    let (mut busy, _) = Wire::associate(node.address(), request());
    let (mut idle, _) = Wire::associate(node.address(), request());
    let mut number = 0;
    let is_ended = eventually(|| {
        let _ = idle.0.write_all(&[4, 0, 0, 0, 0, 0]);
        let uid = format!("1.2.3.704.{number}");
        number += 1;
        assert_eq!(busy.store(number, &uid, &dataset(&uid, 1000)).status, 0);
        is_over(&mut idle)
    });
    assert!(is_ended);
    busy.release();
}

#[test]
fn no_association_outlives_its_lifetime_and_the_dataset_under_way_is_stored() {
    let node =
        Node::start(&[("TIDEGATE__ASSOCIATIONS__MAX_LIFETIME", "1s"), ("TIDEGATE__ASSOCIATIONS__MIN_RATE", "0 B")]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let message = store_message(1, "1.2.3.706", &dataset("1.2.3.706", 10_000), 4_000);
    let (begun, rest) = message.split_at(message.len() / 2);
    wire.send(begun);
    std::thread::sleep(Duration::from_millis(1500)); // the lifetime is what is tested
    wire.send(rest);
    assert_eq!(wire.response().status, 0);
    assert!(eventually(|| is_over(&mut wire)));
    node.logged(&["association over a limit, aborted", "max_lifetime"]);
}

#[test]
fn a_request_that_the_peer_breaks_off_is_no_port_check() {
    let node = Node::start(&[]);
    for first in [&b"\x01\x00\x00\x00\x00\xc8\x00\x01"[..], b""] {
        let mut wire = Wire::connect(node.address());
        wire.send(first);
        drop(wire);
    }
    node.logged(&["peer closed the connection within its association request"]);
    assert_eq!(node.log_text().matches("connection closed").count(), 0, "no line for a port check");
}
