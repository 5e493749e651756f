//! The choice of the next read: into the receive buffer, or directly into the layout of the file. Datasets in long fragments are read
//! directly, one fragment behind the other, without the headers between them.

use super::connection::Connection;
use super::end::End;
use super::io::ReadTarget;
use crate::ingest::NextRead;
use crate::supervision::liveness::MessageKind;

/// Bytes of a PDU header and a PDV header (PS3.8 §9.3.1, §9.3.5.1).
const HEADERS: usize = 12;

impl Connection {
    /// The target of the next read, with room for it.
    pub(super) async fn read_target(&mut self) -> Result<ReadTarget, End> {
        let left = self.session.dataset_left();
        let mut most = usize::MAX;
        if self.io.unparsed().is_empty() {
            match self.inbound.next_read(left, self.leases.holder()) {
                NextRead::Direct(bytes) => return Ok(ReadTarget::Dataset(bytes)),
                NextRead::Header => most = HEADERS, // without the fragment behind them
                NextRead::Buffered => {}
            }
        }
        self.make_room().await.map_or(Ok(ReadTarget::Buffer(most)), Err)
    }

    /// Accounts for `bytes` of the dataset that were read directly.
    pub(super) async fn on_direct_read(&mut self, bytes: usize) -> Option<End> {
        self.note(MessageKind::Fragment);
        self.session.pass_dataset(bytes);
        if let Some(end) = self.on_dataset_bytes(bytes) {
            return Some(end);
        }
        self.inbound.note_direct_read(bytes);
        self.spool_if_due(false).await;
        None
    }
}
