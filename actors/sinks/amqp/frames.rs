//! Frames and methods of AMQP 0-9-1, as far as a publisher needs them. Numbers and layouts are those of the specification (§4.2) and its XML.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What a client sends first.
pub(super) const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Longest frame that is sent or taken, with its envelope. RabbitMQ proposes the same.
pub(super) const MAX_FRAME_BYTES: u32 = 128 << 10;
/// Type, channel and size of a frame, and its end.
const ENVELOPE_BYTES: usize = 8;
const FRAME_END: u8 = 0xCE;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// Class and method.
pub(super) type Method = (u16, u16);
pub(super) const START: Method = (10, 10);
pub(super) const START_OK: Method = (10, 11);
pub(super) const TUNE: Method = (10, 30);
pub(super) const TUNE_OK: Method = (10, 31);
pub(super) const OPEN: Method = (10, 40);
pub(super) const OPEN_OK: Method = (10, 41);
pub(super) const CLOSE: Method = (10, 50);
pub(super) const BLOCKED: Method = (10, 60);
pub(super) const CHANNEL_OPEN: Method = (20, 10);
pub(super) const CHANNEL_OPEN_OK: Method = (20, 11);
pub(super) const CHANNEL_CLOSE: Method = (20, 40);
pub(super) const PUBLISH: Method = (60, 40);
pub(super) const RETURN: Method = (60, 50);
pub(super) const ACK: Method = (60, 80);
pub(super) const NACK: Method = (60, 120);
pub(super) const CONFIRM_SELECT: Method = (85, 10);
pub(super) const CONFIRM_SELECT_OK: Method = (85, 11);

/// `content-type`, `delivery-mode` and `message-id` are there.
const PROPERTIES: u16 = 1 << 15 | 1 << 12 | 1 << 7;
const PERSISTENT: u8 = 2;

/// Bytes that are no AMQP 0-9-1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("the broker speaks another version of AMQP than 0-9-1")]
    OtherVersion,
    #[error("the broker sends what is no AMQP 0-9-1")]
    NotAmqp,
    #[error("the broker sends a frame of {0} bytes, which is more than was agreed")]
    TooLong(u32),
}

/// A method and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) arguments: Arguments,
}

/// Arguments that were not read yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments(Bytes);

/// Takes the next method from the input; `None`: it is not there as a whole. Frames of other types, such as heartbeats and the content of a message
/// that comes back, are passed over.
///
/// # Errors
/// See [`FrameError`].
pub(super) fn next_method(input: &mut BytesMut) -> Result<Option<Received>, FrameError> {
    loop {
        // A server answers a protocol header that it does not serve with its own (§4.2.2).
        if input.starts_with(b"AMQP") {
            return Err(FrameError::OtherVersion);
        }
        let Some([kind, _, _, size @ ..]) = input.first_chunk::<7>() else { return Ok(None) };
        let (kind, size) = (*kind, u32::from_be_bytes(*size));
        if !(METHOD..=8).contains(&kind) {
            return Err(FrameError::NotAmqp);
        }
        if size > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(size));
        }
        let bytes = size as usize + ENVELOPE_BYTES;
        if input.len() < bytes {
            return Ok(None);
        }
        let mut frame = input.split_to(bytes).freeze();
        if frame.last() != Some(&FRAME_END) {
            return Err(FrameError::NotAmqp);
        }
        if kind == METHOD {
            let mut payload = Arguments(frame.split_off(7).slice(..size as usize));
            let method = (payload.u16()?, payload.u16()?);
            return Ok(Some(Received { method, arguments: payload }));
        }
    }
}

