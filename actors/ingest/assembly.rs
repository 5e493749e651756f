//! The bytes of an arriving dataset: slices of receive segments, or a memory image of the file that is read into directly.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tidegate_memory::allocator::prefer_huge_pages;
use tidegate_memory::{BudgetExhausted, Holder, MemoryLease, Stage};
use tidegate_storage::head::{HeadLimits, HeadScan};
use tidegate_storage::meta::FileMeta;
use tidegate_storage::{FileBuilder, Instance, Payload, Placement};

use super::context::Ingest;
use super::description::Description;
use super::sizing::SpoolExtent;
use super::spool::{MAX_PARTS_UNDER_WAY, Spool, SpoolGauge};
use crate::committed::Origin;
use crate::elements::STUDY_INSTANCE_UID;
use crate::gauges::transfers::uid_of;
use crate::mailbox::job::{PartContent, SpoolContent, SpoolPart, SpoolTarget, StoreInstance};
use crate::refusal::{Refusal, Refused};

/// Fragments shorter than this are copied together: a slice of each would cost more memory than it holds.
const SMALL_FRAGMENT: usize = 1024;
/// Bytes of a block that small fragments are copied into.
const BLOCK: usize = 16 * 1024;
/// Bytes of a spool part.
pub(crate) const SPOOL_CHUNK: u64 = 1024 * 1024;
/// At most this many bytes received before the first direct read are copied into the contiguous block. A dataset with more stays in
/// slices.
const MAX_COPIED_BYTES: u64 = 64 * 1024;

/// The bytes of a dataset so far, and the spool file of those that left memory.
pub(super) struct Assembly {
    file: FileBuilder,
    scan: HeadScan,
    slices: Vec<Bytes>,
    /// The leases of `slices`.
    leases: Vec<Arc<MemoryLease>>,
    /// Whether the memory is an image of the file, from the file meta or from the end of the spooled part on, so that later fragments are
    /// read directly.
    is_contiguous: bool,
    /// Bytes in `slices` and `block`.
    held: u64,
    /// Bytes of the file sent to the spool.
    spooled: u64,
    /// The bytes after the last slice, with room for more: small fragments, or direct reads.
    block: BytesMut,
    /// The lease of `block`.
    block_lease: Option<Arc<MemoryLease>>,
    spool: Spool,
    gauge: SpoolGauge,
    placement: Option<Arc<Placement>>,
    origin: Arc<Origin>,
    /// Whether its study was noted with its origin.
    is_noted: bool,
}

impl Assembly {
    pub(super) fn new(description: Description, ingest: &Ingest) -> Self {
        let Description { origin, meta, placement, wanted } = description;
        Self {
            scan: HeadScan::new(&meta.transfer_syntax_uid, wanted, HeadLimits::default()),
            file: FileBuilder::new(meta),
            slices: Vec::new(),
            leases: Vec::new(),
            is_contiguous: false,
            held: 0,
            spooled: 0,
            block: BytesMut::new(),
            block_lease: None,
            spool: Spool::default(),
            gauge: SpoolGauge::new(ingest.counters.clone()),
            placement,
            origin,
            is_noted: false,
        }
    }

    /// As [`InboundDataset::push`](super::dataset::InboundDataset::push).
    pub(super) fn push(
        &mut self,
        mut fragment: Bytes,
        lease: Option<&Arc<MemoryLease>>,
        holder: &Holder,
    ) -> Result<(), BudgetExhausted> {
        let mut first = Ok(());
        if self.scan.is_opening() {
            let Some(opened) = self.scan.open(&fragment) else { return Ok(()) };
            fragment.advance(opened.taken);
            self.begin_file();
            if !opened.first.is_empty() {
                first = self.append(opened.first.into(), None, holder);
            }
            if fragment.is_empty() {
                return first;
            }
        }
        first.and(self.append(fragment, lease, holder))
    }

    /// Begins the file anew if its dataset is in another transfer syntax than announced: its file meta names the true one.
    fn begin_file(&mut self) {
        if let Some(uid) = self.scan.other_transfer_syntax() {
            self.file = FileBuilder::new(FileMeta { transfer_syntax_uid: uid.to_owned(), ..self.file.meta().clone() });
        }
    }

    /// Begins the file of a dataset whose bytes so far are in memory: its transfer syntax has become known.
    fn begin_awaited_file(&mut self) {
        self.begin_file();
        self.slices.iter().for_each(|slice| self.file.update(slice));
        self.file.update(&self.block);
    }

    fn append(
        &mut self,
        fragment: Bytes,
        lease: Option<&Arc<MemoryLease>>,
        holder: &Holder,
    ) -> Result<(), BudgetExhausted> {
        let is_awaited = self.scan.awaits_pixel_data();
        self.note(&fragment);
        let held = self.hold(fragment, lease, holder);
        if is_awaited && !self.scan.awaits_pixel_data() {
            self.begin_awaited_file();
        }
        held
    }

