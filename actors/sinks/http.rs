//! One HTTP/1.1 request at a time over a connection, which is kept for the next one.

use std::time::Duration;

use actix_codec::{Decoder, Encoder};
use actix_http::body::BodySize;
use actix_http::h1::{ClientCodec, Message, MessageType};
use actix_http::header::{HeaderMap, RETRY_AFTER};
use actix_http::{RequestHead, RequestHeadType, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::network::calling::CallStream;
use crate::network::calling_tls::of_loss;

/// Bytes of an answer's head.
const MAX_HEAD: usize = 16 << 10;
/// Bytes of an answer's body that are read for the next request to follow on the connection. With more, the connection is closed.
const MAX_BODY: usize = 64 << 10;
/// Bytes that are read at a time.
const READ_BYTES: usize = 4 << 10;

/// A connection.
pub(super) struct Connection {
    stream: CallStream,
    codec: ClientCodec,
    input: BytesMut,
}

/// What a server has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HttpAnswer {
    /// The status code.
    pub(super) status: u16,
    /// What `Retry-After` asks for, in seconds. A date is not read: clocks differ.
    pub(super) retry_after: Option<Duration>,
    /// Whether the connection takes another request.
    pub(super) is_reusable: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The connection failed.
    #[error("the connection was lost: {}", of_loss(.0))]
    Lost(#[from] std::io::Error),
    /// The server closed it.
    #[error("the server closed the connection before its answer")]
    Closed,
    /// It is no HTTP/1.1.
    #[error("the answer is no HTTP/1.1: {0}")]
    NotHttp(String),
    /// Its head is too long.
    #[error("the head of the answer has more than {MAX_HEAD} bytes")]
    TooLong,
}

impl Connection {
    pub(super) fn new(stream: CallStream) -> Self {
        Self { stream, codec: ClientCodec::default(), input: BytesMut::new() }
    }

    /// Sends a request, and reads its answer. The caller bounds the time.
    pub(super) async fn request(&mut self, head: RequestHead, body: Bytes) -> Result<HttpAnswer, HttpError> {
        let mut output = BytesMut::with_capacity(body.len() + 1024);
        let size = BodySize::Sized(body.len() as u64);
        self.codec.encode(Message::Item((RequestHeadType::Owned(head), size)), &mut output)?;
        self.codec.encode(Message::Chunk(Some(body)), &mut output)?;
        self.codec.encode(Message::Chunk(None), &mut output)?;
        self.stream.write_all(&output).await?;
        self.stream.flush().await?;
        let mut answer = loop {
            let head = self.codec.decode(&mut self.input);
            if let Some(head) = head.map_err(|error| HttpError::NotHttp(error.to_string()))? {
                // The answer follows an interim one (RFC 9110 §15.2). A change of the protocol, which nobody asked for, is the last one in this.
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    if !matches!(self.codec.message_type(), MessageType::None) {
                        return Err(HttpError::NotHttp("an interim answer announces a body".to_owned()));
                    }
                    continue;
                }
                let (status, retry_after) = (head.status.as_u16(), retry_after(head.headers()));
                break HttpAnswer { status, retry_after, is_reusable: self.codec.keep_alive() };
            }
            if self.input.len() > MAX_HEAD {
                return Err(HttpError::TooLong);
            }
            self.read().await?;
        };
        // What follows an answer would be taken for the next one.
        answer.is_reusable = self.skip_body().await && answer.is_reusable && self.input.is_empty();
        Ok(answer)
    }

    /// Whether nothing has come since the last answer, and the server has not closed it.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.read().now_or_never().is_none()
    }

    /// Reads the body, as far as it is short. Whether it has come to its end.
    async fn skip_body(&mut self) -> bool {
        match self.codec.message_type() {
            MessageType::None => return true,
            MessageType::Stream => return false,
            MessageType::Payload => {}
        }
        let mut codec = std::mem::take(&mut self.codec).into_payload_codec();
        let mut bytes = 0;
        let has_ended = loop {
            match codec.decode(&mut self.input) {
                Ok(Some(Some(chunk))) => bytes += chunk.len(),
                Ok(Some(None)) => break true,
                Ok(None) if bytes <= MAX_BODY => {
                    if self.read().await.is_err() {
                        break false;
                    }
                }
                Ok(None) | Err(_) => break false,
            }
        };
        self.codec = codec.into_message_codec();
        has_ended
    }

    async fn read(&mut self) -> Result<(), HttpError> {
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(HttpError::Closed),
            _ => Ok(()),
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
