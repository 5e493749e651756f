//! The block device: a volatile write cache over blocks that last. A block is durable once a flush that came after its write has
//! succeeded; a power cut keeps any of the versions written since, block by block.

use std::sync::Arc;

use super::random::Random;
use crate::fs::Errno;

/// Bytes of a page of memory and of a block of the device.
pub(crate) const PAGE_BYTES: usize = 4096;

/// A page of bytes; one of zeros takes no memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page(Option<Arc<[u8; PAGE_BYTES]>>);

impl Page {
    pub(crate) fn of(bytes: &[u8; PAGE_BYTES]) -> Self {
        let is_zero = bytes.chunks_exact(16).all(|chunk| chunk == [0; 16]);
        Self((!is_zero).then(|| Arc::new(*bytes)))
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        if let (0, Ok(whole)) = (at, <&[u8; PAGE_BYTES]>::try_from(bytes)) {
            *self = Self::of(whole);
            return;
        }
        let page = Arc::make_mut(self.0.get_or_insert_with(|| Arc::new([0; PAGE_BYTES])));
        page[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn bytes(&self) -> [u8; PAGE_BYTES] {
        self.0.as_deref().copied().unwrap_or([0; PAGE_BYTES])
    }

    pub(crate) fn read(&self, at: usize, into: &mut [u8]) {
        match &self.0 {
            Some(bytes) => into.copy_from_slice(&bytes[at..at + into.len()]),
            None => into.fill(0),
        }
    }
}

/// A fault of the device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ailment {
    /// Every write fails.
    pub(crate) writes: Option<Errno>,
    /// One write in so many fails.
    pub(crate) one_write_in: u64,
    /// One read in so many fails.
    pub(crate) one_read_in: u64,
    /// Every flush fails.
    pub(crate) flushes: Option<Errno>,
    /// One flush in so many fails.
    pub(crate) one_flush_in: u64,
    /// A thin pool is full: blocks that were never written find no room.
    pub(crate) thin: Option<Errno>,
}

#[derive(Debug, Clone, Default)]
struct Block {
    durable: Page,
    /// Written since the last flush, oldest first.
    volatile: Vec<Page>,
    was_written: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Device {
    blocks: Vec<Block>,
    /// Blocks with something volatile.
    unflushed: Vec<u32>,
    pub(crate) ailment: Ailment,
    /// Errors so far.
    pub(crate) errors: u64,
}

impl Device {
    /// A block that nobody has.
    pub(super) fn allocate(&mut self) -> u32 {
        self.blocks.push(Block::default());
        self.blocks.len() as u32 - 1
    }

    pub(super) fn write(&mut self, block: u32, page: Page, random: &mut Random) -> Result<(), Errno> {
        let at = &mut self.blocks[block as usize];
        let failed = match &self.ailment {
            Ailment { writes: Some(error), .. } => Some(*error),
            Ailment { thin: Some(error), .. } if !at.was_written => Some(*error),
            Ailment { one_write_in, .. } => random.one_in(*one_write_in).then_some(Errno::IO),
        };
        if let Some(error) = failed {
            self.errors += 1;
            return Err(error);
        }
        if at.volatile.is_empty() {
            self.unflushed.push(block);
        }
        at.volatile.push(page);
        at.was_written = true;
        Ok(())
    }

    pub(super) fn read(&mut self, block: u32, random: &mut Random) -> Result<Page, Errno> {
        if random.one_in(self.ailment.one_read_in) {
            self.errors += 1;
            return Err(Errno::IO);
        }
        Ok(self.peek(block).clone())
    }

    pub(super) fn peek(&self, block: u32) -> &Page {
        let block = &self.blocks[block as usize];
        block.volatile.last().unwrap_or(&block.durable)
    }

    pub(super) fn flush(&mut self, random: &mut Random) -> Result<(), Errno> {
        let failed = random.one_in(self.ailment.one_flush_in).then_some(Errno::IO);
        if let Some(error) = self.ailment.flushes.or(self.ailment.writes).or(failed) {
            self.errors += 1;
            return Err(error);
        }
        self.keep(|versions| versions);
        Ok(())
    }

    /// Loses any unflushed versions.
    pub(super) fn power_cut(&mut self, random: &mut Random) {
        // Sometimes all or none: like a device without a cache, or one that writes nothing before a flush.
        match random.below(8) {
            0 => self.keep(|_| 0),
            1 => self.keep(|versions| versions),
            _ => self.keep(|versions| random.index(versions + 1)),
        }
    }

    /// Makes durable that many of the versions of each block.
    fn keep(&mut self, mut kept: impl FnMut(usize) -> usize) {
        for block in std::mem::take(&mut self.unflushed) {
            let block = &mut self.blocks[block as usize];
            let kept = kept(block.volatile.len());
            if let Some(last) = kept.checked_sub(1) {
                block.durable = block.volatile.swap_remove(last);
            }
            block.volatile.clear();
        }
    }
}
