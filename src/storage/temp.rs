//! Files being written: in `.tidegate/tmp` under a name never used again, gone when dropped unless renamed.

use std::ffi::OsStr;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::fs::{Errno, Handle, Link, Open, PAGE_BYTES, Taken, write_all_at};
use crate::root::Root;

/// Of a number of 64 bits.
const MAX_DIGITS: usize = 20;

/// Makes names for temp files: what this store draws once, then a count. No two stores, nor two files of one, share a name.
#[derive(Debug)]
pub(crate) struct TempNames {
    store: String,
    next: AtomicU64,
}

impl TempNames {
    pub(crate) fn new() -> Self {
        Self { store: format!("{:016x}-", RandomState::new().hash_one(())), next: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        let mut name = String::with_capacity(self.store.len() + MAX_DIGITS);
        name.push_str(&self.store);
        let _ = write!(name, "{}", self.next.fetch_add(1, Ordering::Relaxed)); // a string takes what it is given
        name
    }
}

/// A file on its way to a final name. Dropped before it got one, it is removed.
#[derive(Debug)]
pub(crate) struct TempFile<H: Handle> {
    pub(crate) file: H,
    name: String,
    root: Arc<Root<H>>,
    renamed: AtomicBool,
}

impl<H: Handle> TempFile<H> {
    /// A new, empty file.
    pub(crate) fn create(root: &Arc<Root<H>>, names: &TempNames) -> Result<Self, StoreError> {
        Self::begin(root, names).map_err(|error| root.failed("create a temp file in", error))
    }

    /// The same, with the bare answer of the operating system.
    pub(crate) fn begin(root: &Arc<Root<H>>, names: &TempNames) -> Result<Self, Errno> {
        let name = names.next();
        let file = root.tmp.open(Path::new(&name), Open::New)?;
        Ok(Self { file, name, root: Arc::clone(root), renamed: AtomicBool::new(false) })
    }

    /// Writes all of `slices` from `offset_bytes` on, where they lie: nothing is gathered first. The same bytes may be written
    /// to the same place again, by any thread.
    pub(crate) fn write_at<'a>(
        &self,
        offset_bytes: u64,
        slices: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        self.write_all(offset_bytes, slices).map_err(|error| self.root.failed("write a temp file in", error))
    }

    /// The same, with the bare answer of the operating system.
    pub(crate) fn write_all<'a>(
        &self,
        offset_bytes: u64,
        slices: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Errno> {
        fault::point(Step::Write)?;
        write_all_at(&self.file, offset_bytes, slices)
    }

