//! Loads without instances: associations that rest, and associations that come and go.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Figures;
use crate::pdu::{self, AssociateRequest, PresentationContext};
use crate::tls::{self, Stream, TlsClient};

const VERIFICATION: &str = "1.2.840.10008.1.1";
const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
const IDLE_ASSOCIATIONS: usize = 1000;
const CHURN_SENDERS: usize = 8;
const CHURN_S: u64 = 3;
/// Longer than any answer here.
const MAX_ANSWER_BYTES: u32 = 64 * 1024;

/// Opens a thousand associations and looks what the receiver has grown by for each, its children included.
pub(super) fn idle(pid: u32, address: &str, tls: Option<&TlsClient>, called_ae: &str) -> io::Result<Figures> {
    // What the first ones make it allocate for good is not the price of an association.
    let warm = (0..50).map(|_| open(address, tls, called_ae)).collect::<io::Result<Vec<_>>>()?;
    drop(warm);
    settle();
    let before = memory_bytes(pid);
    let open = (0..IDLE_ASSOCIATIONS).map(|_| open(address, tls, called_ae)).collect::<io::Result<Vec<_>>>()?;
    settle();
    let after = memory_bytes(pid);
    drop(open);
    Ok(Figures { idle_bytes: (after - before) / IDLE_ASSOCIATIONS as f64, ..Figures::default() })
}

/// What is kept for a moment after something has happened is not what resting takes.
fn settle() {
    thread::sleep(Duration::from_secs(3));
}

/// The proportional set size of a process and its children, in bytes.
fn memory_bytes(pid: u32) -> f64 {
    let mut kib = 0.0;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    if let Some(line) = rollup.lines().find_map(|line| line.strip_prefix("Pss:")) {
        kib += line.split_ascii_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(|child| child.parse().ok()).map(memory_bytes);
    kib * 1024.0 + children.sum::<f64>()
}

/// Associations of one C-ECHO each, as fast as a few senders can.
pub(super) fn churn(address: &str, tls: Option<&TlsClient>, called_ae: &str) -> io::Result<Figures> {
    let (visits, begun) = (AtomicU64::new(0), Instant::now());
    let until = begun + Duration::from_secs(CHURN_S);
    let visits = &visits;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..CHURN_SENDERS)
            .map(|_| {
                scope.spawn(move || {
                    while Instant::now() < until {
                        visit(address, tls, called_ae)?;
                        visits.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().unwrap_or_else(|_| Err(io::Error::other("a panic"))))
    })?;
    let per_s = visits.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    Ok(Figures { per_s, synced_per_s: per_s, ..Figures::default() })
}

/// Asks for an association of one presentation context.
fn open(address: &str, tls: Option<&TlsClient>, called_ae: &str) -> io::Result<Box<dyn Stream>> {
    let request = AssociateRequest {
        called_ae,
        calling_ae: "LOADTEST",
        contexts: &[PresentationContext {
            id: 1,
            abstract_syntax: VERIFICATION.to_owned(),
            transfer_syntax: IMPLICIT_VR_LITTLE_ENDIAN.to_owned(),
        }],
        max_pdu_length_bytes: 16_384,
        window: 1,
    };
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = tls::stream(socket, tls)?;
    stream.write_all(&request.encode())?;
    expect(&mut *stream, 0x02)?;
    Ok(stream)
}

fn visit(address: &str, tls: Option<&TlsClient>, called_ae: &str) -> io::Result<()> {
    let mut stream = open(address, tls, called_ae)?;
    let command = echo_request();
    let mut bytes = Vec::with_capacity(command.len() + pdu::PDATA_OVERHEAD);
    pdu::pdata_header(&mut bytes, 1, command.len(), 0b11);
    bytes.extend_from_slice(&command);
    stream.write_all(&bytes)?;
    expect(&mut *stream, 0x04)?;
    stream.write_all(&pdu::release_request())?;
    expect(&mut *stream, 0x06)
}

fn expect(stream: &mut dyn Stream, kind: u8) -> io::Result<()> {
    match pdu::read_pdu(stream, &mut Vec::new(), MAX_ANSWER_BYTES)? {
        read if read == kind => Ok(()),
        read => Err(io::Error::other(format!("PDU of type {read:#04x} where {kind:#04x} was due"))),
    }
}

/// A C-ECHO-RQ (PS3.7 §9.3.5.1).
fn echo_request() -> Vec<u8> {
    let mut body = Vec::new();
    let mut class = VERIFICATION.as_bytes().to_vec();
    class.push(0);
    for (element, value) in [(0x0002_u16, &class[..]), (0x0100, &[0x30, 0]), (0x0110, &[1, 0]), (0x0800, &[0x01, 0x01])]
    {
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&element.to_le_bytes());
        body.extend_from_slice(&(value.len() as u32).to_le_bytes());
        body.extend_from_slice(value);
    }
    let mut bytes = vec![0, 0, 0, 0, 4, 0, 0, 0];
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}
