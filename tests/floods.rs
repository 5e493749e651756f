//! Peers that come in masses, trickle, never end, or send what others choke on: memory stays within what an association may hold, and
//! a good client is served.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/node.rs"]
mod node;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dicom_ul::pdu::Pdu;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use node::{Node, eventually};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use wire::{Wire, dataset, p_data, request, store_command, store_message};

const CROWD: usize = 500;
const MIB: u64 = 1 << 20;

/// Lets this process have as many connections as it may.
fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Stores an instance as a good client would.
fn serve_a_good_client(node: &Node, number: usize) {
    let uid = format!("1.2.3.500.{number}");
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, &uid, &dataset(&uid, 20_000)).status, 0);
    wire.release();
}

/// Whether the peer has closed, or says something, without waiting for it.
fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.peek(&mut [0; 64]) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(_said) => true,
    }
}

#[test]
fn hundreds_of_silent_connections_leave_a_good_client_served() {
    raise_limit();
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "600"),
        ("TIDEGATE__ASSOCIATIONS__ASSOCIATION_REQUEST_TIMEOUT", "5s"),
    ]);
    let mut silent: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
    // Some begin a request, byte by byte: the timer is not renewed by them.
    let mut trickled = 0;
    let all_closed = eventually(|| {
        if silent.len() == CROWD && trickled < 5 {
            serve_a_good_client(&node, trickled);
        }
        if trickled < 60 {
            silent.iter_mut().step_by(7).for_each(|stream| drop(stream.write(&[1])));
            trickled += 1;
        }
        silent.retain_mut(|stream| !is_over(stream));
        silent.is_empty()
    });
    assert!(all_closed, "{} connections are still open", silent.len());
    serve_a_good_client(&node, 100);
    assert_eq!(node.log_text().matches("no association request in time").count(), 1, "one line for one peer");
    node.settled();
}

#[test]
fn hundreds_of_senders_that_trickle_are_aborted_and_a_slow_one_is_not() {
    raise_limit();
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "600"),
        ("TIDEGATE__ASSOCIATIONS__MIN_RATE", "64 B"),
        ("TIDEGATE__ASSOCIATIONS__MIN_RATE_WINDOW", "5s"),
    ]);
    let sent = dataset("1.2.3.501", 4000);
    let message = store_message(1, "1.2.3.501", &sent, 16_000);
    let (mut slow, _) = Wire::associate(node.address(), request());
    let mut crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut wire = Wire::associate(node.address(), request()).0;
            wire.send(&message[..100]);
            wire.0
        })
        .collect();
    // A thirtieth of a second between two bytes of theirs, and a hundred bytes of the slow one's.
    let mut sent_by_slow = 0;
    let (mut good, mut turn) = (0, 0);
    let all_aborted = eventually(|| {
        turn += 1;
        if turn % 3 == 0 {
            crowd.iter_mut().skip(turn % 50).step_by(50).for_each(|stream| drop(stream.write(&[0])));
            let next = (sent_by_slow + 10).min(message.len());
            slow.send(&message[sent_by_slow..next]);
            sent_by_slow = next;
        }
        if good < 5 {
            serve_a_good_client(&node, good);
            good += 1;
        }
        crowd.retain_mut(|stream| !is_over(stream));
        crowd.is_empty()
    });
    assert!(all_aborted, "{} associations are still open", crowd.len());
    slow.send(&message[sent_by_slow..]);
    assert_eq!(slow.response().status, 0, "a slow line is no trickle");
    slow.release();
    assert_eq!(node.log_text().matches("association too slow, aborted").count(), 1, "one line for one peer");
    node.settled();
    assert_eq!(node.temp_files(), 0);
}

#[test]
fn a_storm_of_reconnects_leaves_a_good_client_served() {
    let node = Node::start(&[("TIDEGATE__ASSOCIATIONS__MAX", "64")]);
    let address = node.address();
    static OVER: AtomicBool = AtomicBool::new(false);
    static RECONNECTS: AtomicUsize = AtomicUsize::new(0);
    let storm = |_| {
        std::thread::spawn(move || {
            while !OVER.load(Ordering::Relaxed) {
                let Ok(stream) = TcpStream::connect(address) else { continue };
                let turn = RECONNECTS.fetch_add(1, Ordering::Relaxed);
                let mut wire = Wire(stream);
                wire.0.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                if turn.is_multiple_of(2) && matches!(wire.ask(request()), Some(Pdu::AssociationAC(_))) {
                    let _ = wire.0.write_all(&p_data(1, 3, &store_command(1, "1.2.3.502")));
                }
            }
        })
    };
    let storm: Vec<_> = (0..4).map(storm).collect();
    let (mut wire, _) = Wire::associate(address, request());
    // As long as it takes for a storm to have blown: how fast either side is, is the machine's affair.
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut number = 0;
    while number < 50 || RECONNECTS.load(Ordering::Relaxed) < 200 {
        assert!(Instant::now() < deadline, "{} reconnects, {number} instances", RECONNECTS.load(Ordering::Relaxed));
        let uid = format!("1.2.3.502.{number}");
        assert_eq!(wire.store(1, &uid, &dataset(&uid, 20_000)).status, 0);
        number += 1;
    }
    OVER.store(true, Ordering::Relaxed);
    for thread in storm {
        thread.join().unwrap();
    }
    wire.release();
    node.settled();
}

