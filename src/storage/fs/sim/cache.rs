//! The page cache: writes go to it, and from it to the device by write-back or by a sync.

use std::collections::BTreeMap;

use super::disk::{PAGE_BYTES, Page};
use super::journal::{Change, Key};
use super::volume::Volume;
use crate::fs::{Errno, FilesystemKind, Kind};

const PAGE: u64 = PAGE_BYTES as u64;

#[derive(Debug, Clone)]
struct Cached {
    page: Page,
    is_dirty: bool,
}

/// The pages of a file in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache {
    /// The length as a process sees it.
    pub(super) bytes: u64,
    pages: BTreeMap<u32, Cached>,
    dirty: u32,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Whether `bytes` can be the content, judged by the pages in memory.
    pub(super) fn may_hold(&self, bytes: &[u8]) -> bool {
        let pages = bytes.chunks(PAGE_BYTES).enumerate();
        self.bytes == bytes.len() as u64
            && pages.into_iter().all(|(number, part)| {
                let cached = self.pages.get(&(number as u32));
                cached.is_none_or(|cached| cached.page.bytes()[..part.len()] == *part)
            })
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty > 0
    }

    pub(super) fn dirty_pages(&self) -> impl Iterator<Item = u32> + '_ {
        self.pages.iter().filter(|(_, cached)| cached.is_dirty).map(|(page, _)| *page)
    }

    /// The page as it is in memory from now on; whether it was dirty before.
    fn put(&mut self, number: u32, page: Page, is_dirty: bool) -> bool {
        let before = self.pages.insert(number, Cached { page, is_dirty }).is_some_and(|before| before.is_dirty);
        self.dirty += u32::from(is_dirty);
        self.dirty -= u32::from(before);
        before
    }

    /// Takes the page out of memory; whether it was dirty.
    fn take(&mut self, number: u32) -> bool {
        let was_dirty = self.pages.remove(&number).is_some_and(|cached| cached.is_dirty);
        self.dirty -= u32::from(was_dirty);
        was_dirty
    }
}

