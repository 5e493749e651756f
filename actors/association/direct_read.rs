//! Datasets that come in long fragments are read to where they belong: one behind the other in memory, as they are to be in the
//! file, without the headers in between. So they can go to the disk without being copied once more.

use super::connection::Connection;
use super::end::End;
use super::receive_buffer::{BULK_SEGMENT, FIRST_SEGMENT};
use crate::supervision::liveness::MessageKind;

/// Bytes of a PDU header and that of a PDV (PS3.8 §9.3.1, §9.3.5.1).
const HEADERS: usize = 12;
/// Bytes of a fragment still to come from which on a dataset is read directly: two reads for less cost more than they spare.
const MIN_DIRECT_BYTES: usize = 32 * 1024;

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
        if self.buffer.bytes().is_empty()
            && let Some(inbound) = &mut self.inbound
        {
            // Short fragments are read many at a time, whatever came before them.
            let was_direct = std::mem::take(&mut inbound.is_direct);
            if left >= MIN_DIRECT_BYTES || (left > 0 && was_direct) {
                let bytes = self.direct_read_bytes(left);
                if bytes > 0 {
                    return Ok(ReadTarget::Dataset(bytes));
                }
            } else if was_direct {
                most = HEADERS; // and nothing of the fragment behind them
            }
        }
        self.make_room().await.map_or(Ok(ReadTarget::Buffer(most)), Err)
    }

    /// How many of the next `left` bytes may be read directly; 0 if they go through the buffer.
    fn direct_read_bytes(&mut self, left: usize) -> usize {
        let is_full = self.inbound.as_ref().is_some_and(|inbound| inbound.room() == 0);
        let block = if is_full { self.fitting_block() } else { None };
        let Some(inbound) = &mut self.inbound else {
            return 0;
        };
        if let Some(bytes) = block {
            inbound.begin_contiguous_block(bytes, &self.holder);
        }
        inbound.is_direct = inbound.room() > 0;
        inbound.room().min(left)
    }

    /// Bytes of a block for a dataset like the one before, or for what is yet to come of it, under the present pressure; without one
    /// before it, no more than has come already. `None`: there should be no block.
    fn fitting_block(&self) -> Option<usize> {
        let (bytes, is_contiguous) =
            self.inbound.as_ref().map_or((0, false), |inbound| (inbound.bytes, inbound.is_contiguous()));
        let rest = self.typical_dataset_bytes.saturating_sub(if is_contiguous { bytes } else { 0 });
        self.under_pressure(block_for(if rest > 0 { rest } else { bytes.next_power_of_two() }))
    }

    /// So many bytes of the dataset were read directly.
    pub(super) async fn on_direct_read(&mut self, bytes: usize) -> Option<End> {
        self.note(MessageKind::Fragment);
        self.protocol.pass_dataset(bytes);
        if let Some(end) = self.on_dataset_bytes(bytes) {
            return Some(end);
        }
        if let Some(inbound) = &mut self.inbound {
            inbound.note_direct_read(bytes);
        }
        self.spool_if_due(false).await;
        None
    }
}

/// Bytes of a block that holds `rest`, or as much of it as leaves no more than a quarter of the block empty: a power of two, which is
/// what the allocator has without a loss.
fn block_for(rest: u64) -> usize {
    let whole = rest.clamp(FIRST_SEGMENT as u64, BULK_SEGMENT as u64).next_power_of_two();
    let is_filled = rest >= whole - whole / 4;
    (if is_filled { whole } else { whole / 2 }).max(FIRST_SEGMENT as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_filled_or_as_small_as_there_are() {
        const KIB: u64 = 1024;
        for (rest, block) in [
            (1, 64),
            (64, 64),
            (65, 64),
            (96, 128),
            (257, 256),
            (300, 256),
            (400, 512),
            (512, 512),
            (513, 512),
            (700, 512),
        ] {
            assert_eq!(block_for(rest * KIB), block * 1024, "{rest} KiB");
        }
        assert_eq!(block_for(u64::MAX), BULK_SEGMENT);
        assert_eq!(block_for(0), FIRST_SEGMENT);
    }
}