/// How long each of `count` visits of a good client takes: connect, associate, store 20 kB durably, release.
fn visits(node: &Node, study: usize, count: usize) -> Vec<Duration> {
    let mut took: Vec<_> = (0..count)
        .map(|number| {
            let began = Instant::now();
            serve_a_good_client(node, study * 10_000 + number);
            began.elapsed()
        })
        .collect();
    took.sort();
    took
}

/// 500 connections that are silent, 500 that trickle, and a storm of reconnects, all at one time.
#[test]
fn a_good_client_is_served_amid_all_of_them() {
    raise_limit();
    // All of them are to stay to the end, however busy the machine.
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "1200"),
        ("TIDEGATE__MEMORY__BUDGET", "256 MiB"),
        ("TIDEGATE__ASSOCIATIONS__ASSOCIATION_REQUEST_TIMEOUT", "1h"),
        ("TIDEGATE__ASSOCIATIONS__MIN_RATE_WINDOW", "1h"),
    ]);
    let count = if std::env::var("TIDEGATE_FLOODS").is_ok_and(|value| value == "full") { 300 } else { 40 };
    visits(&node, 1, 10);
    let alone = visits(&node, 2, count);

    let address = node.address();
    let mut silent: Vec<_> = (0..CROWD).map(|_| TcpStream::connect(address).unwrap()).collect();
    // The command, and the beginning of a PDU that lasts for minutes.
    let command = p_data(1, 3, &store_command(1, "1.2.3.520"));
    let begun = [&command[..], &p_data(1, 0, &dataset("1.2.3.520", 100_000))[..500]].concat();
    let mut trickling: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut wire = Wire::associate(address, request()).0;
            wire.send(&begun);
            wire.0
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let trickle = std::thread::spawn(move || {
        for place in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // 300 bytes a second for each of them: more than the least rate.
            drop(trickling[place % CROWD].write(&[0; 30]));
            std::thread::sleep(Duration::from_micros(200));
        }
        trickling
    });
    let stop = over.clone();
    let storm = std::thread::spawn(move || {
        for turn in 0.. {
            if stop.load(Ordering::Relaxed) {
                return turn;
            }
            if let Ok(mut stream) = TcpStream::connect(address) {
                drop(stream.write(&[1, 0, 0, 0]));
            }
            std::thread::sleep(Duration::from_millis(2)); // some hundreds a second
        }
        0
    });
    let amid = visits(&node, 3, count);
    over.store(true, Ordering::Relaxed);
    let reconnects: u64 = storm.join().unwrap();
    let mut trickling = trickle.join().unwrap();
    assert!(!silent.iter_mut().chain(&mut trickling).any(is_over), "some of them were gone before the end");

    let figures = |took: &[Duration]| [took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]];
    let (alone, amid) = (figures(&alone), figures(&amid));
    println!("p50, p99, longest of {count} visits: alone {alone:?}, amid {amid:?} ({reconnects} reconnects)");
    assert!(amid[0] < Duration::from_secs(2), "{amid:?}");
}

/// Resident memory, in bytes.
fn resident(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Processor time used so far, in hundredths of a second.
fn cpu_ticks(node: &Node) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// What one association may hold with the settings of [`bombed`], allocator slack included: its window of one dataset, two more on
/// their way, each up to the spool threshold and two segments, the spool's two chunks, and the request.
const SHARE: u64 = 16 * MIB;

/// A node for the bombs: datasets go to the spool from 1 MiB on, none may be longer than 2 GiB, and a test need not wait for syncs.
fn bombed(more: &[(&str, &str)]) -> Node {
    let environment =
        [&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "1 MiB"), ("TIDEGATE__STORAGE__DURABILITY", "none")][..], more];
    Node::start(&environment.concat())
}

/// Streams a dataset in PDVs of 64 KiB: `head`, then `piece` over and over until `bytes` are sent or the peer has enough. Returns
/// the most the node has held meanwhile beyond `before`.
fn stream(node: &Node, wire: &mut Wire, head: &[u8], piece: &[u8], bytes: u64, before: u64) -> u64 {
    let mut highest = 0;
    let first = p_data(1, 0, head);
    let next = p_data(1, 0, piece);
    let mut sent = head.len() as u64;
    if wire.0.write_all(&first).is_err() {
        return highest;
    }
    for turn in 0_u64.. {
        if sent >= bytes || wire.0.write_all(&next).is_err() {
            break;
        }
        sent += piece.len() as u64;
        if turn % 64 == 0 {
            highest = highest.max(resident(node).saturating_sub(before));
        }
    }
    highest
}

