//! A connection to a broker over AMQP 0-9-1 with one channel, on which every message is confirmed. One message at a time.

use std::io;

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::{self, Arguments, FrameError, Method, Received};
use crate::network::calling::CallStream;
use crate::node::settings::AmqpSettings;
use crate::sinks::event::{CONTENT_TYPE, EventOut};

/// Bytes that are read at a time.
const READ_BYTES: usize = 4 << 10;
/// The channel; 0 is the connection itself.
const CHANNEL: u16 = 1;
/// A return instead of a queue (§1.8.3.3).
const MANDATORY: u8 = 1;

/// A connection. Dropping it closes it.
pub(super) struct Connection {
    stream: CallStream,
    input: BytesMut,
    frame_max: usize,
    /// No frame is half sent.
    is_whole: bool,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum AmqpError {
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    #[error("the broker closed the connection")]
    Closed,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the broker does not offer the mechanism PLAIN")]
    NoPlain,
    #[error("the broker closed the connection: {1} ({0})")]
    Refused(u16, String),
    #[error("the broker closed the channel: {1} ({0})")]
    ChannelRefused(u16, String),
    #[error("the broker takes no messages at the moment: {0}")]
    Blocked(String),
    #[error("the broker returned the event: {0}: bind a queue to the exchange for this routing key")]
    Unroutable(String),
    #[error("the broker did not take the event (basic.nack): a queue may be full")]
    Nack,
}

impl Connection {
    /// Authenticates, opens the virtual host and the channel, and has messages confirmed.
    pub(super) async fn open(stream: CallStream, settings: &AmqpSettings) -> Result<Self, AmqpError> {
        let (input, frame_max) = (BytesMut::new(), frames::MAX_FRAME_BYTES as usize);
        let mut connection = Self { stream, input, frame_max, is_whole: false };
        connection.stream.write_all(frames::PROTOCOL_HEADER).await?;
        let mut start = connection.receive(frames::START).await?;
        start.u16()?; // version 0-9
        start.long()?; // properties of the server
        if !start.long()?.split(|byte| *byte == b' ').any(|mechanism| mechanism == b"PLAIN") {
            return Err(AmqpError::NoPlain);
        }
        connection.send(0, frames::START_OK, &start_ok(settings)).await?;
        let mut tune = connection.receive(frames::TUNE).await?;
        tune.u16()?; // channels: at least one
        // 0 is no limit (§1.4.2.5).
        let proposed = Some(tune.u32()?).filter(|most| *most > 0).unwrap_or(u32::MAX);
        let frame_max = proposed.min(frames::MAX_FRAME_BYTES);
        connection.frame_max = frame_max as usize;
        let mut arguments = BytesMut::new();
        arguments.put_u16(CHANNEL);
        arguments.put_u32(frame_max);
        // No heartbeats: an attempt has a timeout, and a connection without work is closed.
        arguments.put_u16(0);
        connection.send(0, frames::TUNE_OK, &arguments).await?;
        let mut arguments = BytesMut::new();
        frames::short(&mut arguments, &settings.vhost);
        arguments.put_slice(&[0, 0]); // reserved
        connection.send(0, frames::OPEN, &arguments).await?;
        connection.receive(frames::OPEN_OK).await?;
        connection.send(CHANNEL, frames::CHANNEL_OPEN, &[0]).await?;
        connection.receive(frames::CHANNEL_OPEN_OK).await?;
        connection.send(CHANNEL, frames::CONFIRM_SELECT, &[0]).await?;
        connection.receive(frames::CONFIRM_SELECT_OK).await?;
        Ok(connection)
    }

