//! One instance on the wire: its command, and its dataset from the file.
//!
//! In plain, the kernel sends the file itself behind headers that this node writes, where the peer takes PDUs that are long enough for it. Everything
//! else passes through one buffer of the association.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;

use rustix::net::SendFlags;
use tidegate_protocol::requestor::FRAGMENT_HEADER_BYTES;
use tidegate_reencode::Reencoder;
use tidegate_storage::fs::Errno;
use tidegate_storage::survey::Outgoing;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::hub::Hub;
use crate::fixed;
use crate::network::calling::{Call, CallError, CallStream};

/// Bytes of the buffer of an association.
pub(super) const BUFFER_BYTES: usize = 128 * 1024;
/// A shorter fragment costs more by `sendfile` than by the buffer.
const LEAST_SENDFILE_BYTES: usize = 48 * 1024;

/// Why an instance was not sent to its end. The association is of no use then.
#[derive(Debug)]
pub(super) enum SendError {
    /// The association.
    Call(CallError),
    /// The disk.
    File(Errno),
    /// The file is shorter than it was.
    Short,
    /// It cannot be written anew.
    Fault(tidegate_reencode::Fault),
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// An instance that is being sent, whose command is in the output of the requestor.
pub(super) struct Sending<'a> {
    pub(super) call: &'a mut Call,
    pub(super) hub: &'a Rc<RefCell<Hub>>,
    pub(super) file: &'a Outgoing,
    pub(super) buffer: &'a mut [u8],
    /// Bytes of the file that are in the buffer, from its beginning.
    pub(super) filled: usize,
    /// Whether a PDU has been begun and not ended: nothing else may be sent then.
    pub(super) is_mid_pdu: &'a mut bool,
}

impl Sending<'_> {
    /// Sends the dataset as it is stored.
    pub(super) async fn stored(mut self) -> Result<(), SendError> {
        let (offset, end) = (self.file.dataset_offset(), self.file.bytes());
        if self.filled as u64 == end {
            return self.buffered(offset as usize..self.filled, true).await;
        }
        let most = self.hub.borrow().bandwidth.piece(self.call.requestor.most_fragment_bytes());
        if matches!(self.call.stream, CallStream::Plain(_)) && most >= LEAST_SENDFILE_BYTES {
            return self.by_kernel(offset, end).await;
        }
        let mut offset = offset;
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = self.file.read(offset, &mut self.buffer[..wanted]).map_err(SendError::File)?;
            if read < wanted {
                return Err(SendError::Short);
            }
            offset += read as u64;
            self.buffered(0..read, offset == end).await?;
        }
        Ok(())
    }

    /// Bytes of a fragment that is sent at once.
    fn fragment_bytes(&self) -> usize {
        let most = self.call.requestor.most_fragment_bytes();
        (self.hub.borrow().bandwidth.piece(most) & !1).max(2)
    }

    /// Sends a range of the buffer as fragments; `is_end`: the dataset ends with it.
    async fn buffered(&mut self, range: std::ops::Range<usize>, is_end: bool) -> Result<(), SendError> {
        let mut range = range;
        loop {
            let output = self.call.requestor.take_output();
            // As many fragments as go into one call.
            let most = self.fragment_bytes();
            let allowed = self.hub.borrow().bandwidth.piece(self.buffer.len()).max(most);
            let mut headers: Vec<([u8; FRAGMENT_HEADER_BYTES], std::ops::Range<usize>)> = Vec::new();
            let mut bytes = 0;
            loop {
                let fragment = range.start..range.end.min(range.start + most);
                range.start = fragment.end;
                bytes += fragment.len();
                let is_last = is_end && range.is_empty();
                let header = self.call.requestor.fragment(fragment.len(), is_last).ok_or(CallError::Unexpected)?;
                headers.push((header, fragment));
                if range.is_empty() || bytes + most > allowed || headers.len() >= 256 {
                    break;
                }
            }
            self.pay(bytes).await;
            let mut slices = Vec::with_capacity(1 + headers.len() * 2);
            slices.push(IoSlice::new(&output));
            for (header, fragment) in &headers {
                slices.push(IoSlice::new(header));
                slices.push(IoSlice::new(&self.buffer[fragment.clone()]));
            }
            *self.is_mid_pdu = true;
            write_all(&mut self.call.stream, &mut slices).await?;
            *self.is_mid_pdu = false;
            if range.is_empty() {
                return Ok(());
            }
        }
    }

    /// Has the kernel send the file.
    async fn by_kernel(&mut self, mut offset: u64, end: u64) -> Result<(), SendError> {
        let mut front = self.call.requestor.take_output();
        while offset < end {
            let most = self.fragment_bytes();
            let bytes = usize::try_from(end - offset).unwrap_or(usize::MAX).min(most);
            let header =
                self.call.requestor.fragment(bytes, offset + bytes as u64 == end).ok_or(CallError::Unexpected)?;
            front.extend_from_slice(&header);
            self.pay(bytes).await;
            let CallStream::Plain(socket) = &self.call.stream else { return Err(CallError::Unexpected.into()) };
            *self.is_mid_pdu = true;
            send_front(socket, &front).await?;
            front.clear();
            let fragment_end = offset + bytes as u64;
            while offset < fragment_end {
                let left = (fragment_end - offset) as usize;
                match ready(socket, || self.file.send(socket, offset, left).map_err(io::Error::from)).await {
                    Ok(0) => return Err(SendError::Short),
                    Ok(sent) => offset += sent as u64,
                    Err(CallError::Lost(error)) => return Err(of_sendfile(error)),
                    Err(error) => return Err(error.into()),
                }
            }
            *self.is_mid_pdu = false;
        }
        Ok(())
    }

    /// Sends the dataset in another transfer syntax.
    pub(super) async fn reencoded(self, mut reencoder: Reencoder) -> Result<(), SendError> {
        let (mut offset, end) = (self.file.dataset_offset(), self.file.bytes());
        let mut output = Vec::new();
        *self.is_mid_pdu = true;
        while offset < end {
            let piece = self.hub.borrow().bandwidth.piece(self.buffer.len());
            let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(piece);
            let read = self.file.read(offset, &mut self.buffer[..wanted]).map_err(SendError::File)?;
            if read < wanted {
                return Err(SendError::Short);
            }
            offset += read as u64;
            let mut rest = &self.buffer[..read];
            while !rest.is_empty() {
                let taken = reencoder.push(rest, &mut output).map_err(SendError::Fault)?;
                rest = &rest[taken..];
                self.call.requestor.push_dataset(&output);
                output.clear();
                self.pay(self.call.requestor.output_bytes()).await;
                self.call.flush().await?;
            }
        }
        reencoder.finish(&mut output).map_err(SendError::Fault)?;
        self.call.requestor.push_dataset(&output);
        self.call.requestor.end_dataset();
        self.pay(self.call.requestor.output_bytes()).await;
        self.call.flush().await?;
        *self.is_mid_pdu = false;
        Ok(())
    }

    /// Waits until the bandwidth allows so many bytes.
    async fn pay(&self, bytes: usize) {
        let at = self.hub.borrow_mut().bandwidth.take(bytes, Instant::now());
        if let Some(at) = at {
            sleep_until(at).await;
        }
    }
}

