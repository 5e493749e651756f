//! Rejects a connection while the node has no room for its association: A-ASSOCIATE-RJ, transient, local-limit-exceeded
//! (PS3.8 §9.3.4). A rejection costs at most two kilobytes and a few seconds; over TLS, the memory of a TLS session besides.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tidegate_protocol::{Rejection, proxy};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::transport::{Port, TLS_HANDSHAKE};
use crate::patience::within;

/// Time for the peer to send its request and to read the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a request that are read before the answer.
const MAX_READ_BYTES: u64 = 256 * 1024;

/// Most connections that are being rejected at once; above, they are closed without an answer. A handshake takes a millisecond of the
/// listener's thread, and memory of the budget.
pub(crate) fn max_concurrent(port: Port) -> usize {
    match port {
        Port::Plain => 256,
        Port::Tls => 16,
    }
}

/// Reads the PROXY header of a balancer, completes the TLS handshake if there is one, reads the request, answers, and waits for the peer to
/// close.
pub(crate) async fn reject(mut stream: TcpStream, is_proxied: bool, tls: Option<Arc<ServerConfig>>) {
    let answered = async {
        if is_proxied {
            skip_header(&mut stream).await?;
        }
        match tls {
            None => answer(stream).await,
            Some(config) => {
                let mut first = [0];
                stream.peek(&mut first).await?;
                match first {
                    [TLS_HANDSHAKE] => answer(TlsAcceptor::from(config).accept(stream).await?).await,
                    _ => Ok(()), // closed without an answer that the peer could not parse
                }
            }
        }
    };
    let _ = within(TIMEOUT, answered).await;
}

async fn skip_header(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut header = Vec::new();
    while let missing @ 1.. = proxy::missing(&header).map_err(|_| ErrorKind::InvalidData)? {
        let read = header.len();
        header.resize(read + missing, 0);
        stream.read_exact(&mut header[read..]).await?;
    }
    Ok(())
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut header = [0; 6];
    stream.read_exact(&mut header).await?;
    let [1, _, l3, l2, l1, l0] = header else {
        return Ok(()); // not an A-ASSOCIATE-RQ: no answer
    };
    let length = u64::from(u32::from_be_bytes([l3, l2, l1, l0]));
    discard((&mut stream).take(length.min(MAX_READ_BYTES))).await?;
    let (result, source, reason) = Rejection::LocalLimitExceeded.fields();
    stream.write_all(&[3, 0, 0, 0, 0, 4, 0, result, source, reason]).await?;
    stream.flush().await?;
    discard(stream).await
}

async fn discard(mut from: impl AsyncRead + Unpin) -> std::io::Result<()> {
    let mut scratch = [0; 2048];
    while from.read(&mut scratch).await? > 0 {}
    Ok(())
}
