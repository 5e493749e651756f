//! Tells a peer that this node has no room for its association now: A-ASSOCIATE-RJ, transient, local-limit-exceeded
//! (PS3.8 §9.3.4). It costs two kilobytes and a few seconds at most.

use std::time::Duration;

use tidegate_protocol::Rejection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the peer has to send its request and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// More of a request than this is not read before it is answered.
const MOST_READ: u64 = 256 * 1024;

/// Reads the request away, answers, and waits for the peer to close.
pub(crate) async fn turn_away(mut stream: TcpStream) {
    let _ = timeout(PATIENCE, answer(&mut stream)).await;
}

async fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut header = [0; 6];
    stream.read_exact(&mut header).await?;
    let [1, _, l3, l2, l1, l0] = header else {
        return Ok(()); // not a request: no answer
    };
    let length = u64::from(u32::from_be_bytes([l3, l2, l1, l0]));
    discard(&mut stream.take(length.min(MOST_READ))).await?;
    let (result, source, reason) = Rejection::LocalLimitExceeded.fields();
    stream.write_all(&[3, 0, 0, 0, 0, 4, 0, result, source, reason]).await?;
    discard(stream).await
}

async fn discard(from: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<()> {
    let mut scratch = [0; 2048];
    while from.read(&mut scratch).await? > 0 {}
    Ok(())
}
