//! The transport of an association: its socket, or TLS over it. A plain read costs no more than a read of the socket itself.

use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result, Write};
use std::pin::Pin;
use std::sync::Arc;

use bytes::BufMut;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshake::HandshakeFailure;

/// Bytes read off the socket at a time; rustls alone would ask for 4 KiB.
const CIPHERTEXT_BYTES: usize = 32 * 1024;
/// Plaintext buffered for records.
const UNSENT_BYTES: usize = 16 * 1024;

/// Memory of TLS for one association, in bytes: ciphertext read ahead, an incoming record and its plaintext (16 KiB each, RFC 8446 §5.1),
/// and outgoing records; during the handshake, instead, a certificate chain of up to 64 KiB.
pub const TLS_LEASE_BYTES: u64 = 96 * 1024;

/// First byte of a TLS record of the handshake kind (RFC 8446 §5.1).
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// The port that accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Plain,
    Tls,
}

/// The transport of an association: a TCP socket, plain or under TLS.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
    /// During a handshake, and after a failed one.
    Unavailable,
}

impl Transport {
    /// The socket, if there is one.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => Some(stream.get_ref().0.get_ref()),
            Self::Unavailable => None,
        }
    }

    /// Takes the plain socket, for a handshake.
    pub(crate) fn take_plain(&mut self) -> Option<TcpStream> {
        match std::mem::replace(self, Self::Unavailable) {
            Self::Plain(socket) => Some(socket),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The acceptor's side of a handshake (PS3.15 §B.12: TLS before the first PDU).
    ///
    /// # Errors
    /// The reason why the handshake failed.
    pub(crate) async fn accept_tls(&mut self, config: Arc<ServerConfig>) -> std::result::Result<(), HandshakeFailure> {
        let socket = self.take_plain().ok_or_else(|| HandshakeFailure::of(&ErrorKind::NotConnected.into()))?;
        let socket = BufReader::with_capacity(CIPHERTEXT_BYTES, socket);
        let limit = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(UNSENT_BYTES));
        let stream = TlsAcceptor::from(config).accept_with(socket, limit).await;
        let stream = stream.map_err(|error| HandshakeFailure::of(&error))?;
        *self = Self::Tls(Box::new(stream));
        Ok(())
    }

    /// Waits until the socket is readable, which includes an error and the end.
    pub(crate) async fn readable(&mut self) -> Result<()> {
        match self {
            Self::Plain(socket) => socket.readable().await,
            Self::Tls(stream) => poll_fn(|cx| Pin::new(&mut **stream).poll_fill_buf(cx).map_ok(|_| ())).await,
            Self::Unavailable => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Appends the available bytes to `buffer`, within its capacity. 0: the peer has closed the connection.
    pub(crate) async fn read_buf(&mut self, buffer: &mut impl BufMut) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.read_buf(buffer).await,
            Self::Tls(stream) => stream.read_buf(buffer).await,
            Self::Unavailable => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Sends all bytes.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Unavailable => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Sends `close_notify` to a TLS peer (RFC 8446 §6.1). A plain connection needs nothing.
    pub(crate) async fn close(&mut self) {
        if let Self::Tls(stream) = self {
            let _ = stream.shutdown().await; // the peer may have closed already
        }
    }

    /// Sends as many bytes as the socket accepts without waiting, for a drop.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Plain(socket) => SockRef::from(&*socket).send(bytes).map(drop),
            Self::Tls(stream) => {
                let (socket, session) = stream.get_mut();
                let mut records = Vec::new();
                session.writer().write_all(bytes)?;
                while session.wants_write() {
                    session.write_tls(&mut records)?;
                }
                SockRef::from(socket.get_ref()).send(&records).map(drop)
            }
            Self::Unavailable => Err(Error::from(ErrorKind::NotConnected)),
        }
    }
}