/// How long the dataset of a bomb is: 128 MiB, or the whole GiB with `TIDEGATE_FLOODS=full`.
fn bomb_bytes() -> u64 {
    if std::env::var("TIDEGATE_FLOODS").is_ok_and(|value| value == "full") { 1 << 30 } else { 128 * MIB }
}

#[test]
fn a_dataset_of_any_length_takes_one_associations_share() {
    let node = bombed(&[]);
    serve_a_good_client(&node, 0);
    let before = resident(&node);
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.503")));
    let held = stream(&node, &mut wire, &dataset("1.2.3.503", 0), &[7; 65_000], bomb_bytes(), before);
    wire.send(&p_data(1, 2, b"the end."));
    assert_eq!(wire.response().status, 0);
    assert!(held <= SHARE, "{held} bytes");
    assert!(node.storage().join("1.2.3/1.2.3.4/1.2.3.503.dcm").metadata().unwrap().len() > bomb_bytes());
}

#[test]
fn a_header_alone_takes_no_memory_for_what_it_announces() {
    const PEERS: u64 = 32;
    let node = Node::start(&[]);
    let wires: Vec<_> = (0..PEERS)
        .map(|peer| {
            let uid = format!("1.2.3.504.{peer}");
            let (mut wire, _) = Wire::associate(node.address(), request());
            wire.send(&p_data(1, 3, &store_command(1, &uid)));
            wire.send(&p_data(1, 0, &dataset(&uid, 120_000))[..2000]);
            wire
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500)); // all that is sent has been read
    let (_, leased) = node.held();
    assert!(leased <= PEERS * 112 * 1024, "{} bytes for each", leased / PEERS);
    drop(wires);
    node.settled();
}

#[test]
fn a_dataset_without_end_is_aborted_at_its_limit_and_leaves_nothing() {
    let node = bombed(&[("TIDEGATE__ASSOCIATIONS__MAX_DATASET", "8 MiB")]);
    serve_a_good_client(&node, 0);
    let before = resident(&node);
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.504")));
    let held = stream(&node, &mut wire, &dataset("1.2.3.504", 0), &[7; 65_000], u64::MAX, before);
    assert!(held <= SHARE, "{held} bytes");
    node.logged(&["association beyond a limit, aborted", "max_dataset"]);
    node.wait_for_temp_files(0);
    assert!(!node.storage().join("1.2.3/1.2.3.4/1.2.3.504.dcm").exists());
    // A dataset of just the limit is taken.
    let sent = dataset("1.2.3.505", 8 * MIB as usize - dataset("1.2.3.505", 0).len());
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, "1.2.3.505", &sent).status, 0);
    wire.release();
}

#[test]
fn an_association_ends_at_its_number_of_instances_or_bytes() {
    for (key, value, limit) in [("MAX_INSTANCES", "3", "max_instances"), ("MAX_BYTES", "1 MiB", "max_bytes")] {
        let node = Node::start(&[(&format!("TIDEGATE__ASSOCIATIONS__{key}"), value)]);
        let (mut wire, _) = Wire::associate(node.address(), request());
        for number in 0..3 {
            let uid = format!("1.2.3.506.{number}");
            assert_eq!(wire.store(1, &uid, &dataset(&uid, 400_000)).status, 0, "{limit}");
        }
        wire.send(&p_data(1, 3, &store_command(1, "1.2.3.506.3")));
        assert!(matches!(wire.pdu(), Some(Pdu::AbortRQ { .. })), "{limit}");
        node.logged(&["association beyond a limit, aborted", limit]);
        let (mut wire, _) = Wire::associate(node.address(), request());
        assert_eq!(wire.store(1, "1.2.3.506.3", &dataset("1.2.3.506.3", 4000)).status, 0, "it comes back: {limit}");
        wire.release();
    }
}

/// `head` up to the study UID, then `middle`, then the rest: what stands in the way of the scan.
fn with_middle(sop_instance_uid: &str, middle: &[u8]) -> Vec<u8> {
    let whole = dataset(sop_instance_uid, 0);
    let at = whole.windows(4).position(|four| four == [0x10, 0x00, 0x10, 0x00]).unwrap();
    [&whole[..at], middle, &whole[at..]].concat()
}

