//! The log under a reader that does not read, and under a flood of strangers.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;
use std::time::Instant;

use dicom_ul::pdu::AssociationRQ;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, request};

/// Stores tiny instances, each with a line of some 300 bytes at level debug, until `is_over`.
fn store_until(node: &Node, is_over: impl Fn(usize) -> bool) {
    let (mut wire, _) = Wire::associate(node.address(), request());
    for number in 0.. {
        if is_over(number) {
            break;
        }
        let uid = format!("1.2.3.60.{number}");
        assert_eq!(wire.store(number as u16, &uid, &dataset(&uid, 100)).status, 0);
    }
    wire.release();
}

#[test]
fn a_reader_of_the_log_that_is_stuck_stops_neither_storage_nor_shutdown_and_learns_what_it_missed() {
    let mut pipe = None;
    let prepare = |storage: &std::path::Path| {
        let log = storage.with_file_name("log");
        mknodat(CWD, &log, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        // Opened for both, it is open before the node is there.
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
        pipe = Some(options.open(&log).unwrap());
    };
    let environment = [("TIDEGATE__LOG__LEVEL", "debug"), ("TIDEGATE__STORAGE__DURABILITY", "none")];
    let mut node = Node::start_prepared(&environment, prepare);
    let pipe = Arc::new(pipe.unwrap());
    fs::remove_file(node.log()).unwrap();

    // 64 KiB fit into the pipe, and 1 MiB into the queue.
    store_until(&node, |number| number == 8_000);

    let (read, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let is_told = AtomicBool::new(false);
    scope(|scope| {
        let reader = pipe.clone();
        let (read, is_over, is_told) = (&read, &is_over, &is_told);
        scope.spawn(move || {
            let (mut kept, mut chunk) = (String::new(), [0; 8192]);
            while !is_over.load(Ordering::Relaxed) {
                let Ok(bytes) = (&*reader).read(&mut chunk) else {
                    std::thread::sleep(std::time::Duration::from_millis(1)); // nothing there
                    continue;
                };
                read.fetch_add(bytes, Ordering::Relaxed);
                kept.push_str(&String::from_utf8_lossy(&chunk[..bytes]));
                if kept.lines().any(|line| line.contains("log lines dropped") && line.contains(" lines=")) {
                    is_told.store(true, Ordering::Relaxed);
                }
                kept = kept.rsplit('\n').next().unwrap_or_default().to_owned();
            }
        });
        let told = eventually(|| is_told.load(Ordering::Relaxed));
        is_over.store(true, Ordering::Relaxed);
        assert!(told, "{} bytes read, and no word of what was dropped", read.load(Ordering::Relaxed));
    });
    assert!(read.load(Ordering::Relaxed) > 700_000, "the lines in the queue are not lost");

    store_until(&node, |number| number == 1_000); // nobody reads again
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), Some(0), "the end waits for no reader");
}

/// A connection from this address of the loopback network.
fn connect_from(source: Ipv4Addr, node: &Node) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&node.address().into()).unwrap();
    let stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(crate::node::PATIENCE)).unwrap();
    Wire(stream)
}

fn ends(mut wire: Wire) {
    let _ = wire.0.shutdown(Shutdown::Write);
    let _ = wire.0.read_to_end(&mut Vec::new());
}

fn calling(title: &str) -> AssociationRQ {
    AssociationRQ { calling_ae_title: title.into(), ..request() }
}

const ABORT: [u8; 10] = [7, 0, 0, 0, 0, 4, 0, 0, 0, 0];

/// What strangers do, each from an address of its own.
fn misbehave(kind: usize, source: Ipv4Addr, node: &Node) {
    let mut wire = connect_from(source, node);
    match kind {
        0 => {
            let _ = wire.ask(calling("FLOOD"));
            let _ = wire.0.write_all(&ABORT);
        }
        1 => drop(wire.ask(calling("DENIED"))),
        2 => drop(wire.ask(AssociationRQ { called_ae_title: "OTHER".into(), ..request() })),
        3 => drop(wire.0.write_all(b"GET / HTTP/1.1\r\n\r\n")),
        4 => drop(wire.0.write_all(&[4, 0, 0, 0, 0, 4, 0, 0, 0, 0])), // P-DATA first
        5 => drop(wire.0.write_all(&ABORT)),
        6 => {
            let _ = wire.ask(calling("FLOOD"));
            let _ = wire.0.write_all(&[4, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
        }
        _ => drop(wire.0.write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0])), // TLS on the plain port
    }
    ends(wire);
}

const KINDS: usize = 8;
/// More than a topic's lines a minute.
const SOURCES: usize = 450;

#[test]
fn a_flood_of_mixed_kinds_leaves_a_bounded_log_with_the_lines_of_an_honest_sender() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    let rules = "[[access]]\nname = 'no'\naction = 'deny'\ncalling = ['DENIED']\n\
                 [[access]]\nname = 'yes'\naction = 'allow'\ncalled = ['TIDEGATE']\n";
    fs::write(&file, rules).unwrap();
    let mut node = Node::start_with(&["--config", file.to_str().unwrap()], &[]);
    let (began, size_before) = (Instant::now(), node.log_text().len());
    let honest = |number: usize| {
        let (mut wire, _) = Wire::associate(node.address(), calling(&format!("HONEST{number}")));
        let uid = format!("1.2.3.61.{number}");
        assert_eq!(wire.store(1, &uid, &dataset(&uid, 1000)).status, 0);
        wire.release();
    };
    scope(|scope| {
        for kind in 0..KINDS {
            let node = &node;
            scope.spawn(move || {
                for number in 0..SOURCES {
                    let source = Ipv4Addr::new(127, 1 + kind as u8, (number / 250) as u8, 1 + (number % 250) as u8);
                    misbehave(kind, source, node);
                }
            });
        }
        (0..20).for_each(honest);
    });
    (20..40).for_each(honest);
    for number in 0..40 {
        node.logged(&["association ended", &format!("\"HONEST{number}\""), "acknowledged=1"]);
    }
    let minutes = 2 + began.elapsed().as_secs() as usize / 60;
    let log = node.log_text();
    assert!(log.len() - size_before <= minutes << 20, "{} bytes of log in {minutes} minutes", log.len() - size_before);
    let lines_of = |source: &str| log.lines().filter(|line| line.contains(source)).count();
    for kind in 0..KINDS {
        let lines = lines_of(&format!("peer=127.{}.", 1 + kind));
        assert!(lines >= 1, "the first of kind {kind} are told");
        // 450 strangers that leave one to three lines each; the shares are below 200, and as many ends.
        assert!(lines <= 400 * minutes, "{lines} lines of kind {kind} in {minutes} minutes");
    }
    let strangers = lines_of("peer=127.") - lines_of("peer=127.0.0.1:");
    assert!(strangers <= 1_000 * minutes, "{strangers} lines of {} strangers", KINDS * SOURCES);
    assert_eq!(node.stop(), Some(0));
}
