//! The bytes of a connection: its transport, and its receive buffer.

use std::io::{ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::{ServerConfig, ServerConnection};
use tidegate_memory::{BudgetExhausted, Holder, MemoryLease};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::receive_buffer::ReceiveBuffer;
use crate::ingest::Inbound;
use crate::network::handshake::HandshakeFailure;
use crate::network::transport::{Port, Transport};
use crate::patience::{Expired, within};

/// The destination of a read, and its limit in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadTarget {
    /// The receive buffer, to be parsed.
    Buffer(usize),
    /// The inbound dataset: the bytes are its own and need no parsing.
    Dataset(usize),
}

/// The byte stream of a connection, with its receive buffer.
#[derive(Debug)]
pub(super) struct Io {
    port: Port,
    transport: Transport,
    buffer: ReceiveBuffer,
    preamble: Preamble,
    /// A PDU was begun and not sent to its end, so that nothing can follow it.
    is_cut: bool,
}

/// What has begun before the first PDU.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Preamble {
    /// Nothing that the peer has not finished.
    #[default]
    Nothing,
    /// A PROXY header.
    ProxyHeader,
    /// A TLS handshake.
    TlsHandshake,
}

impl Io {
    pub(super) fn new(socket: std::net::TcpStream, port: Port) -> Result<Self> {
        let socket = TcpStream::from_std(socket)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            port,
            transport: Transport::Plain(socket),
            buffer: ReceiveBuffer::new(),
            preamble: Preamble::default(),
            is_cut: false,
        })
    }

    /// The port that accepted the connection.
    pub(super) fn port(&self) -> Port {
        self.port
    }

    /// What has begun before the first PDU.
    pub(super) fn preamble(&self) -> Preamble {
        self.preamble
    }

    /// The peer has begun this.
    pub(super) fn enter(&mut self, preamble: Preamble) {
        self.preamble = preamble;
    }

    /// Bytes read but not parsed.
    pub(super) fn unparsed(&mut self) -> &mut BytesMut {
        self.buffer.bytes()
    }

    /// The lease of the segment in use.
    pub(super) fn segment_lease(&self) -> Option<&Arc<MemoryLease>> {
        self.buffer.lease()
    }

    /// As [`ReceiveBuffer::is_parked`].
    pub(super) fn is_parked(&self) -> bool {
        self.buffer.is_parked()
    }

    /// As [`ReceiveBuffer::has_room`].
    pub(super) fn has_room(&mut self, needed: usize) -> bool {
        self.buffer.has_room(needed)
    }

    /// As [`ReceiveBuffer::grow`].
    pub(super) fn grow(
        &mut self,
        holder: &Holder,
        needed: usize,
        largest: usize,
    ) -> std::result::Result<(), BudgetExhausted> {
        self.buffer.grow(holder, needed, largest)
    }

    /// As [`ReceiveBuffer::shrink`].
    pub(super) fn shrink(&mut self, needed: usize) -> bool {
        self.buffer.shrink(needed)
    }

    /// Returns memory that holds no bytes.
    pub(super) fn trim(&mut self, needed: usize) {
        if self.buffer.shrink(needed) {
            self.buffer.park();
        }
    }

    /// Reads into `target`. 0: the peer has closed the connection.
    pub(super) async fn read<R>(&mut self, target: ReadTarget, inbound: &mut Inbound<R>) -> Result<usize> {
        let (ReadTarget::Dataset(most) | ReadTarget::Buffer(most)) = target;
        if let ReadTarget::Dataset(_) = target
            && let Some(mut dataset) = inbound.direct_target(most)
        {
            return self.transport.read_buf(&mut dataset).await;
        }
        self.buffer.read_from(&mut self.transport, most).await
    }

    /// Reads bytes after the end of the association, past the receive buffer.
    pub(super) async fn read_rest(&mut self, rest: &mut BytesMut) -> Result<usize> {
        self.transport.read_buf(rest).await
    }

    /// Reads bytes that precede TLS and the first PDU.
    pub(super) async fn read_plain(&mut self, bytes: &mut [u8]) -> Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.read(bytes).await,
            Transport::Tls(_) | Transport::Unavailable => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Peeks at the first byte; `None`: the peer has closed the connection.
    pub(super) async fn first_byte(&self) -> Result<Option<u8>> {
        let mut first = [0];
        let socket = self.transport.socket().ok_or(ErrorKind::NotConnected)?;
        let bytes = socket.peek(&mut first).await?;
        Ok((bytes > 0).then_some(first[0]))
    }

    /// As [`Transport::accept_tls`].
    pub(super) async fn accept_tls(&mut self, config: Arc<ServerConfig>) -> std::result::Result<(), HandshakeFailure> {
        self.transport.accept_tls(config).await
    }

    /// The negotiated TLS parameters.
    pub(super) fn tls(&self) -> Option<&ServerConnection> {
        match &self.transport {
            Transport::Tls(stream) => Some(stream.get_ref().1),
            Transport::Plain(_) | Transport::Unavailable => None,
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// [`Expired`] if the peer does not read them in time. After any error, and after a wait that was given up, nothing is sent any more.
    pub(super) async fn send(&mut self, bytes: &[u8], timeout: Duration) -> std::result::Result<Result<()>, Expired> {
        if self.is_cut {
            return Ok(Err(ErrorKind::BrokenPipe.into()));
        }
        self.is_cut = true;
        let sent = within(timeout, self.transport.write_all(bytes)).await;
        self.is_cut = !matches!(sent, Ok(Ok(())));
        sent
    }

    /// Whether [`Self::send`] has not sent all of its bytes.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// As [`Transport::send_now`].
    pub(super) fn send_now(&mut self, bytes: &[u8]) -> Result<()> {
        match self.is_cut {
            true => Err(ErrorKind::BrokenPipe.into()),
            false => self.transport.send_now(bytes),
        }
    }

    /// Has the kernel acknowledge at once (`TCP_QUICKACK`). A sender with Nagle's algorithm on (DCMTK) holds the end of a dataset back until
    /// everything before it is acknowledged. The kernel would delay that acknowledgement by 40 ms to send it with a response, which cannot
    /// come before the end. Linux resets the option by itself, so it is set whenever the socket is read empty and more is due.
    pub(super) fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.transport.socket() {
            let _ = socket2::SockRef::from(socket).set_tcp_quickack(true); // a hint: a failure costs time only
        }
    }

    /// As [`Transport::close`].
    pub(super) async fn close(&mut self) {
        self.transport.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connect() -> (TcpStream, Io) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        (peer, Io::new(socket, Port::Plain).unwrap())
    }

    #[tokio::test]
    async fn the_first_byte_is_looked_at_and_left_for_those_who_read() {
        let (mut peer, mut io) = connect();
        peer.write_all(b"header").unwrap();
        assert_eq!(io.first_byte().await.unwrap(), Some(b'h'));
        let mut header = [0; 4];
        assert_eq!(io.read_plain(&mut header).await.unwrap(), 4);
        assert_eq!((&header, io.unparsed().is_empty(), io.is_parked()), (b"head", true, true));
        drop(peer);
        assert_eq!(io.read_plain(&mut header).await.unwrap(), 2);
        assert_eq!(io.first_byte().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up_and_gets_nothing_behind_the_cut() {
        const PATIENCE: Duration = Duration::from_millis(50);
        let (mut peer, mut io) = connect();
        assert!(io.send(&[0; 100], PATIENCE).await.is_ok() && !io.is_cut());
        let sent = io.send(&vec![0; 64 << 20], PATIENCE).await;
        assert_eq!(sent.map(|_| ()), Err(Expired));
        // The peer reads again, so that there is room.
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        tokio::time::sleep(PATIENCE).await;
        assert!(io.is_cut() && matches!(io.send(&[1; 100], PATIENCE).await, Ok(Err(_))));
        assert!(io.send_now(&[1; 10]).is_err());
        drop(io);
        let received = reader.join().unwrap();
        assert!(received.len() > 100 && received.iter().all(|byte| *byte == 0), "{} bytes", received.len());
    }

    #[tokio::test]
    async fn a_send_that_is_dropped_half_way_cuts_the_connection_too() {
        let (_peer, mut io) = connect();
        let bytes = vec![0; 64 << 20];
        tokio::select! {
            biased;
            _ = io.send(&bytes, Duration::from_secs(60)) => panic!("sent"),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        assert!(io.is_cut());
    }
}