    fn hold(
        &mut self,
        fragment: Bytes,
        lease: Option<&Arc<MemoryLease>>,
        holder: &Holder,
    ) -> Result<(), BudgetExhausted> {
        let fits = fragment.len() <= self.room();
        if fragment.len() >= SMALL_FRAGMENT && !(fits && self.is_contiguous) {
            self.keep(fragment, lease);
            return Ok(());
        }
        if !fits {
            match holder.lease(Stage::Receiving, BLOCK as u64) {
                Ok(lease) => self.begin_block(BLOCK, lease),
                Err(exhausted) => {
                    self.keep(fragment, lease);
                    return Err(exhausted);
                }
            }
        }
        self.block.extend_from_slice(&fragment);
        Ok(())
    }

    /// Whether later fragments are read directly, if memory permits.
    pub(super) fn is_contiguous(&self) -> bool {
        self.is_contiguous
    }

    /// Free bytes of the block in use.
    pub(super) fn room(&self) -> usize {
        self.block.capacity() - self.block.len()
    }

    /// Leases and begins a block of `bytes`, a power of two, for the next direct reads. The first block of a dataset also takes the file
    /// meta and the bytes so far. Does nothing in a dataset that stays in slices, or whose transfer syntax is not known.
    pub(super) fn begin_contiguous_block(&mut self, bytes: usize, holder: &Holder) -> Result<(), BudgetExhausted> {
        if self.scan.is_opening() || self.scan.awaits_pixel_data() {
            return Ok(());
        }
        let lease = |bytes: usize| holder.lease(Stage::Receiving, bytes as u64);
        if self.is_contiguous {
            self.begin_block(bytes, lease(bytes)?);
        } else if self.spooled == 0 && self.held <= MAX_COPIED_BYTES {
            let meta = self.file.encoded_meta().clone();
            let bytes = bytes.max((meta.len() + self.held as usize + 1).next_power_of_two());
            self.begin_block(bytes, lease(bytes)?);
            self.is_contiguous = true;
            self.held += meta.len() as u64;
            self.block.extend_from_slice(&meta);
            self.slices.drain(..).for_each(|slice| self.block.extend_from_slice(&slice));
            self.leases.clear();
        } else {
            return Ok(());
        }
        prefer_huge_pages(self.block.spare_capacity_mut());
        Ok(())
    }

    /// The target of a direct read of `most` bytes: the block in use, which has room for them.
    pub(super) fn direct_target(&mut self, most: usize) -> impl BufMut {
        (&mut self.block).limit(most)
    }