impl Volume {
    /// Writes to the page cache from `offset_bytes` on while there is room, and returns the number of bytes.
    pub(super) fn write_cached(&mut self, key: Key, offset_bytes: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut written = 0;
        while written < bytes.len() {
            let at_bytes = offset_bytes + written as u64;
            let (number, at) = ((at_bytes / PAGE) as u32, (at_bytes % PAGE) as usize);
            let part = &bytes[written..bytes.len().min(written + PAGE_BYTES - at)];
            match self.write_page(key, number, at, part) {
                Ok(()) => written += part.len(),
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
            let inode = self.inode_mut(key)?;
            inode.cache.bytes = inode.cache.bytes.max(offset_bytes + written as u64);
        }
        let now_ms = self.time_of_day_ms();
        self.change(key, Change::Other, |meta| meta.modified_ms = now_ms)?;
        Ok(written)
    }

    fn write_page(&mut self, key: Key, number: u32, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        let mut page = match bytes.len() {
            PAGE_BYTES => Page::default(),
            _ => self.page(key, number)?,
        };
        page.write(at, bytes);
        let free_blocks = self.free_blocks();
        let inode = self.inode_mut(key)?;
        let is_allocated = inode.meta.extents.contains_key(&number);
        let was_dirty = inode.cache.pages.get(&number).is_some_and(|cached| cached.is_dirty);
        let reserves = !is_allocated && !was_dirty;
        if reserves && free_blocks == 0 {
            return Err(Errno::NOSPC);
        }
        inode.cache.put(number, page, true);
        self.reserved_blocks += u64::from(reserves);
        Ok(())
    }

    /// The page as a process reads it.
    fn page(&mut self, key: Key, number: u32) -> Result<Page, Errno> {
        let inode = self.inode(key)?;
        if let Some(cached) = inode.cache.pages.get(&number) {
            return Ok(cached.page.clone());
        }
        let page = self.page_on_device(key, number)?;
        self.inode_mut(key)?.cache.put(number, page.clone(), false);
        Ok(page)
    }

    fn page_on_device(&mut self, key: Key, number: u32) -> Result<Page, Errno> {
        match self.inode(key)?.meta.extents.get(&number) {
            Some(block) => self.device.read(*block, &mut self.random),
            None => Ok(Page::default()),
        }
    }

    /// The bytes of a page as a process would read them, without a trace.
    pub(super) fn peek(&self, key: Key, number: u32) -> [u8; PAGE_BYTES] {
        let cached = self.inode(key).ok().and_then(|inode| inode.cache.pages.get(&number));
        cached.map_or_else(|| self.peek_on_device(key, number), |cached| cached.page.bytes())
    }

    pub(super) fn peek_on_device(&self, key: Key, number: u32) -> [u8; PAGE_BYTES] {
        let extent = self.inode(key).ok().and_then(|inode| inode.meta.extents.get(&number));
        extent.map_or([0; PAGE_BYTES], |block| self.device.peek(*block).bytes())
    }

    /// Reads through the page cache, or past it.
    pub(super) fn read(
        &mut self,
        key: Key,
        is_direct: bool,
        offset_bytes: u64,
        into: &mut [u8],
    ) -> Result<usize, Errno> {
        let end_bytes = self.inode(key)?.cache.bytes.min(offset_bytes + into.len() as u64);
        if is_direct && offset_bytes < end_bytes {
            // The kernel writes out what is dirty there, and waits for it.
            for number in (offset_bytes / PAGE) as u32..end_bytes.div_ceil(PAGE) as u32 {
                self.write_back(key, number)?;
            }
        }
        let mut at_bytes = offset_bytes;
        while at_bytes < end_bytes {
            let (number, at) = ((at_bytes / PAGE) as u32, (at_bytes % PAGE) as usize);
            let part = (end_bytes - at_bytes).min(PAGE - at as u64) as usize;
            let page = match is_direct {
                true => self.page_on_device(key, number)?,
                false => self.page(key, number)?,
            };
            let begin = (at_bytes - offset_bytes) as usize;
            page.read(at, &mut into[begin..begin + part]);
            at_bytes += part as u64;
        }
        Ok(at_bytes.saturating_sub(offset_bytes) as usize)
    }

    /// Writes past the page cache. The data are on the device then, but not flushed.
    pub(super) fn write_direct(&mut self, key: Key, offset_bytes: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let mut written = 0;
        while written < bytes.len() {
            let at_bytes = offset_bytes + written as u64;
            let (number, at) = ((at_bytes / PAGE) as u32, (at_bytes % PAGE) as usize);
            let part = &bytes[written..bytes.len().min(written + PAGE_BYTES - at)];
            match self.write_page_direct(key, number, at, part) {
                Ok(()) => written += part.len(),
                Err(error) if written == 0 => return Err(error),
                Err(_) => break,
            }
        }
        let now_ms = self.time_of_day_ms();
        self.change(key, Change::Other, |meta| meta.modified_ms = now_ms)?;
        Ok(written)
    }

    fn write_page_direct(&mut self, key: Key, number: u32, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        let extent = self.inode(key)?.meta.extents.get(&number).copied();
        if extent.is_none() {
            self.check_journal()?;
        }
        self.write_back(key, number)?;
        let extent = self.inode(key)?.meta.extents.get(&number).copied();
        if extent.is_none() && self.free_blocks() == 0 {
            return Err(Errno::NOSPC);
        }
        let mut page = match bytes.len() {
            PAGE_BYTES => Page::default(),
            _ => self.page_on_device(key, number)?,
        };
        page.write(at, bytes);
        self.inode_mut(key)?.cache.take(number);
        let block = extent.unwrap_or_else(|| self.device.allocate());
        self.device.write(block, page, &mut self.random)?;
        let end_bytes = u64::from(number) * PAGE + (at + bytes.len()) as u64;
        let inode = self.inode_mut(key)?;
        let bytes = inode.cache.bytes.max(end_bytes);
        inode.cache.bytes = bytes;
        if extent.is_none() || inode.meta.bytes < end_bytes {
            self.used_blocks += u64::from(extent.is_none());
            self.change(key, Change::Layout, |meta| {
                meta.extents.insert(number, block);
                meta.bytes = meta.bytes.max(end_bytes);
            })?;
        }
        Ok(())
    }

    /// Writes a page to the device if it is dirty. If that fails it is clean all the same, and the error is remembered.
    pub(super) fn write_back(&mut self, key: Key, number: u32) -> Result<(), Errno> {
        if self.nature.kind == FilesystemKind::Memory {
            return Ok(());
        }
        let inode = self.inode_mut(key)?;
        let Some(cached) = inode.cache.pages.get(&number).filter(|cached| cached.is_dirty) else {
            return Ok(());
        };
        let page = cached.page.clone();
        let extent = inode.meta.extents.get(&number).copied();
        self.check_journal()?; // it stays dirty
        self.inode_mut(key)?.cache.put(number, page.clone(), false);
        self.reserved_blocks -= u64::from(extent.is_none());
        let block = extent.unwrap_or_else(|| self.device.allocate());
        if let Err(error) = self.device.write(block, page, &mut self.random) {
            self.inode_mut(key)?.errors.set(error);
            self.errors.set(error);
            self.allocate_delayed(key)?;
            return Err(error);
        }
        let inode = self.inode(key)?;
        let end_bytes = inode.cache.bytes.min((u64::from(number) + 1) * PAGE);
        if extent.is_none() || inode.meta.bytes < end_bytes {
            self.used_blocks += u64::from(extent.is_none());
            self.change(key, Change::Layout, |meta| {
                meta.extents.insert(number, block);
                meta.bytes = meta.bytes.max(end_bytes);
            })?;
        }
        Ok(())
    }

    /// Allocates what was delayed: the length goes to the journal, the data not yet to the disk. XFS has them go together.
    fn allocate_delayed(&mut self, key: Key) -> Result<(), Errno> {
        if self.nature.kind == FilesystemKind::Xfs {
            return Ok(());
        }
        let inode = self.inode(key)?;
        let bytes = inode.cache.bytes;
        if inode.meta.bytes < bytes && self.journal.aborted.is_none() {
            self.change(key, Change::Layout, |meta| meta.bytes = bytes)?;
        }
        Ok(())
    }

    /// Writes back every dirty page of a file; the first error.
    pub(super) fn write_back_file(&mut self, key: Key) -> Result<(), Errno> {
        let dirty: Vec<u32> = self.inode(key)?.cache.dirty_pages().collect();
        let mut written = Ok(());
        for page in dirty {
            written = written.and(self.write_back(key, page));
        }
        written
    }

    /// The kernel's own work: writes back and drops some pages of any file.
    pub(super) fn background(&mut self) {
        let live = self.inodes.len();
        let key = self.random.index(live) as Key;
        let Ok(inode) = self.inode(key) else { return };
        if inode.meta.kind != Kind::File {
            return;
        }
        match self.random.below(6) {
            0 => {
                let _ = self.allocate_delayed(key);
            }
            1 | 2 => {
                let _ = self.write_back_file(key); // it is remembered
            }
            3 => {
                let pages = self.inode(key).map_or(0, |inode| inode.pages());
                if pages > 0 {
                    let page = self.random.below(u64::from(pages)) as u32;
                    let _ = self.write_back(key, page);
                }
            }
            4 => self.drop_clean(key),
            _ => {
                if let Ok(inode) = self.inode_mut(key)
                    && inode.handles == 0
                    && !inode.cache.is_dirty()
                {
                    inode.evict();
                }
            }
        }
    }

    /// Drops the clean pages of a file: a later read sees the disk.
    pub(super) fn drop_clean(&mut self, key: Key) {
        if let Ok(inode) = self.inode_mut(key) {
            inode.cache.pages.retain(|_, cached| cached.is_dirty);
        }
    }

    pub(super) fn truncate(&mut self, key: Key, bytes: u64) -> Result<(), Errno> {
        self.check_journal()?;
        let end = bytes.div_ceil(PAGE) as u32;
        if bytes < self.inode(key)?.cache.bytes {
            if !bytes.is_multiple_of(PAGE) {
                let at = (bytes % PAGE) as usize;
                let zeros = [0; PAGE_BYTES];
                self.write_page(key, end - 1, at, &zeros[at..])?;
            }
            let inode = self.inode_mut(key)?;
            let gone: Vec<u32> = inode.cache.pages.range(end..).map(|(page, _)| *page).collect();
            let mut unreserved = 0;
            for page in gone {
                unreserved += u64::from(inode.cache.take(page) && !inode.meta.extents.contains_key(&page));
            }
            let freed = inode.meta.extents.range(end..).count() as u64;
            self.reserved_blocks -= unreserved;
            self.used_blocks -= freed;
        }
        self.inode_mut(key)?.cache.bytes = bytes;
        let now_ms = self.time_of_day_ms();
        self.change(key, Change::Layout, |meta| {
            drop(meta.extents.split_off(&end));
            meta.bytes = bytes;
            (meta.modified_ms, meta.changed_ms) = (now_ms, now_ms);
        })
    }
}
