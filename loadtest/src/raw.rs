//! The raw sink's protocol, which carries the same bytes without DICOM: a frame is a big endian 64-bit length and that many
//! bytes, its answer is one byte.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The sink's answer when the frame is as durable as it was asked to make it; every other byte is a failure.
pub(crate) const STORED: u8 = 0;
/// The sink's answer when the frame could not be written.
pub(crate) const FAILED: u8 = 1;

/// A connection to a raw sink.
#[derive(Debug)]
pub(crate) struct RawConnection {
    stream: TcpStream,
}

impl RawConnection {
    /// Takes over `stream`. `timeout` bounds every later wait for the sink.
    pub(crate) fn new(stream: TcpStream, timeout: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream })
    }

    /// Sends one encoded frame and waits for its answer.
    pub(crate) fn send(&mut self, parts: [&[u8]; 2]) -> io::Result<u8> {
        write_parts(&mut self.stream, parts)?;
        let mut answer = [FAILED];
        self.stream.read_exact(&mut answer)?;
        let [answer] = answer;
        Ok(answer)
    }
}

/// Writes both parts with as few system calls as the socket allows.
pub(crate) fn write_parts(stream: &mut impl Write, [first, second]: [&[u8]; 2]) -> io::Result<()> {
    let mut parts = [IoSlice::new(first), IoSlice::new(second)];
    let mut rest = &mut parts[..];
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match stream.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most three bytes at a time and is interrupted before each.
    struct Trickle {
        taken: Vec<u8>,
        interrupt: bool,
    }

    impl Write for Trickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let taken = bytes.len().min(3);
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_and_interrupted_writes_lose_nothing() {
        let mut trickle = Trickle { taken: Vec::new(), interrupt: false };
        write_parts(&mut trickle, [b"headhead", b"tail"]).unwrap();
        write_parts(&mut trickle, [b"", b"!"]).unwrap();
        write_parts(&mut trickle, [b"?", b""]).unwrap();
        assert_eq!(trickle.taken, b"headheadtail!?");
    }
}
