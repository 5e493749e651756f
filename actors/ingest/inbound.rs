//! The inbound side of one source. At most one dataset arrives at a time.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use tidegate_memory::{BudgetExhausted, Holder, MemoryLease};

use super::context::Ingest;
use super::dataset::InboundDataset;
use super::description::Description;
use super::sizing::{BULK_SEGMENT, FIRST_SEGMENT, FLOOR_SEGMENT, SpoolExtent, block_for, segment_for};
use crate::refusal::Refusal;

/// Least rest of a fragment that is read directly. For a shorter one, the extra read costs more than it saves.
const MIN_DIRECT_BYTES: usize = 32 * 1024;

/// The dataset that is arriving at a source, if any. `R` is the request that the source answers.
pub(crate) struct Inbound<R> {
    ingest: Arc<Ingest>,
    current: Option<(R, InboundDataset)>,
    /// Whether the last read was direct.
    is_direct: bool,
    /// Bytes of the last complete dataset. The instances of a series have about the same size.
    typical_dataset_bytes: u64,
    /// Whether the dataset stays within the floor segment, and goes to the spool as it arrives: its sender stalls while others wait for
    /// memory.
    is_modest: bool,
}

/// The kind of the next read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextRead {
    /// At most this many bytes, into [`Inbound::direct_target`].
    Direct(usize),
    /// Only the next header, into the source's buffer: a direct read may follow.
    Header,
    /// Into the source's buffer.
    Buffered,
}

impl<R> Inbound<R> {
    pub(crate) fn new(ingest: Arc<Ingest>) -> Self {
        Self { ingest, current: None, is_direct: false, typical_dataset_bytes: 0, is_modest: false }
    }

    /// Begins a dataset. A dataset that is refused already is discarded while it arrives, and answered at its end.
    pub(crate) fn begin(&mut self, request: R, description: Result<Description, Refusal>) {
        self.is_direct = false;
        self.is_modest = false;
        self.current = Some((request, InboundDataset::new(description, self.ingest.clone())));
    }

    /// Whether a dataset is arriving.
    pub(crate) fn is_receiving(&self) -> bool {
        self.current.is_some()
    }

    /// The request whose dataset is arriving.
    pub(crate) fn request(&self) -> Option<&R> {
        self.current.as_ref().map(|(request, _)| request)
    }

    /// From here on the dataset leases nothing that it can do without.
    pub(crate) fn be_modest(&mut self) {
        self.is_modest = true;
        self.is_direct = false;
    }

    /// The share of `bytes` that may be leased for the dataset; `None`: everything that can be spooled must be.
    fn permitted(&self, bytes: usize) -> Option<usize> {
        if self.is_modest { None } else { self.ingest.under_pressure(bytes) }
    }

    /// Drops the arriving dataset without an answer.
    pub(crate) fn discard(&mut self) {
        self.current = None;
    }

