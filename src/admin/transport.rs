//! A client's connection as the HTTP library sees it: one request, and an answer that is read in time.
//!
//! actix-http parses every pipelined request that it is given and keeps each until it is answered. This transport hands it one request and no
//! more, so a connection holds at most [`MAX_HEAD_BYTES`] of a request and what is written and not yet sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::leases::{MAX_HEAD_BYTES, OfConnection};
use super::places::Client;

/// Longest request body, in bytes: a word or two.
pub(super) const MAX_BODY_BYTES: usize = 1024;
/// Bytes after the request that are read and dropped, so that the answer is not lost in a reset.
const MAX_DISCARDED_BYTES: usize = 64 << 10;
/// The whole request must have arrived by then.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);
/// What is ready to be sent must be accepted by the socket by then.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The client must have read the rest from the kernel's buffer, and closed, by then. The connection is reset otherwise.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// See the module.
pub(super) struct Transport {
    stream: Box<dyn Stream>,
    pub(super) client: Client,
    request: Request,
    request_due: Pin<Box<Sleep>>,
    write_due: Option<Pin<Box<Sleep>>>,
    /// The end of the answer is sent; the client must close by then.
    close_due: Option<Pin<Box<Sleep>>>,
    _lease: OfConnection,
}

/// How much of the request has arrived.
enum Request {
    /// Its head is incomplete.
    Head(Vec<u8>),
    /// These bytes are for the library, and `left` more of the body are to come. Of a body that is cut, the library gets no more than this.
    Ready { bytes: Vec<u8>, left: usize, is_cut: bool },
    /// It was handed over.
    Done { discarded: usize },
    /// It was handed over, cut. The library would wait for the rest of the body for ever, so it sees the end of the stream.
    Cut,
}

impl Transport {
    pub(super) fn new(stream: Box<dyn Stream>, client: Client, lease: OfConnection) -> Self {
        Self {
            stream,
            client,
            request: Request::Head(Vec::new()),
            request_due: Box::pin(sleep(REQUEST_TIMEOUT)),
            write_due: None,
            close_due: None,
            _lease: lease,
        }
    }

    /// The client has until the deadline to take what is written.
    fn poll_write_due(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let due = self.write_due.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        due.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// `outcome`, unless it does not come in time.
    fn in_time<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_pending() { self.poll_write_due(context).map(Err) } else { outcome }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Request::Ready { bytes, left, is_cut } = &mut this.request {
                let count = bytes.len().min(to.remaining());
                to.put_slice(&bytes[..count]);
                bytes.drain(..count);
                if bytes.is_empty() && *left == 0 {
                    this.request = if *is_cut { Request::Cut } else { Request::Done { discarded: 0 } };
                }
                if count > 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            let is_done = match this.request {
                Request::Done { discarded } if discarded >= MAX_DISCARDED_BYTES => return Poll::Pending,
                Request::Cut => return Poll::Ready(Ok(())),
                Request::Done { .. } => true,
                Request::Head(_) | Request::Ready { .. } => false,
            };
            if !is_done && this.request_due.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let mut scratch = [0; 2048];
            let mut scratch = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut scratch))?;
            if scratch.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.request.receive(scratch.filled())?;
            if let Request::Ready { left: 0, .. } = this.request {
                this.client.standing.is_owed.set(true);
            }
        }
    }
}

