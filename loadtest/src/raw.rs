//! The limit's protocol, which carries the same bytes without DICOM: a frame is a big endian 64-bit length and that many
//! bytes, its answer is one byte.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::message::Message;
use crate::tls::{self, Stream, TlsClient};

/// The limit's answer when the frame is as durable as it was asked to make it; every other byte is a failure.
pub(crate) const STORED: u8 = 0;
/// The limit's answer when the frame could not be written.
pub(crate) const FAILED: u8 = 1;

/// A connection to the limit.
pub(crate) struct RawConnection {
    stream: Box<dyn Stream>,
}

impl RawConnection {
    /// Takes over `stream`, with TLS over it if there is `tls`. `timeout` bounds every later wait for the limit.
    pub(crate) fn new(stream: TcpStream, tls: Option<&TlsClient>, timeout: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream: tls::stream(stream, tls)? })
    }

    /// Sends one encoded frame and waits for its answer.
    pub(crate) fn send(&mut self, message: &Message) -> io::Result<u8> {
        write_message(&mut *self.stream, message)?;
        self.stream.flush()?;
        let mut answer = [FAILED];
        self.stream.read_exact(&mut answer)?;
        let [answer] = answer;
        Ok(answer)
    }
}

/// Writes a whole message with as few system calls as the socket allows.
fn write_message(stream: &mut (impl Write + ?Sized), message: &Message) -> io::Result<()> {
    let mut position = 0;
    while position < message.len() {
        match stream.write_vectored(&message.slices(position)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => position += written as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::generate::{Encoding, ct_image};
    use crate::message::Framed;

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
        let dataset = ct_image(100, Encoding::Explicit, 1);
        let message = Message::new(Arc::new(Framed::raw(&dataset)));
        let mut trickle = Trickle { taken: Vec::new(), interrupt: false };
        write_message(&mut trickle, &message).unwrap();
        assert_eq!(trickle.taken[8..], dataset.to_bytes());
    }
}
