//! A process that is stopped and continued (SIGSTOP; a suspended machine and a frozen container are the same to it): time counts only
//! while it ran. No child is replaced for the pause, no instance refused, no association aborted. Built with the feature `test-faults`, the
//! node has shorter times that no key sets (`TIDEGATE_TEST_…`), and the pauses exceed these as well.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, request, store_message};
use dicom_ul::pdu::Pdu;
use rustix::process::Signal;

/// Two sizes that go through the commit log, one that is synced by itself, one that is spooled.
const PIXELS: [usize; 4] = [2_000, 20_000, 200_000, 1_500_000];
const SENDERS: usize = 8;

/// Stops the node for this long.
fn pause(node: &Node, length: Duration) {
    node.signal(Signal::STOP);
    sleep(length);
    node.signal(Signal::CONT);
}

/// Stores instance after instance until `is_over`. Every one must be acknowledged.
fn send_until(is_over: &AtomicBool, acknowledged: &AtomicUsize, node: &Node, sender: usize) {
    let (mut wire, _) = Wire::associate(node.address(), request());
    for number in 0.. {
        let uid = format!("1.2.3.90.{sender}.{number}");
        let content = dataset(&uid, PIXELS[(sender + number) % PIXELS.len()]);
        let response = wire.store(number as u16, &uid, &content);
        assert_eq!((response.status, response.comment.as_str()), (0, ""), "{uid}");
        acknowledged.fetch_add(1, Ordering::Relaxed);
        if is_over.load(Ordering::Relaxed) {
            break;
        }
    }
    wire.release();
}

#[test]
fn under_load_no_child_is_replaced_nothing_is_refused_and_no_association_is_cut_off() {
    let mut node = Node::start(&[
        ("TIDEGATE__SUPERVISION__HANG_TIMEOUT", "7s"),
        ("TIDEGATE__WRITERS__COMMIT_TIMEOUT", "8s"),
        ("TIDEGATE__WRITERS__HANDOFF_TIMEOUT", "8s"),
        ("TIDEGATE__WRITERS__MAILBOX_CAPACITY", "2"),
        ("TIDEGATE__ASSOCIATIONS__IDLE_TIMEOUT", "8s"),
        ("TIDEGATE_TEST_SEND_TIMEOUT_MS", "8000"),
        ("TIDEGATE_TEST_MIN_RATE_WINDOW_MS", "8000"),
        ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "1 MiB"),
    ]);
    let (is_over, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn({
                    let (is_over, acknowledged, node) = (&is_over, &acknowledged, &node);
                    move || send_until(is_over, acknowledged, node, sender)
                })
            })
            .collect();
        // Each wait ends early if a sender has failed; the join below tells why.
        let goes_on = || {
            let wanted = acknowledged.load(Ordering::Relaxed) + 10 * SENDERS;
            let failed = || senders.iter().any(|sender| sender.is_finished());
            assert!(eventually(|| acknowledged.load(Ordering::Relaxed) >= wanted || failed()), "no progress");
        };
        goes_on();
        for seconds in [9, 11] {
            pause(&node, Duration::from_secs(seconds));
            goes_on();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(node.stop(), Some(0));
    let log = node.log_text();
    for words in ["child ended", "instance refused", "association rejected", "aborted peer=", "cannot go on"] {
        assert!(!log.contains(words), "{words}");
    }
}

#[test]
fn a_peer_whose_bytes_wait_in_the_socket_or_come_right_after_is_not_silent() {
    let idle_timeout = Duration::from_secs(6);
    let mut node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__IDLE_TIMEOUT", "6s"),
        ("TIDEGATE__ASSOCIATIONS__ASSOCIATION_REQUEST_TIMEOUT", "6s"),
        ("TIDEGATE__ASSOCIATIONS__MIN_RATE", "256 B"),
        ("TIDEGATE_TEST_MIN_RATE_WINDOW_MS", "6000"),
    ]);
    let message = |number: u16| {
        let uid = format!("1.2.3.91.{number}");
        store_message(number, &uid, &dataset(&uid, 5_000), 16_000)
    };
    let associate = || Wire::associate(node.address(), request()).0;
    let (mut sends_meanwhile, mut sends_after, mut is_halfway, mut stays_silent) =
        (associate(), associate(), associate(), associate());
    let mut has_said_nothing = Wire::connect(node.address());
    let (first, second) = (message(3), message(3));
    is_halfway.send(&first[..3_000]);

    node.signal(Signal::STOP);
    sends_meanwhile.send(&message(1));
    sleep(2 * idle_timeout);
    node.signal(Signal::CONT);

    assert_eq!(sends_meanwhile.response().status, 0);
    sends_after.send(&message(2));
    assert_eq!(sends_after.response().status, 0);
    is_halfway.send(&second[3_000..]);
    assert_eq!(is_halfway.response().status, 0);
    assert!(matches!(has_said_nothing.ask(request()), Some(Pdu::AssociationAC(_))));
    for wire in [sends_meanwhile, sends_after, is_halfway, has_said_nothing] {
        wire.release();
    }
    // A peer that is silent while the node looks is still found out.
    assert!(matches!(stays_silent.pdu(), Some(Pdu::AbortRQ { .. })));
    node.logged(&["association idle too long"]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_client_of_a_stopped_node_says_so_in_time_and_the_node_says_how_long_it_did_not_run() {
    let mut node = Node::start(&[]);
    let ask = |command: &str| {
        let mut asking = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        asking.args([command, "--timeout", "1m", "--storage"]).arg(node.storage());
        let output = asking.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    node.signal(Signal::STOP);
    for command in ["status", "top", "studies"] {
        let asked = Instant::now();
        let (code, said) = ask(command);
        assert_eq!(code, Some(4), "{said}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{command} took {:?}", asked.elapsed());
        let expected = format!("the node did not answer within 1s: process {0} is stopped", node.pid());
        assert!(said.contains(&expected) && said.contains(&format!("`kill -CONT {}`", node.pid())), "{said}");
    }
    sleep(Duration::from_secs(6));
    node.signal(Signal::CONT);
    node.logged(&["WARN", "the node did not run", "stalled_ms="]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_node_that_stops_gives_its_associations_the_grace_they_were_promised() {
    let mut node = Node::start(&[("TIDEGATE__NODE__SHUTDOWN_GRACE", "8s")]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let message = store_message(1, "1.2.3.92", &dataset("1.2.3.92", 60_000), 16_000);
    wire.send(&message[..30_000]);
    node.wait_until_received(20_000);
    node.signal(Signal::TERM);
    node.logged(&["stopping; a second signal exits at once"]);
    pause(&node, Duration::from_secs(10));
    wire.send(&message[30_000..]);
    assert_eq!(wire.response().status, 0);
    assert_eq!(node.wait(), Some(0));
    node.logged(&["stopped", "associations_aborted=0", "actors_left=0", "leased_bytes_left=0"]);
}
