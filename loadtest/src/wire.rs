//! The connection under an association: plain TCP or TLS, never blocking, so that answers are read while a message is written.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ClientConnection;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

/// The result of a wait. If it timed out, neither field is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Wire {
    /// Takes over a connected socket.
    pub(crate) fn plain(socket: TcpStream) -> io::Result<Self> {
        prepare(&socket)?;
        Ok(Self::Plain(socket))
    }

    /// Takes over a connected socket, whose handshake is done by the first reads and writes.
    pub(crate) fn tls(connection: ClientConnection, socket: TcpStream) -> io::Result<Self> {
        prepare(&socket)?;
        Ok(Self::Tls(Box::new(connection), socket))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) | Self::Tls(_, socket) => socket,
        }
    }

    /// Writes some of `slices` and says how many bytes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes none now.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write_vectored(slices),
            Self::Tls(connection, socket) => {
                send_records(connection, socket)?;
                if connection.is_handshaking() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let written = connection.writer().write_vectored(slices)?;
                send_what_goes(connection, socket)?;
                Ok(written)
            }
        }
    }

    /// Whether something that was written is still to be sent; [`Wire::flush`] sends it.
    pub(crate) fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(connection, _) if connection.wants_write())
    }

    /// Sends what is held back, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(connection, socket) => send_what_goes(connection, socket),
        }
    }

    /// Reads what is there; zero bytes are the peer's end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (connection, socket) = match self {
            Self::Plain(socket) => return socket.read(buffer),
            Self::Tls(connection, socket) => (connection, socket),
        };
        loop {
            match connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if connection.read_tls(socket)? == 0 {
                return Ok(0);
            }
            if let Err(error) = connection.process_new_packets() {
                // The peer learns why by the alert that this made.
                let _ = send_records(connection, socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            send_what_goes(connection, socket)?;
        }
    }

    /// Waits until the socket can be read, or written when `writing`, and at the longest until `until`.
    pub(crate) fn wait(&self, writing: bool, until: Instant) -> io::Result<Ready> {
        let left = until.saturating_duration_since(Instant::now());
        let writing = match self {
            Self::Plain(_) => writing,
            // Room in the socket is of no use while the peer's turn in the handshake is awaited.
            Self::Tls(connection, _) => connection.wants_write() || writing && !connection.is_handshaking(),
        };
        let flags = if writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut polled = [PollFd::new(self.socket(), flags)];
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [polled] = polled;
        let broken = polled.revents().intersects(PollFlags::ERR | PollFlags::HUP);
        Ok(Ready {
            readable: polled.revents().contains(PollFlags::IN) || broken,
            writable: polled.revents().contains(PollFlags::OUT) || broken && writing,
        })
    }
}

/// Small answers and requests go out at once, and nothing blocks.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)
}

/// Sends every finished record.
fn send_records(connection: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(socket)?;
    }
    Ok(())
}

/// The same, and what the socket does not take now stays for later.
fn send_what_goes(connection: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    match send_records(connection, socket) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