/// Sequences within sequences, in explicit VR little endian.
fn nested(levels: usize) -> Vec<u8> {
    let open = [
        0x08, 0x00, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF,
        0xFF,
    ];
    let close = [0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
    [open.repeat(levels), close.repeat(levels)].concat()
}

/// A million elements without a value.
fn tiny_elements() -> Vec<u8> {
    (0..1_000_000_u32).flat_map(|n| [0x09, 0x00, n as u8, 0x10 + (n >> 16) as u8, b'L', b'O', 0, 0]).collect()
}

/// A deflated dataset whose head is behind a gigabyte of zeros: 1 MB on the wire.
fn deflate_bomb() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&[0x09, 0x00, 0x10, 0x10, b'O', b'B', 0, 0, 0x00, 0x00, 0x00, 0x40]).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.write_all(&dataset("1.2.3.510", 0)).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn cheap_bombs_cost_no_more_than_their_bytes() {
    let node = bombed(&[("TIDEGATE__LOG__REPEAT_INTERVAL", "0s")]);
    serve_a_good_client(&node, 0);
    let before = resident(&node);
    let mut deflated = request();
    deflated.presentation_contexts[0].transfer_syntaxes = vec!["1.2.840.10008.1.2.1.99".into()];
    let bombs = [
        ("60,000 sequences deep", request(), with_middle("1.2.3.507", &nested(60_000))),
        ("a million tiny elements", request(), with_middle("1.2.3.508", &tiny_elements())),
        ("all of it in sequences that never end", request(), with_middle("1.2.3.509", &nested(60_000)[..1_200_000])),
        ("a gigabyte in a megabyte", deflated, deflate_bomb()),
    ];
    for (name, request, bomb) in bombs {
        let ticks = cpu_ticks(&node);
        let (mut wire, _) = Wire::associate(node.address(), request);
        let response = wire.store(1, "1.2.3.510", &bomb);
        // Refused for its head, or stored as it came: answered, in any case.
        assert!(matches!(response.status, 0 | 0xA900 | 0xC000), "{name}: {response:?}");
        wire.release();
        let (held, ticks) = (resident(&node).saturating_sub(before), cpu_ticks(&node) - ticks);
        assert!(held <= SHARE, "{name}: {held} bytes");
        // 8 MB take some hundredths; a gigabyte inflated takes seconds.
        assert!(ticks < 200, "{name}: {ticks} hundredths of a second");
        serve_a_good_client(&node, 1);
    }
}

#[test]
fn one_pdu_may_hold_several_messages() {
    let node = bombed(&[]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let count = 40;
    let mut pdvs = Vec::new();
    for number in 0..count {
        let uid = format!("1.2.3.511.{number}");
        for (control, bytes) in [(3, store_command(number, &uid)), (2, dataset(&uid, 1000))] {
            pdvs.extend((bytes.len() as u32 + 2).to_be_bytes());
            pdvs.extend([1, control]);
            pdvs.extend(bytes);
        }
    }
    wire.send(&[&[4, 0][..], &(pdvs.len() as u32).to_be_bytes(), &pdvs].concat());
    for number in 0..count {
        let response = wire.response();
        assert_eq!((response.message_id, response.status), (number, 0));
    }
    wire.release();
}

/// Changes the node's limit of open files.
fn limit_descriptors(node: &Node, limit: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    prlimit(Pid::from_raw(node.pid() as i32), Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
}

#[test]
fn without_descriptors_those_who_are_in_go_on_and_those_outside_come_in_later() {
    raise_limit();
    let node = Node::start(&[("TIDEGATE__WRITERS__COUNT", "2"), ("TIDEGATE__WRITERS__BATCH", "2")]);
    let (mut inside, _) = Wire::associate(node.address(), request());
    let (_, used) = node.threads_and_descriptors();
    limit_descriptors(&node, used as u64 + 100);
    // More than fit: the surplus is closed, or waits in the listen queue.
    let outside: Vec<_> = (0..200).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
    node.logged(&["too few file descriptors", "connection closed"]);
    for number in 0..10 {
        let uid = format!("1.2.3.512.{number}");
        assert_eq!(inside.store(1, &uid, &dataset(&uid, 20_000)).status, 0, "who is in goes on");
    }
    // Not even `accept` has one left. It must not spin over it.
    limit_descriptors(&node, 3);
    let waiting = TcpStream::connect(node.address()).unwrap();
    node.logged(&["connections cannot be accepted; will go on trying"]);
    let ticks = cpu_ticks(&node);
    std::thread::sleep(Duration::from_secs(2)); // the time over which processor time is measured
    let ticks = cpu_ticks(&node) - ticks;
    assert!(ticks < 100, "{ticks} hundredths of a second in two seconds");
    limit_descriptors(&node, used as u64 + 100);
    drop((outside, waiting));
    let is_served = eventually(|| matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationAC(_))));
    assert!(is_served, "new associations are accepted again");
    assert_eq!(inside.store(1, "1.2.3.512.99", &dataset("1.2.3.512.99", 20_000)).status, 0);
    inside.release();
}
