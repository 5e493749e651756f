//! Temp files: files in `.tidegate/tmp` under a name that is never reused. A temp file is removed on drop unless it was renamed.

use std::ffi::OsStr;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::digest::Recorded;
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::fs::{Errno, Handle, Link, Open, PAGE_BYTES, Taken, write_all_at};
use crate::root::Root;

/// Most decimal digits of a 64-bit number.
const MAX_DIGITS: usize = 20;

/// Makes names for temp files: a random number of this store, then a count. No two stores, and no two files of one store, share a name.
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

/// A file without a final name. Dropping it before it is renamed removes it.
#[derive(Debug)]
pub(crate) struct TempFile<H: Handle> {
    pub(crate) file: H,
    name: String,
    /// The directory that it was created in.
    directory: Arc<H>,
    root: Arc<Root<H>>,
    renamed: AtomicBool,
}

impl<H: Handle> TempFile<H> {
    /// Creates an empty file.
    pub(crate) fn create(root: &Arc<Root<H>>, names: &TempNames) -> Result<Self, StoreError> {
        Self::begin(root, names).map_err(|error| root.temp_failed("create a temp file in", error))
    }

    /// As [`Self::create`], with the bare error of the operating system.
    pub(crate) fn begin(root: &Arc<Root<H>>, names: &TempNames) -> Result<Self, Errno> {
        let name = names.next();
        let mut directory = root.tmp();
        let file = match directory.open(Path::new(&name), Open::New) {
            Err(Errno::NOENT) => {
                directory = root.remake_tmp()?;
                directory.open(Path::new(&name), Open::New)
            }
            opened => opened,
        }?;
        root.set_file_access(&file)?;
        Ok(Self { file, name, directory, root: Arc::clone(root), renamed: AtomicBool::new(false) })
    }

    /// Writes all of `slices` from `offset_bytes` on, without gathering them first. The write is idempotent: any thread may write the
    /// same bytes at the same offset again.
    pub(crate) fn write_at<'a>(
        &self,
        offset_bytes: u64,
        slices: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        self.write_all(offset_bytes, slices).map_err(|error| self.root.temp_failed("write a temp file in", error))
    }

    /// As [`Self::write_at`], with the bare error of the operating system.
    pub(crate) fn write_all<'a>(
        &self,
        offset_bytes: u64,
        slices: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Errno> {
        fault::point(Step::Write)?;
        write_all_at(&self.file, offset_bytes, slices)
    }

    /// As [`Self::write_at`], for data that is synced soon. Whole pages of memory at page-aligned offsets are written to the disk at once,
    /// past the page cache (`O_DIRECT`), if the filesystem supports it. The kernel starts writing back the rest.
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
            // The unaligned rest comes first: its write-back runs meanwhile, and a write that does not extend the file takes fewer locks.
            if !behind.is_empty() {
                let offset_bytes = offset_bytes + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
                write_all_at(&self.file, offset_bytes, behind)?;
                self.start_writing_out(offset_bytes);
            }
            let pages = || slices.iter().copied();
            match fault::point(Step::WriteThrough).and_then(|()| write_all_at(&direct, offset_bytes, pages())) {
                Err(Errno::INVAL) => {
                    self.root.write_through_no_more(); // the filesystem asks for a larger alignment
                    write_all_at(&self.file, offset_bytes, pages())?;
                    self.start_writing_out(offset_bytes);
                    Ok(())
                }
                written => written,
            }
        };
        write().map_err(|error| self.root.temp_failed("write a temp file in", error))
    }

    /// A handle that writes past the page cache; `None` if the filesystem does not support direct I/O.
    fn direct(&self) -> Option<H> {
        if !self.root.writes_through() {
            return None;
        }
        let opened = self.directory.open(Path::new(&self.name), Open::Direct);
        if let Err(Errno::INVAL) = opened {
            self.root.write_through_no_more();
        }
        opened.ok()
    }

    /// Records digest and receipt in an attribute of the file. On a filesystem without attributes the file has none.
    pub(crate) fn record(&self, recorded: Recorded) {
        let _ = recorded.write(&self.file);
    }

    /// Starts the kernel's write-back from `offset_bytes` on, without waiting for it. Files whose write-back runs at the same time become
    /// durable with fewer commits of the filesystem's journal.
    pub(crate) fn start_writing_out(&self, offset_bytes: u64) {
        self.file.start_write_back(offset_bytes, None);
    }

    /// Returns when the data is on the disk.
    pub(crate) fn sync_data(&self) -> Result<(), StoreError> {
        let synced = fault::point(Step::SyncData).and_then(|()| self.file.sync_data());
        self.root.trust.note(synced).map_err(|error| self.root.temp_failed("sync a temp file in", error))
    }

    /// Returns when the file's name is on the disk, for filesystems where a sync of the directory does not ensure that.
    pub(crate) fn sync_name(&self) -> Result<(), StoreError> {
        self.root.trust.note(self.file.sync()).map_err(|error| self.root.failed("sync a file in", error))
    }

    /// Renames the file to its final name; `EXIST` if that name is taken.
    pub(crate) fn rename_to_free(&self, directory: &H, name: &OsStr) -> Result<(), Errno> {
        let renamed = fault::point(Step::Rename)
            .and_then(|()| self.directory.rename(self.name(), directory, Path::new(name), Taken::Fail));
        match renamed {
            // The filesystem has no rename without replacing (NFS, some FUSE). A hard link does not replace either; drop removes the temp name.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match self.directory.link(self.name(), directory, Path::new(name)) {
                    Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => Err(Errno::OPNOTSUPP),
                    linked => linked,
                }
            }
            Ok(()) => {
                self.renamed.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the file a final name beside its own, by the calls of a commit, and removes it again.
    pub(crate) fn try_final_name(&self) -> Result<(), StoreError> {
        let name = format!("{}-final", self.name);
        self.rename_to_free(&self.directory, OsStr::new(&name))
            .map_err(|error| self.root.temp_failed("rename to a final name in", error))?;
        self.directory.unlink(OsStr::new(&name)).map_err(|error| self.root.temp_failed("remove a temp file in", error))
    }

    /// Renames the file to its final name and replaces the file under that name.
    pub(crate) fn rename_over(&self, directory: &H, name: &OsStr) -> Result<(), Errno> {
        self.directory.rename(self.name(), directory, Path::new(name), Taken::Replace)?;
        self.renamed.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the temp name still exists.
    pub(crate) fn exists(&self) -> bool {
        self.directory.stat_at(Path::new(&self.name), Link::NoFollow).is_ok()
    }

    fn name(&self) -> &OsStr {
        OsStr::new(&self.name)
    }
}

/// Cuts `slices` to their leading whole pages of memory, and returns the rest.
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
            // The name is already gone if a commit died between the rename and recording it. Recovery removes files that remain.
            let _ = self.directory.unlink(OsStr::new(&self.name));
        }
    }
}
