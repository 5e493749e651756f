//! Peers that come in masses, trickle, never end, or send what others choke on: memory stays within what an association may hold, and
//! a good client is served.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::node::{Node, PATIENCE, eventually};
use crate::wire::{Wire, dataset, p_data, request, store_command};
use dicom_ul::pdu::Pdu;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

mod bombs;
mod crowds;
mod together;

const MIB: u64 = 1 << 20;

/// Stores an instance as a good client would, from an address of its own.
fn serve_a_good_client(node: &Node, number: usize) {
    let uid = format!("1.2.3.500.{number}");
    let (mut wire, _) = Wire::connect_from([127, 0, 0, 2].into(), node.address()).accepted(request());
    assert_eq!(wire.store(1, &uid, &dataset(&uid, 20_000)).status, 0);
    wire.release();
}

/// Processor time used so far, in hundredths of a second.
fn cpu_ticks(node: &Node) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