    /// Publishes an event; the broker has it when this returns. After an error the connection may be used again only if it
    /// [`AmqpError::leaves_channel`].
    pub(super) async fn publish(&mut self, exchange: &str, event: &EventOut) -> Result<(), AmqpError> {
        let mut arguments = BytesMut::new();
        arguments.put_u16(0); // reserved
        frames::short(&mut arguments, exchange);
        frames::short(&mut arguments, event.kind.name());
        arguments.put_u8(MANDATORY);
        let mut output = BytesMut::new();
        frames::method(&mut output, CHANNEL, frames::PUBLISH, &arguments);
        let properties = (event.id.as_str(), CONTENT_TYPE);
        frames::content(&mut output, CHANNEL, properties, event.body.as_bytes(), self.frame_max);
        self.write(&output).await?;
        let mut returned = None;
        loop {
            let Received { method, mut arguments } = self.next().await?;
            match method {
                // It comes before the confirmation.
                frames::RETURN => {
                    let (code, text) = (arguments.u16()?, arguments.short()?);
                    returned = Some(format!("{text} ({code})"));
                }
                frames::ACK => return returned.map_or(Ok(()), |why| Err(AmqpError::Unroutable(why))),
                frames::NACK => return Err(AmqpError::Nack),
                frames::BLOCKED => return Err(AmqpError::Blocked(arguments.short()?)),
                _ => {}
            }
        }
    }

    async fn send(&mut self, channel: u16, method: Method, arguments: &[u8]) -> Result<(), AmqpError> {
        let mut output = BytesMut::new();
        frames::method(&mut output, channel, method, arguments);
        self.write(&output).await
    }

    async fn write(&mut self, output: &[u8]) -> Result<(), AmqpError> {
        self.is_whole = false;
        self.stream.write_all(output).await?;
        self.stream.flush().await?;
        self.is_whole = true;
        Ok(())
    }

    /// The arguments of the method that is expected.
    async fn receive(&mut self, expected: Method) -> Result<Arguments, AmqpError> {
        loop {
            let Received { method, arguments } = self.next().await?;
            if method == expected {
                return Ok(arguments);
            }
        }
    }

    /// The next method.
    async fn next(&mut self) -> Result<Received, AmqpError> {
        loop {
            if let Some(Received { method, mut arguments }) = frames::next_method(&mut self.input)? {
                match method {
                    frames::CLOSE => return Err(AmqpError::Refused(arguments.u16()?, arguments.short()?)),
                    frames::CHANNEL_CLOSE => {
                        return Err(AmqpError::ChannelRefused(arguments.u16()?, arguments.short()?));
                    }
                    _ => return Ok(Received { method, arguments }),
                }
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(AmqpError::Closed);
            }
        }
    }
}

/// Brokers report connections that end without a word.
impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_whole {
            let mut close = BytesMut::new();
            // 200, no text, and no method that failed (§1.4.2.9).
            frames::method(&mut close, 0, frames::CLOSE, &[0, 200, 0, 0, 0, 0, 0]);
            let _ = self.stream.write_all(&close).now_or_never();
        }
    }
}

impl AmqpError {
    /// Whether the channel takes the next event.
    pub(super) fn leaves_channel(&self) -> bool {
        matches!(self, Self::Unroutable(_) | Self::Nack)
    }

    /// Whether other events would fail, too. A broker may refuse one routing key by 403 or one message by 406.
    pub(super) fn is_down(&self) -> bool {
        !self.leaves_channel() && !matches!(self, Self::ChannelRefused(403 | 406, _))
    }
}

/// Arguments of `start-ok`: who this is, what it understands, and its password (RFC 4616).
fn start_ok(settings: &AmqpSettings) -> BytesMut {
    let mut capabilities = BytesMut::new();
    for name in ["authentication_failure_close", "basic.nack", "connection.blocked", "publisher_confirms"] {
        frames::short(&mut capabilities, name);
        capabilities.put_slice(b"t\x01");
    }
    let mut properties = BytesMut::new();
    for (name, value) in [("product", "Tidegate"), ("version", env!("CARGO_PKG_VERSION"))] {
        frames::short(&mut properties, name);
        properties.put_u8(b'S');
        frames::long(&mut properties, value.as_bytes());
    }
    frames::short(&mut properties, "capabilities");
    properties.put_u8(b'F');
    frames::long(&mut properties, &capabilities);
    let response = [b"\0", settings.user.as_bytes(), b"\0", &settings.password.0].concat();
    let mut arguments = BytesMut::new();
    frames::long(&mut arguments, &properties);
    frames::short(&mut arguments, "PLAIN");
    frames::long(&mut arguments, &response);
    frames::short(&mut arguments, "en_US");
    arguments
}
