//! An association that this node requests: the connection, the wait for each answer, and the words for what goes wrong.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::sockopt::set_tcp_quickack;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_protocol::requestor::{Acceptance, Event, PeerRejection, Proposal, ProposalFault};
use tidegate_protocol::{PeerAbort, Requestor, Violation};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::calling_tls;
use crate::fixed;

/// Time for the answer to a release.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that are read at a time: responses are shorter.
const READ_BYTES: usize = 4096;

/// Whom this node calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallAddress {
    /// A name or an IP address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for CallAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why a call did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The connection did not come about.
    #[error("cannot connect to {0}: {1}")]
    Unreachable(CallAddress, String),
    /// The TLS handshake failed.
    #[error("tls with {0}: {1}")]
    Tls(CallAddress, String),
    /// The association cannot be asked for.
    #[error(transparent)]
    Proposal(#[from] ProposalFault),
    /// The peer has not read for the send timeout.
    #[error("the peer does not read what it is sent")]
    NotRead,
    /// The connection failed.
    #[error("the connection was lost: {}", calling_tls::of_loss(.0))]
    Lost(io::Error),
    /// The peer closed the connection.
    #[error("the peer closed the connection before its {0}")]
    Closed(&'static str),
    /// The peer was silent for too long.
    #[error("the peer gave no {0} in time")]
    Silent(&'static str),
    /// A-ASSOCIATE-RJ.
    #[error("the peer rejects the association: {0}")]
    Rejected(PeerRejection),
    /// A-ABORT.
    #[error("the peer aborts ({})", .0.reason_name().unwrap_or(.0.source_name()))]
    Aborted(PeerAbort),
    /// A-RELEASE-RQ.
    #[error("the peer releases the association before its response")]
    Released,
    /// The peer broke the protocol; an A-ABORT was sent.
    #[error("the peer breaks the protocol: {0}")]
    Violated(Violation),
    /// Anything else.
    #[error("the peer sends what was not asked for")]
    Unexpected,
}

impl CallError {
    /// An event that ends a call, or is none that was awaited.
    pub(crate) fn of(event: Event) -> Self {
        match event {
            Event::Rejected(rejection) => Self::Rejected(rejection),
            Event::PeerAborted(abort) => Self::Aborted(abort),
            Event::ReleaseRequested => Self::Released,
            Event::Violated(violation) => Self::Violated(violation),
            _ => Self::Unexpected,
        }
    }
}

/// The connection of a call: a TCP socket, plain or under TLS.
#[derive(Debug)]
pub(crate) enum CallStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl CallStream {
    /// Connects, over TLS if there is a configuration for it.
    ///
    /// # Errors
    /// [`CallError::Unreachable`] and [`CallError::Tls`].
    pub(crate) async fn connect(
        address: &CallAddress,
        tls: Option<Arc<ClientConfig>>,
        deadline: Instant,
    ) -> Result<Self, CallError> {
        let failed = |error: io::Error| CallError::Unreachable(address.clone(), error.to_string());
        let late = |_| CallError::Unreachable(address.clone(), "no answer in time".to_owned());
        let socket = TcpStream::connect((address.host.as_str(), address.port));
        let socket = timeout_at(deadline, socket).await.map_err(late)?.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let Some(config) = tls else { return Ok(Self::Plain(socket)) };
        let name = ServerName::try_from(address.host.clone());
        let name = name.map_err(|error| CallError::Tls(address.clone(), error.to_string()))?;
        let stream = timeout_at(deadline, TlsConnector::from(config).connect(name, socket)).await;
        let stream = stream.map_err(|_| CallError::Tls(address.clone(), "no handshake in time".to_owned()))?;
        let stream = stream.map_err(|error| CallError::Tls(address.clone(), calling_tls::words(&error)))?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Acknowledges at once what was read: a peer that writes the header of a PDU apart from the rest, as DCMTK does, sends the rest when the header is
/// acknowledged (RFC 896), and Linux would delay that for 40 ms with each response. The system forgets it by itself, so it is said each time.
fn acknowledge(socket: &TcpStream) {
    let _ = set_tcp_quickack(socket, true); // otherwise it is slow
}

impl AsyncRead for CallStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let read = match stream {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        };
        if read.is_ready() {
            acknowledge(stream.socket());
        }
        read
    }
}

impl AsyncWrite for CallStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

/// An association from this node's side.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) stream: CallStream,
    pub(crate) requestor: Requestor,
    input: BytesMut,
    /// A PDU may have been sent in part: what follows it would be taken for the rest.
    is_cut: bool,
}

impl Call {
    /// An association that is to be asked for over a connection.
    ///
    /// # Errors
    /// The proposal cannot be written.
    pub(crate) fn new(stream: CallStream, proposal: Proposal) -> Result<Self, CallError> {
        let input = BytesMut::with_capacity(READ_BYTES);
        Ok(Self { stream, requestor: Requestor::new(proposal)?, input, is_cut: false })
    }

    /// Sends what the association has to say. Nothing is sent after a failure, or after one that was dropped half way.
    ///
    /// # Errors
    /// [`CallError::NotRead`] and [`CallError::Lost`].
    pub(crate) async fn flush(&mut self) -> Result<(), CallError> {
        let output = self.requestor.take_output();
        if output.is_empty() {
            return Ok(());
        }
        if std::mem::replace(&mut self.is_cut, true) {
            return Err(CallError::NotRead);
        }
        let sent = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        let deadline = Instant::now() + fixed::send_timeout();
        timeout_at(deadline, sent).await.map_err(|_| CallError::NotRead)?.map_err(CallError::Lost)?;
        self.is_cut = false;
        Ok(())
    }

    /// The next event of what has been read already.
    ///
    /// # Errors
    /// Its answer cannot be sent.
    pub(crate) async fn read_event(&mut self) -> Result<Option<Event>, CallError> {
        let Some(event) = self.requestor.poll(&mut self.input) else { return Ok(None) };
        self.flush().await?;
        Ok(Some(event))
    }

    /// Waits for bytes of the peer. It may be dropped: nothing is lost then.
    ///
    /// # Errors
    /// [`CallError::Closed`] and [`CallError::Lost`].
    pub(crate) async fn read(&mut self, awaited: &'static str) -> Result<(), CallError> {
        self.input.reserve(self.requestor.needed().max(READ_BYTES));
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(CallError::Closed(awaited)),
            Ok(_) => Ok(()),
            Err(error) => Err(CallError::Lost(error)),
        }
    }

    /// The next event of the peer, which is `awaited`.
    ///
    /// # Errors
    /// There is none by the deadline, and the association was aborted for it; or the connection is lost.
    pub(crate) async fn event(&mut self, deadline: Instant, awaited: &'static str) -> Result<Event, CallError> {
        loop {
            if let Some(event) = self.read_event().await? {
                return Ok(event);
            }
            let Ok(read) = timeout_at(deadline, self.read(awaited)).await else {
                self.abort().await;
                return Err(CallError::Silent(awaited));
            };
            read?;
        }
    }

    /// Associates.
    ///
    /// # Errors
    /// The peer does not accept the association.
    pub(crate) async fn establish(&mut self, deadline: Instant) -> Result<Acceptance, CallError> {
        self.flush().await?;
        match self.event(deadline, "answer to the association request").await? {
            Event::Accepted(acceptance) => Ok(acceptance),
            other => Err(CallError::of(other)),
        }
    }

    /// Releases the association, and closes the connection. What awaits a response gets none.
    pub(crate) async fn release(&mut self) {
        if self.requestor.release().is_err() || self.flush().await.is_err() {
            return;
        }
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        loop {
            match self.event(deadline, "answer to the release").await {
                Ok(Event::ReleaseRequested) => self.requestor.answer_release(),
                Ok(Event::Fragment(_) | Event::DatasetComplete | Event::OperationRefused(_)) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.close().await;
    }

    /// Agrees to the release for which the peer has asked, and closes the connection.
    pub(crate) async fn answer_release(&mut self) {
        self.requestor.answer_release();
        self.close().await;
    }

    /// Aborts the association.
    pub(crate) async fn abort(&mut self) {
        self.requestor.abort();
        let _ = self.flush().await; // the peer may be the reason
    }

    async fn close(&mut self) {
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await; // the peer may have closed it
    }
}
