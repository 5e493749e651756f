//! Any bytes as the beginning of a connection from a balancer: a reader that takes as many bytes as it is told are missing ends
//! with a header or with a refusal, never takes a byte of what follows, and hears the same however few come at a time.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use tidegate_protocol::proxy::{MAX_HEADER, NotAHeader, Source, begins, missing, parse};

/// The header that `bytes` begin with, read as far as [`missing`] says: its length and what it says. `None`: it is cut short.
fn take(bytes: &[u8]) -> Option<(usize, Result<Source, NotAHeader>)> {
    let mut read = 0;
    loop {
        assert!(read <= MAX_HEADER);
        match missing(&bytes[..read]) {
            Ok(0) => return Some((read, parse(&bytes[..read]))),
            Err(error) => return Some((read, Err(error))),
            Ok(more) if read + more > bytes.len() => return None,
            Ok(more) => read += more,
        }
    }
}

/// A header of version 1 for a peer.
fn version_1(peer: SocketAddr) -> String {
    let family = if peer.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} 104\r\n", peer.ip(), peer.ip(), peer.port())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((length, Ok(source))) = take(bytes) else { return };
    // However the bytes come: what is missing never reaches beyond the end of the header, and nothing is whole before.
    for read in 0..length {
        let more = missing(&bytes[..read]).expect("the beginning of a header is none that is refused");
        assert!(more > 0 && read + more <= length, "{more} after {read} of {length}");
    }
    assert!(begins(bytes));
    if let Source::Peer(peer) = source {
        let again = version_1(peer);
        assert_eq!(take(again.as_bytes()), Some((again.len(), Ok(Source::Peer(peer)))));
    }
});
