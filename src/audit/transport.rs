//! The transport of audit messages to their target.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_actors::patience;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use super::syslog::framed;
use super::target::Target;

/// Time for a receiver to accept a connection, or to take a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for a host to report that nobody listens on the port of a datagram.
const REFUSAL_TIME: Duration = Duration::from_millis(200);
/// The node's user writes, and its group reads.
const MODE: u32 = 0o640;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A target, with its connection if there is one.
pub(crate) struct Transport {
    target: Target,
    stream: Option<Box<dyn Stream>>,
    /// Connected, so that the system reports a port where nobody listens: of the first message in time for it to be sent again, of a later one
    /// at the next.
    datagrams: Option<UdpSocket>,
}

impl Transport {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, stream: None, datagrams: None }
    }

    /// Sends one message. After an error, it can be sent again.
    pub(crate) async fn send(&mut self, message: &str) -> io::Result<()> {
        match &self.target {
            Target::File(path) => {
                let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
                file.write_all(format!("{message}\n").as_bytes())
            }
            Target::Udp(address) => {
                let sent = within(async {
                    let (socket, is_new) = match self.datagrams.take() {
                        Some(socket) => (socket, false),
                        None => (udp(address).await?, true),
                    };
                    socket.send(message.as_bytes()).await?;
                    if is_new {
                        sleep(REFUSAL_TIME).await;
                        socket.take_error()?.map_or(Ok(()), Err)?;
                    }
                    self.datagrams = Some(socket);
                    Ok(())
                });
                sent.await
            }
            Target::Tcp(_) | Target::Tls { .. } => {
                let sent = within(self.send_on_stream(&framed(message))).await;
                if sent.is_err() {
                    self.stream = None;
                }
                sent
            }
        }
    }

    /// What was sent stays, as far as the target promises that.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.target {
            Target::File(path) => match File::open(path) {
                Ok(file) => file.sync_data(),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // moved away
                Err(error) => Err(error),
            },
            Target::Udp(_) | Target::Tcp(_) | Target::Tls { .. } => Ok(()),
        }
    }

    async fn send_on_stream(&mut self, framed: &str) -> io::Result<()> {
        let is_gone = match &mut self.stream {
            // A receiver sends nothing, so readable means the end of the connection.
            Some(stream) => stream.read(&mut [0; 64]).now_or_never().is_some(),
            None => true,
        };
        let stream = match &mut self.stream {
            Some(stream) if !is_gone => stream,
            gone => gone.insert(connect(&self.target).await?),
        };
        stream.write_all(framed.as_bytes()).await?;
        stream.flush().await
    }
}

pub(super) async fn udp(address: &str) -> io::Result<UdpSocket> {
    let remote = tokio::net::lookup_host(address).await?.next().ok_or(ErrorKind::NotFound)?;
    let socket = UdpSocket::bind(if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await?;
    socket.connect(remote).await?;
    Ok(socket)
}

pub(super) async fn connect(target: &Target) -> io::Result<Box<dyn Stream>> {
    match target {
        Target::Tls { address, name, client } => {
            let socket = TcpStream::connect(address).await?;
            Ok(Box::new(TlsConnector::from(client.clone()).connect(name.clone(), socket).await?))
        }
        Target::Tcp(address) | Target::Udp(address) => Ok(Box::new(TcpStream::connect(address).await?)),
        Target::File(_) => Err(ErrorKind::Unsupported.into()),
    }
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    patience::within(PATIENCE, what).await?
}