    /// The same for what is to be synced soon: whole pages of memory that come to lie on whole blocks of the disk go there at once,
    /// without a copy in the page cache (`O_DIRECT`), where the filesystem can. The kernel begins to write out the rest.
    pub(crate) fn write_through<'a>(
        &self,
        offset_bytes: u64,
        slices: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        let mut slices: Vec<_> = slices.into_iter().filter(|slice| !slice.is_empty()).collect();
        let is_on_a_page = offset_bytes.is_multiple_of(PAGE_BYTES as u64);
        let behind = if is_on_a_page { cut_to_pages(&mut slices) } else { Vec::new() };
        let has_pages = is_on_a_page && !slices.is_empty();
        let Some(direct) = has_pages.then(|| self.direct()).flatten() else {
            self.write_at(offset_bytes, slices.into_iter().chain(behind))?;
            self.start_writing_out(offset_bytes);
            return Ok(());
        };
        let write = || {
            fault::point(Step::Write)?;
            // What is behind comes first: it is on its way meanwhile, and a file that is long enough is written to with fewer locks.
            if !behind.is_empty() {
                let offset_bytes = offset_bytes + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
                write_all_at(&self.file, offset_bytes, behind)?;
                self.start_writing_out(offset_bytes);
            }
            let pages = || slices.iter().copied();
            match fault::point(Step::WriteThrough).and_then(|()| write_all_at(&direct, offset_bytes, pages())) {
                Err(Errno::INVAL) => {
                    self.root.write_through_no_more(); // it asks for more than we give
                    write_all_at(&self.file, offset_bytes, pages())?;
                    self.start_writing_out(offset_bytes);
                    Ok(())
                }
                written => written,
            }
        };
        write().map_err(|error| self.root.failed("write a temp file in", error))
    }

    /// A handle that writes past the page cache; `None` where there is no such thing.
    fn direct(&self) -> Option<H> {
        if !self.root.writes_through() {
            return None;
        }
        let opened = self.root.tmp.open(Path::new(&self.name), Open::Direct);
        if let Err(Errno::INVAL) = opened {
            self.root.write_through_no_more();
        }
        opened.ok()
    }

    /// Notes the digest of what was written at the file. Where the filesystem cannot, the file goes without.
    pub(crate) fn note(&self, digest: Digest) {
        let _ = digest.record(&self.file);
    }

    /// Has the kernel begin writing the data out from `offset_bytes` on, without waiting for it. Files that are on their way
    /// together are made durable together, by fewer commits of the filesystem's journal.
    pub(crate) fn start_writing_out(&self, offset_bytes: u64) {
        self.file.start_write_back(offset_bytes, None);
    }

    /// Returns when the data is on the disk.
    pub(crate) fn sync_data(&self) -> Result<(), StoreError> {
        let synced = fault::point(Step::SyncData).and_then(|()| self.file.sync_data());
        self.root.trust.note(synced).map_err(|error| self.root.failed("sync a temp file in", error))
    }

    /// Returns when the file's name is on the disk, where a sync of its directory does not see to that.
    pub(crate) fn sync_name(&self) -> Result<(), StoreError> {
        self.root.trust.note(self.file.sync()).map_err(|error| self.root.failed("sync a file in", error))
    }

    /// Gives the file its final name; `EXIST` if that is taken.
    pub(crate) fn rename_to_free(&self, directory: &H, name: &OsStr) -> Result<(), Errno> {
        let renamed = fault::point(Step::Rename)
            .and_then(|()| self.root.tmp.rename(self.name(), directory, Path::new(name), Taken::Fail));
        match renamed {
            // The filesystem cannot (NFS, some FUSE). A hard link does not replace either; the temp name goes on drop.
            Err(Errno::INVAL | Errno::NOSYS) => self.root.tmp.link(self.name(), directory, Path::new(name)),
            Ok(()) => {
                self.renamed.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the file its final name, in place of the file that has it.
    pub(crate) fn rename_over(&self, directory: &H, name: &OsStr) -> Result<(), Errno> {
        self.root.tmp.rename(self.name(), directory, Path::new(name), Taken::Replace)?;
        self.renamed.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the file still stands under its temp name.
    pub(crate) fn exists(&self) -> bool {
        self.root.tmp.stat_at(Path::new(&self.name), Link::NoFollow).is_ok()
    }

    fn name(&self) -> &OsStr {
        OsStr::new(&self.name)
    }
}

/// Leaves in `slices` what of their beginning is whole pages of memory; gives what comes behind.
fn cut_to_pages<'a>(slices: &mut Vec<&'a [u8]>) -> Vec<&'a [u8]> {
    let begins_a_page = |slice: &[u8]| slice.as_ptr().addr().is_multiple_of(PAGE_BYTES);
    let is_whole = |slice: &&[u8]| begins_a_page(slice) && slice.len().is_multiple_of(PAGE_BYTES);
    let whole = slices.iter().take_while(|slice| is_whole(slice)).count();
    let mut behind = slices.split_off(whole);
    if let Some(last) = behind.first_mut()
        && begins_a_page(last)
    {
        let (pages, rest) = last.split_at(last.len() / PAGE_BYTES * PAGE_BYTES);
        slices.push(pages);
        *last = rest;
    }
    behind
}

impl<H: Handle> Drop for TempFile<H> {
    fn drop(&mut self) {
        if !*self.renamed.get_mut() {
            // Gone already if a commit died between the rename and the note of it. What cannot be removed, recovery finds.
            let _ = self.root.tmp.unlink(OsStr::new(&self.name));
        }
    }
}
