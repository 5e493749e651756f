//! An inbound dataset: one that will be stored, or one that is refused and discarded while it arrives.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tidegate_memory::{BudgetExhausted, Holder, MemoryLease};
use tokio::time::Instant;

use super::assembly::{Assembly, SPOOL_CHUNK};
use super::context::Ingest;
use super::description::Description;
use super::sizing::SpoolExtent;
use crate::mailbox::job::StoreInstance;
use crate::refusal::{Refusal, Refused};

/// A dataset that arrives: an [`Assembly`], or the refusal that its source will answer.
pub(crate) struct InboundDataset {
    ingest: Arc<Ingest>,
    /// Bytes so far.
    bytes: u64,
    began: Instant,
    /// Boxed: it is moved more often than it is allocated.
    assembly: Result<Box<Assembly>, Refused>,
}

impl InboundDataset {
    pub(super) fn new(description: Result<Description, Refusal>, ingest: Arc<Ingest>) -> Self {
        let assembly =
            description.map(|description| Box::new(Assembly::new(description, &ingest))).map_err(Refused::from);
        Self { ingest, bytes: 0, began: Instant::now(), assembly }
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From the command set to `complete`.
    pub(crate) fn receive_time(&self, complete: Instant) -> Duration {
        complete - self.began
    }

    /// Adds the next fragment, a slice of a segment that `lease` pays for.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if small fragments need a block that the budget does not have. The fragment is added all the same, but the dataset
    /// must be spooled before the next one.
    pub(super) fn push(
        &mut self,
        fragment: Bytes,
        lease: Option<&Arc<MemoryLease>>,
        holder: &Holder,
    ) -> Result<(), BudgetExhausted> {
        self.bytes += fragment.len() as u64;
        match &mut self.assembly {
            Ok(assembly) => assembly.push(fragment, lease, holder),
            Err(_) => Ok(()),
        }
    }

    /// Whether the dataset is read directly, if memory permits.
    pub(super) fn is_contiguous(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.is_contiguous())
    }

    /// Bytes that can be read directly into the block in use.
    pub(super) fn room(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| if assembly.is_contiguous() { assembly.room() } else { 0 })
    }

    /// Begins a block of `bytes`, a power of two, for direct reads, unless the budget is exhausted or the dataset stays in slices.
    pub(super) fn begin_contiguous_block(&mut self, bytes: usize, holder: &Holder) {
        if let Ok(assembly) = &mut self.assembly {
            let _ = assembly.begin_contiguous_block(bytes, holder); // without a block, fragments become slices
        }
    }

    /// The target of a direct read of `most` bytes, at most the [room](Self::room).
    pub(super) fn direct_target(&mut self, most: usize) -> Option<impl BufMut> {
        self.assembly.as_mut().ok().map(|assembly| assembly.direct_target(most))
    }

    /// Accounts for `bytes` that were read directly.
    pub(super) fn note_direct_read(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Ok(assembly) = &mut self.assembly {
            assembly.note_direct_read(bytes);
        }
    }

    /// Whether the bytes of `extent` that can be spooled have reached the threshold.
    pub(super) fn wants_spooling(&self, threshold_bytes: u64, extent: SpoolExtent) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| {
            let enough = if assembly.is_spooling() { SPOOL_CHUNK.min(threshold_bytes) } else { threshold_bytes };
            assembly.ready_for_spool(extent) >= enough
        })
    }

    /// Whether the dataset is being spooled as it arrives.
    pub(super) fn is_spooling(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.is_spooling())
    }

    /// Whether the dataset holds memory that spooling would free.
    pub(super) fn holds_memory(&self) -> bool {
        self.assembly.as_ref().is_ok_and(|assembly| assembly.holds_memory())
    }

    /// Sends `extent` of the held bytes to the spool file, as soon as the bound on parts in flight permits. After a failure the rest of
    /// the dataset is discarded.
    pub(crate) async fn spool(&mut self, extent: SpoolExtent) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.spool(extent, &self.ingest).await
        {
            self.assembly = Err(Refused { refusal, study: assembly.study() });
        }
    }

    /// Waits until the spool file has all parts that were sent.
    pub(crate) async fn settle(&mut self) {
        if let Ok(assembly) = &mut self.assembly
            && let Err(refusal) = assembly.settle(&self.ingest).await
        {
            self.assembly = Err(Refused { refusal, study: assembly.study() });
        }
    }

    /// Finishes the dataset, which was complete at `complete`: the instance to be stored, or the refusal.
    pub(crate) async fn finish(self, complete: Instant) -> Result<StoreInstance, Refused> {
        self.ingest.latencies.receive.record(self.receive_time(complete));
        self.assembly?.finish(&self.ingest).await
    }
}