    /// Bytes of the dataset so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.dataset().map_or(0, InboundDataset::bytes)
    }

    /// Whether the dataset holds memory that spooling would free.
    pub(crate) fn holds_memory(&self) -> bool {
        self.dataset().is_some_and(InboundDataset::holds_memory)
    }

    /// Adds the next fragment, as [`InboundDataset::push`].
    pub(crate) fn push(
        &mut self,
        fragment: Bytes,
        lease: Option<&Arc<MemoryLease>>,
        holder: &Holder,
    ) -> Result<(), BudgetExhausted> {
        match &mut self.current {
            Some((_, dataset)) => dataset.push(fragment, lease, holder),
            None => Ok(()),
        }
    }

    /// Chooses the read for the next `left` bytes of the dataset, the rest of a fragment. Begins a block for a direct read if necessary.
    pub(crate) fn next_read(&mut self, left: usize, holder: &Holder) -> NextRead {
        if self.current.is_none() {
            return NextRead::Buffered;
        }
        // Many short fragments are read at once, whatever preceded them.
        let was_direct = std::mem::take(&mut self.is_direct);
        if left >= MIN_DIRECT_BYTES || (left > 0 && was_direct) {
            match self.direct_read_bytes(left, holder) {
                0 => NextRead::Buffered,
                bytes => NextRead::Direct(bytes),
            }
        } else if was_direct {
            NextRead::Header
        } else {
            NextRead::Buffered
        }
    }

    /// How many of the next `left` bytes may be read directly; 0: the buffer is used.
    fn direct_read_bytes(&mut self, left: usize, holder: &Holder) -> usize {
        let block = match self.dataset() {
            Some(dataset) if dataset.room() == 0 => self.fitting_block(dataset),
            _ => None,
        };
        let Some((_, dataset)) = &mut self.current else {
            return 0;
        };
        if let Some(bytes) = block {
            dataset.begin_contiguous_block(bytes, holder);
        }
        self.is_direct = dataset.room() > 0;
        dataset.room().min(left)
    }

    /// Size of the next block: for the expected rest of a dataset as long as the previous one, under the present pressure; without a previous
    /// one, at most the bytes received so far. `None`: no block.
    fn fitting_block(&self, dataset: &InboundDataset) -> Option<usize> {
        let bytes = dataset.bytes();
        let rest = self.typical_dataset_bytes.saturating_sub(if dataset.is_contiguous() { bytes } else { 0 });
        self.permitted(block_for(if rest > 0 { rest } else { bytes.next_power_of_two() }))
    }

    /// The target of a direct read of `most` bytes; `None`: no arriving dataset has room.
    pub(crate) fn direct_target(&mut self, most: usize) -> Option<impl BufMut> {
        self.current.as_mut()?.1.direct_target(most)
    }

    /// Accounts for `bytes` that were read directly.
    pub(crate) fn note_direct_read(&mut self, bytes: usize) {
        if let Some((_, dataset)) = &mut self.current {
            dataset.note_direct_read(bytes);
        }
    }

    /// The extent of the dataset that must be spooled now; `None`: nothing. `is_exhausted`: the budget had no memory for the last fragment.
    pub(crate) fn spooling_due(&self, is_exhausted: bool) -> Option<SpoolExtent> {
        let is_pressed = self.permitted(FIRST_SEGMENT).is_none();
        let extent = if is_exhausted || is_pressed { SpoolExtent::Everything } else { SpoolExtent::WholeParts };
        let threshold_bytes = if is_pressed { FLOOR_SEGMENT as u64 } else { self.ingest.spool_threshold_bytes };
        let is_due =
            is_exhausted || self.dataset().is_some_and(|dataset| dataset.wants_spooling(threshold_bytes, extent));
        is_due.then_some(extent)
    }

    /// Largest size of a receive segment of the source; `None`: only its floor segment.
    pub(crate) fn largest_segment(&self) -> Option<usize> {
        let is_spooling = self.dataset().is_some_and(InboundDataset::is_spooling);
        let fitting = if is_spooling { BULK_SEGMENT } else { segment_for(self.typical_dataset_bytes, self.bytes()) };
        self.permitted(fitting)
    }

    /// Takes the dataset out, so that the source can attend to other work while it is spooled. [`Self::put_back`] must follow.
    pub(crate) fn take(&mut self) -> Option<(R, InboundDataset)> {
        self.current.take()
    }

    /// Puts back the dataset that [`Self::take`] took out.
    pub(crate) fn put_back(&mut self, current: (R, InboundDataset)) {
        self.current = Some(current);
    }

    /// Takes the complete dataset, for the source to finish.
    pub(crate) fn complete(&mut self) -> Option<(R, InboundDataset)> {
        let complete = self.current.take()?;
        self.typical_dataset_bytes = complete.1.bytes();
        Some(complete)
    }

    fn dataset(&self) -> Option<&InboundDataset> {
        self.current.as_ref().map(|(_, dataset)| dataset)
    }
}
