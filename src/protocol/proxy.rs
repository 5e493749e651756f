//! The PROXY protocol, versions 1 and 2: a header before the first byte of a connection, in which a balancer names the actual peer
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use core::net::SocketAddr;

use ppp::{v1, v2};

/// Longest header that is accepted, in bytes. Version 1 has at most 107; version 2 may carry vendors' extensions behind the addresses,
/// which balancers keep far below this.
pub const MAX_HEADER: usize = 1024;

/// The signature of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and the length of the rest.
const FIXED_V2: usize = 16;
/// The first bytes of version 1.
const PREFIX: &[u8; 6] = b"PROXY ";

/// The source of a connection, from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A peer behind the balancer.
    Peer(SocketAddr),
    /// The balancer itself (LOCAL: its health check), or a peer that it cannot name (UNKNOWN, a Unix socket).
    Balancer,
}

/// Not a header, or one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header of at most {MAX_HEADER} bytes")]
pub struct NotAHeader;

/// Whether the first bytes of a connection can be those of a header.
pub fn begins(first: &[u8]) -> bool {
    let agrees = |with: &[u8]| !first.is_empty() && first.iter().zip(with).all(|(a, b)| a == b);
    agrees(SIGNATURE) || agrees(PREFIX)
}

/// The least number of bytes that complete the header that begins with `header`; 0 once it is whole. A caller that reads no more than this
/// reads nothing behind the header.
///
/// # Errors
/// As soon as the bytes cannot be a header.
pub fn missing(header: &[u8]) -> Result<usize, NotAHeader> {
    if header.is_empty() {
        return Ok(PREFIX.len());
    }
    if !begins(header) || header.len() > MAX_HEADER {
        return Err(NotAHeader);
    }
    if header[0] == PREFIX[0] {
        return match header {
            [.., b'\r', b'\n'] => Ok(0),
            _ if header.len() >= 107 => Err(NotAHeader),
            _ => Ok(PREFIX.len().saturating_sub(header.len()).max(1)),
        };
    }
    let Some(&[high, low]) = header.get(FIXED_V2 - 2..FIXED_V2) else {
        return Ok(FIXED_V2 - header.len());
    };
    let whole = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
    if whole > MAX_HEADER { Err(NotAHeader) } else { Ok(whole.saturating_sub(header.len())) }
}

/// Parses a whole header, for which [`missing`] is 0.
///
/// # Errors
/// If it is malformed.
pub fn parse(header: &[u8]) -> Result<Source, NotAHeader> {
    if header.starts_with(PREFIX) {
        let header = v1::Header::try_from(header).map_err(|_| NotAHeader)?;
        return Ok(match header.addresses {
            v1::Addresses::Tcp4(v4) => Source::Peer((v4.source_address, v4.source_port).into()),
            v1::Addresses::Tcp6(v6) => Source::Peer((v6.source_address, v6.source_port).into()),
            v1::Addresses::Unknown => Source::Balancer,
        });
    }
    let header = v2::Header::try_from(header).map_err(|_| NotAHeader)?;
    Ok(match (header.command, header.protocol, header.addresses) {
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(v4)) => {
            Source::Peer((v4.source_address, v4.source_port).into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(v6)) => {
            Source::Peer((v6.source_address, v6.source_port).into())
        }
        _ => Source::Balancer,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes a header off `bytes` as a reader does that never reads too far; what is left, and the source.
    fn take(bytes: &[u8]) -> Result<(Source, &[u8]), NotAHeader> {
        let mut read = 0;
        loop {
            match missing(&bytes[..read])? {
                0 => return Ok((parse(&bytes[..read])?, &bytes[read..])),
                more if read + more > bytes.len() => return Err(NotAHeader),
                more => read += more,
            }
        }
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x2B, 0x68];

    #[test]
    fn headers_of_both_versions_are_taken_off_and_nothing_behind_them() {
        let peer = |text: &str| Source::Peer(text.parse().unwrap());
        let ipv6 = [&[0; 15][..], &[1], &[0; 15], &[2], &[0, 80, 0, 81]].concat();
        for (header, source) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 11112\r\n".to_vec(), peer("192.0.2.7:4660")),
            (b"PROXY TCP6 2001:db8::7 ::1 1 11112\r\n".to_vec(), peer("[2001:db8::7]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Balancer),
            (version_2(1, 0x11, &IPV4), peer("192.0.2.7:4660")),
            (version_2(1, 0x11, &[&IPV4[..], &[4, 0, 2, 9, 9]].concat()), peer("192.0.2.7:4660")),
            (version_2(1, 0x21, &ipv6), peer("[::1]:80")),
            (version_2(0, 0x11, &IPV4), Source::Balancer),
            (version_2(0, 0, &[]), Source::Balancer),
            (version_2(1, 0x31, &[0; 216]), Source::Balancer),
        ] {
            let bytes = [&header[..], b"\x01\0rest"].concat();
            assert_eq!(take(&bytes), Ok((source, &b"\x01\0rest"[..])), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_or_too_long_is_refused_early() {
        assert_eq!(missing(b"\x01"), Err(NotAHeader), "an association request");
        assert_eq!(missing(b"GET / "), Err(NotAHeader));
        assert_eq!(missing(b"\x16\x03\x01\0\0\0"), Err(NotAHeader));
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        assert_eq!(take(&endless), Err(NotAHeader));
        assert_eq!(take(&version_2(1, 0x11, &[0; 2000])), Err(NotAHeader));
        for bad in
            ["PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n", "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY \r\n", "PROXY TCP9 a b\r\n"]
        {
            assert_eq!(take(bad.as_bytes()), Err(NotAHeader), "{bad}");
        }
        assert_eq!(take(&version_2(1, 0x11, &IPV4[..8])), Err(NotAHeader), "addresses cut short");
        assert_eq!(take(&version_2(2, 0x11, &IPV4)), Err(NotAHeader), "no such command");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_on_for_ever(tail in proptest::collection::vec(any::<u8>(), 0..1200), kind in 0..3) {
            let start = [&SIGNATURE[..], &PREFIX[..], &[]][kind as usize];
            let bytes = [start, &tail].concat();
            let _ = take(&bytes);
            let _ = parse(&bytes);
        }
    }
}
