//! Where the next bytes of a peer are read to: into the receive buffer, or straight into the layout of the file. Datasets that come in
//! long fragments are read directly, one fragment behind the other, without the headers in between.

use tidegate_protocol::StoreRequest;

use super::connection::Connection;
use super::end::End;
use super::receive_buffer::ReceiveBuffer;
use crate::ingest::{Inbound, NextRead};
use crate::supervision::liveness::MessageKind;
use crate::transport::Transport;

/// Bytes of a PDU header and that of a PDV (PS3.8 §9.3.1, §9.3.5.1).
const HEADERS: usize = 12;

/// Where a read goes to, and how many bytes at the most.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadTarget {
    /// To be parsed.
    Buffer(usize),
    /// Into the inbound dataset: the bytes belong to it and need no parsing.
    Dataset(usize),
}

impl Connection {
    /// Where the next read goes to, which has room for it.
    pub(super) async fn read_target(&mut self) -> Result<ReadTarget, End> {
        let left = self.protocol.dataset_left();
        let mut most = usize::MAX;
        if self.buffer.bytes().is_empty() {
            match self.inbound.next_read(left, &self.holder) {
                NextRead::Direct(bytes) => return Ok(ReadTarget::Dataset(bytes)),
                NextRead::Header => most = HEADERS, // and nothing of the fragment behind them
                NextRead::Buffered => {}
            }
        }
        self.make_room().await.map_or(Ok(ReadTarget::Buffer(most)), Err)
    }

    /// So many bytes of the dataset were read directly.
    pub(super) async fn on_direct_read(&mut self, bytes: usize) -> Option<End> {
        self.note(MessageKind::Fragment);
        self.protocol.pass_dataset(bytes);
        if let Some(end) = self.on_dataset_bytes(bytes) {
            return Some(end);
        }
        self.inbound.note_direct_read(bytes);
        self.spool_if_due(false).await;
        None
    }
}

/// Reads what the peer has sent to its target. 0: the peer has closed.
pub(super) async fn read(
    target: ReadTarget,
    transport: &mut Transport,
    buffer: &mut ReceiveBuffer,
    inbound: &mut Inbound<StoreRequest>,
) -> std::io::Result<usize> {
    let (ReadTarget::Dataset(most) | ReadTarget::Buffer(most)) = target;
    if let ReadTarget::Dataset(_) = target
        && let Some(mut dataset) = inbound.direct_target(most)
    {
        return transport.read_buf(&mut dataset).await;
    }
    buffer.read_from(transport, most).await
}