impl Request {
    fn receive(&mut self, received: &[u8]) -> io::Result<()> {
        match self {
            Self::Head(head) => {
                head.extend_from_slice(received);
                if let Some(end) = end_of_head(head) {
                    let length = field(&head[..end], b"content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
                    let body_bytes = length.min(MAX_BODY_BYTES + 1);
                    let is_cut = body_bytes < length || field(&head[..end], b"transfer-encoding").is_some();
                    let mut bytes = std::mem::take(head);
                    bytes.truncate(end + body_bytes);
                    let left = end + body_bytes - bytes.len();
                    *self = Self::Ready { bytes, left, is_cut };
                } else if head.len() > MAX_HEAD_BYTES {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of the request is too long"));
                }
            }
            Self::Ready { bytes, left, .. } => {
                let count = received.len().min(*left);
                bytes.extend_from_slice(&received[..count]);
                *left -= count;
            }
            Self::Done { discarded } => *discarded += received.len(),
            Self::Cut => {}
        }
        Ok(())
    }
}

/// Where the head ends, by the rule of the library's parser: at an empty line, with or without carriage returns.
fn end_of_head(head: &[u8]) -> Option<usize> {
    let lines = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.map(|(at, _)| at + 1).find_map(|at| match head.get(at..)? {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

/// The value of the first header field of this name, which is given in lower case.
fn field(head: &[u8], name: &[u8]) -> Option<String> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        found.eq_ignore_ascii_case(name).then(|| String::from_utf8_lossy(&value[1..]).trim().to_owned())
    })
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.client.standing.is_owed.set(false);
        // A client that reads a byte now and then does not extend its time: only an empty buffer does.
        if this.write_due.is_some()
            && let Poll::Ready(error) = this.poll_write_due(context)
        {
            return Poll::Ready(Err(error));
        }
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.in_time(outcome, context)
    }

    /// Called by the library when its buffer is empty.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        if outcome.is_ready() {
            this.write_due = None;
        }
        this.in_time(outcome, context)
    }

    /// Ends the answer, and waits for the client to close. The connection keeps its place meanwhile, so no more send queues of the kernel exist
    /// than places: a socket that were closed with bytes unsent would hold them without an owner, for minutes.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.close_due.is_none() {
            let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.in_time(outcome, context))?;
            this.client.standing.answered.set(Some(Instant::now()));
        }
        let due = this.close_due.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        if due.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let mut discarded = 0;
        loop {
            let mut scratch = [0; 2048];
            let mut scratch = ReadBuf::new(&mut scratch);
            let outcome = ready!(Pin::new(&mut this.stream).poll_read(context, &mut scratch));
            discarded += scratch.filled().len();
            if outcome.is_err() || scratch.filled().is_empty() || discarded > MAX_DISCARDED_BYTES {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn taken(request: &[u8], at_a_time: usize) -> (Vec<u8>, bool) {
        let mut state = Request::Head(Vec::new());
        request.chunks(at_a_time).for_each(|bytes| state.receive(bytes).unwrap());
        match state {
            Request::Ready { bytes, left, is_cut } => (bytes, left == 0 && !is_cut),
            Request::Head(_) | Request::Done { .. } | Request::Cut => (Vec::new(), false),
        }
    }

    #[test]
    fn one_request_is_handed_over_and_nothing_behind_it() {
        let body = "PUT /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        for first in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\n\r\n", body]
        {
            let pipelined = [first, "GET /app.js HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\n\n"].concat();
            for at_a_time in [1, 7, 4096] {
                assert_eq!(taken(pipelined.as_bytes(), at_a_time), (first.as_bytes().to_vec(), true), "{first}");
            }
        }
        let long = format!("PUT /x HTTP/1.1\r\nContent-Length: 99999\r\n\r\n{}", "x".repeat(9999));
        let (bytes, is_whole) = taken(long.as_bytes(), 100);
        assert!(bytes.len() < MAX_BODY_BYTES + 100 && !is_whole);
        let chunked = b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert!(!taken(chunked, 1).1, "the library sees its end");
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_ends_the_connection_and_a_byte_now_and_then_is_not_reading() {
        async fn write_all(mut transport: Transport) -> io::ErrorKind {
            loop {
                if let Err(error) = transport.write(&[0; 16]).await {
                    return error.kind();
                }
            }
        }
        let client = || Client { role: None, certificate: "".into(), standing: Default::default() };
        let transport = |stream| Transport::new(Box::new(stream), client(), OfConnection::default());
        let (node, _unread) = tokio::io::duplex(64);
        let (slow_node, mut slow) = tokio::io::duplex(64);
        let reading = async {
            while slow.read_u8().await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let written = async { tokio::join!(write_all(transport(node)), write_all(transport(slow_node))) };
        let (kinds, ()) = tokio::join!(written, reading);
        assert_eq!(kinds, (io::ErrorKind::TimedOut, io::ErrorKind::TimedOut));
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let mut request = Request::Head(Vec::new());
        assert!((0..100).any(|_| request.receive(&[b'x'; 1024]).is_err()));
    }
}