impl Arguments {
    fn take(&mut self, bytes: usize) -> Result<Bytes, FrameError> {
        if self.0.len() < bytes { Err(FrameError::NotAmqp) } else { Ok(self.0.split_to(bytes)) }
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.take(1)?.get_u8())
    }

    pub(super) fn u16(&mut self) -> Result<u16, FrameError> {
        Ok(self.take(2)?.get_u16())
    }

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(self.take(4)?.get_u32())
    }

    /// A short string, without characters that would break a line.
    pub(super) fn short(&mut self) -> Result<String, FrameError> {
        let bytes = self.u8()?.into();
        let text = self.take(bytes)?;
        Ok(String::from_utf8_lossy(&text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }

    /// A long string or a table, which have the same envelope.
    pub(super) fn long(&mut self) -> Result<Bytes, FrameError> {
        let bytes = self.u32()? as usize;
        self.take(bytes)
    }
}

/// Writes a frame with a method.
pub(super) fn method(output: &mut BytesMut, channel: u16, (class, method): Method, arguments: &[u8]) {
    let mut payload = BytesMut::with_capacity(arguments.len() + 4);
    payload.put_u16(class);
    payload.put_u16(method);
    payload.put_slice(arguments);
    frame(output, METHOD, channel, &payload);
}

/// Writes the frames of a message: its header, and its body in pieces of the agreed length.
pub(super) fn content(output: &mut BytesMut, channel: u16, (id, kind): (&str, &str), body: &[u8], frame_max: usize) {
    let mut header = BytesMut::new();
    header.put_u16(PUBLISH.0);
    header.put_u16(0);
    header.put_u64(body.len() as u64);
    header.put_u16(PROPERTIES);
    short(&mut header, kind);
    header.put_u8(PERSISTENT);
    short(&mut header, id);
    frame(output, HEADER, channel, &header);
    for piece in body.chunks(frame_max.saturating_sub(ENVELOPE_BYTES).max(1)) {
        frame(output, BODY, channel, piece);
    }
}

/// Payloads are shorter than a frame may be.
fn frame(output: &mut BytesMut, kind: u8, channel: u16, payload: &[u8]) {
    output.reserve(payload.len() + ENVELOPE_BYTES);
    output.put_u8(kind);
    output.put_u16(channel);
    output.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    output.put_slice(payload);
    output.put_u8(FRAME_END);
}

/// Writes a short string. The configuration refuses what is longer.
pub(super) fn short(output: &mut BytesMut, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(u8::MAX.into())];
    output.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    output.put_slice(bytes);
}

/// Writes a long string, or a table that was written before.
pub(super) fn long(output: &mut BytesMut, bytes: &[u8]) {
    output.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    output.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_read_as_soon_as_it_is_there_and_other_frames_are_passed_over() {
        let mut all = BytesMut::new();
        content(&mut all, 1, ("1-2", "application/cloudevents+json"), &[7; 100], 58);
        frame(&mut all, 8, 0, &[]);
        let mut arguments = BytesMut::new();
        arguments.put_u16(404);
        short(&mut arguments, "NOT_FOUND\nno exchange");
        method(&mut all, 1, CHANNEL_CLOSE, &arguments);
        let mut input = BytesMut::new();
        for byte in &all[..all.len() - 1] {
            input.put_u8(*byte);
            assert_eq!(next_method(&mut input), Ok(None));
        }
        input.put_u8(FRAME_END);
        let Received { method, mut arguments } = next_method(&mut input).unwrap().unwrap();
        assert_eq!(
            (method, arguments.u16(), arguments.short()),
            (CHANNEL_CLOSE, Ok(404), Ok("NOT_FOUND no exchange".to_owned()))
        );
        assert_eq!((arguments.u8(), input.len()), (Err(FrameError::NotAmqp), 0));
    }

    #[test]
    fn what_is_no_amqp_is_refused() {
        for (bytes, expected) in [
            (&b"AMQP\x00\x01\x00\x00"[..], FrameError::OtherVersion),
            (b"HTTP/1.1 400 Bad Request", FrameError::NotAmqp),
            (b"\x01\x00\x00\xff\xff\xff\xff", FrameError::TooLong(u32::MAX)),
            (b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\x00", FrameError::NotAmqp),
            (b"\x01\x00\x00\x00\x00\x00\x01\x00\xce", FrameError::NotAmqp),
        ] {
            assert_eq!(next_method(&mut BytesMut::from(bytes)), Err(expected));
        }
    }
}