/// Whether an error of `sendfile` is the socket's or the disk's: they look alike.
fn of_sendfile(error: io::Error) -> SendError {
    match Errno::from_io_error(&error) {
        Some(errno @ (Errno::IO | Errno::INVAL | Errno::NOMEM | Errno::OVERFLOW)) => SendError::File(errno),
        _ => CallError::Lost(error).into(),
    }
}

/// Does something to a socket that takes more, once it does.
async fn ready<T>(socket: &TcpStream, mut act: impl FnMut() -> io::Result<T>) -> Result<T, CallError> {
    loop {
        match socket.try_io(Interest::WRITABLE, &mut act) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done.map_err(CallError::Lost),
        }
        let deadline = Instant::now() + fixed::send_timeout();
        timeout_at(deadline, socket.writable()).await.map_err(|_| CallError::NotRead)?.map_err(CallError::Lost)?;
    }
}

/// Sends bytes behind which more follows at once.
async fn send_front(socket: &TcpStream, mut bytes: &[u8]) -> Result<(), CallError> {
    while !bytes.is_empty() {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        let sent = ready(socket, || rustix::net::send(socket, bytes, flags).map_err(io::Error::from)).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Writes all of `slices`.
async fn write_all(stream: &mut CallStream, slices: &mut [IoSlice<'_>]) -> Result<(), CallError> {
    let mut rest = slices;
    IoSlice::advance_slices(&mut rest, 0); // empty ones in front
    while !rest.is_empty() {
        let write = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, rest));
        let at = Instant::now() + fixed::send_timeout();
        match timeout_at(at, write).await.map_err(|_| CallError::NotRead)?.map_err(CallError::Lost)? {
            0 => return Err(CallError::Lost(io::ErrorKind::WriteZero.into())),
            written => IoSlice::advance_slices(&mut rest, written),
        }
    }
    let flush = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx));
    let at = Instant::now() + fixed::send_timeout();
    timeout_at(at, flush).await.map_err(|_| CallError::NotRead)?.map_err(CallError::Lost)
}