    /// Accounts for `bytes` that were read directly.
    pub(super) fn note_direct_read(&mut self, bytes: usize) {
        let block = std::mem::take(&mut self.block);
        self.note(&block[block.len() - bytes..]);
        self.block = block;
        if self.room() == 0 {
            self.close_block();
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        // A file that is awaited gets all that is held once it begins.
        if !self.scan.awaits_pixel_data() {
            self.file.update(bytes);
        }
        let _ = self.scan.feed(bytes); // an error shows in finish()
        self.held += bytes.len() as u64;
        if !self.is_noted
            && let Some(study) = self.study()
        {
            self.origin.note_study(&study);
            self.is_noted = true;
        }
    }

    /// Chooses the transfer syntax of the file now, if it still depends on the pixel data.
    fn settle_transfer_syntax(&mut self) {
        if self.scan.awaits_pixel_data() {
            self.scan.settle_transfer_syntax();
            self.begin_awaited_file();
        }
    }

    /// Whether any part is in the spool file or in flight to it.
    pub(super) fn is_spooling(&self) -> bool {
        self.spool.is_used()
    }

    /// Bytes of the extent that can be spooled now.
    pub(super) fn ready_for_spool(&self, extent: SpoolExtent) -> u64 {
        if self.keeps_block(extent) { self.held - self.block.len() as u64 } else { self.held }
    }

    /// Whether the block in use stays in memory when `extent` is spooled.
    fn keeps_block(&self, extent: SpoolExtent) -> bool {
        extent == SpoolExtent::WholeParts && self.is_contiguous
    }

    /// Whether the dataset holds memory that spooling would free.
    pub(super) fn holds_memory(&self) -> bool {
        self.held > 0 || self.spool.is_busy()
    }

    /// As [`InboundDataset::spool`](super::dataset::InboundDataset::spool).
    pub(super) async fn spool(&mut self, extent: SpoolExtent, ingest: &Ingest) -> Result<(), Refusal> {
        self.spool.settle(MAX_PARTS_UNDER_WAY - 1, ingest).await?;
        if !self.keeps_block(extent) {
            self.close_block();
        }
        if extent == SpoolExtent::Everything && self.block.is_empty() {
            (self.block, self.block_lease) = (BytesMut::new(), None);
        }
        if self.slices.is_empty() {
            return Ok(());
        }
        if !self.spool.is_used() {
            self.settle_transfer_syntax();
        }
        if self.spooled == 0 && !self.is_contiguous {
            let meta = self.file.encoded_meta().clone();
            self.held += meta.len() as u64;
            self.slices.insert(0, meta);
        }
        let spool = match &self.spool.file {
            Some(file) => SpoolTarget::Open(file.clone()),
            None => {
                ingest.counters.spooled(ingest.spool_reason(extent)).increment();
                SpoolTarget::New { meta_bytes: self.file.encoded_meta().len() as u64 }
            }
        };
        if self.block.is_empty() {
            (self.block, self.block_lease) = (BytesMut::new(), None);
        }
        let offset_bytes = self.spooled;
        let bytes = self.held - self.block.len() as u64;
        self.held -= bytes;
        self.spooled += bytes;
        self.gauge.add(bytes);
        let content =
            SpoolContent { slices: std::mem::take(&mut self.slices), leases: std::mem::take(&mut self.leases) };
        self.spool
            .send(SpoolPart { spool, offset_bytes, content: Mutex::new(PartContent::Held(content)) }, ingest)
            .await
    }

    /// Waits until the spool file has all parts that were sent.
    pub(super) async fn settle(&mut self, ingest: &Ingest) -> Result<(), Refusal> {
        self.spool.settle(0, ingest).await
    }

    /// Finishes the dataset: the instance to be stored, or its refusal.
    pub(super) async fn finish(mut self, ingest: &Ingest) -> Result<StoreInstance, Refused> {
        if let Some(opened) = self.scan.open_at_end() {
            self.begin_file();
            let is_awaited = self.scan.awaits_pixel_data();
            self.note(&opened.first);
            self.keep(opened.first.into(), None);
            if is_awaited && !self.scan.awaits_pixel_data() {
                self.begin_awaited_file();
            }
        }
        self.settle_transfer_syntax();
        if let Err(refusal) = self.spool_the_rest(ingest).await {
            return Err(Refused { refusal, study: self.study() });
        }
        self.close_block();
        let study = self.study();
        let head = match self.scan.finish() {
            Ok(head) => head,
            Err(error) => return Err(Refused { refusal: error.into(), study }),
        };
        if let Err(mismatch) = head.check(self.file.meta()) {
            return Err(Refused { refusal: mismatch.into(), study });
        }
        let payload = match (&self.spool.file, self.is_contiguous) {
            (Some(spool), _) => Payload::Spooled(spool.file().clone()),
            (None, true) => Payload::Contiguous(self.slices),
            (None, false) => Payload::Memory(self.slices),
        };
        let instance = Instance::new(self.file, head, payload);
        let instance = match self.placement {
            Some(placement) => instance.with_placement(placement),
            None => instance,
        };
        Ok(StoreInstance { instance, origin: self.origin, leases: self.leases, spool: self.spool.file })
    }

    /// Sends the rest of a spooled dataset to its file, and waits until the file has all of it.
    async fn spool_the_rest(&mut self, ingest: &Ingest) -> Result<(), Refusal> {
        if self.spool.is_used() {
            self.spool(SpoolExtent::Everything, ingest).await?;
            self.settle(ingest).await?;
        }
        Ok(())
    }

    /// The Study Instance UID, if the head has told it so far.
    pub(super) fn study(&self) -> Option<String> {
        uid_of(self.scan.value(STUDY_INSTANCE_UID))
    }

    fn begin_block(&mut self, bytes: usize, lease: MemoryLease) {
        self.close_block();
        self.block = BytesMut::with_capacity(bytes);
        self.block_lease = Some(Arc::new(lease));
    }

    /// Splits the bytes of the block off as a slice; later bytes follow behind it.
    fn close_block(&mut self) {
        if !self.block.is_empty() {
            let slice = self.block.split().freeze();
            let lease = self.block_lease.clone();
            self.add(slice, lease.as_ref());
        }
    }

    fn keep(&mut self, fragment: Bytes, lease: Option<&Arc<MemoryLease>>) {
        self.close_block();
        self.add(fragment, lease);
    }

    fn add(&mut self, slice: Bytes, lease: Option<&Arc<MemoryLease>>) {
        if let Some(lease) = lease
            && !self.leases.last().is_some_and(|last| Arc::ptr_eq(last, lease))
        {
            self.leases.push(lease.clone());
        }
        self.slices.push(slice);
    }
}
