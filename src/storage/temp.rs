//! Files being written: in `.tidegate/tmp` under a name never used again, gone when dropped unless renamed.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Advice, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::root::Root;

/// Mode of every file stored; the umask may take more away.
pub(crate) const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// Of a number of 64 bits.
const MAX_DIGITS: usize = 20;

/// Most slices one `writev` takes (`IOV_MAX` of Linux).
const MAX_SLICES: usize = 1024;

/// What is written past the page cache begins and ends on a multiple of this, in memory and in the file: a page, and no less than a
/// block of any disk.
pub(crate) const PAGE_BYTES: usize = 4096;

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
pub(crate) struct TempFile {
    pub(crate) file: File,
    name: String,
    root: Arc<Root>,
    renamed: AtomicBool,
}

impl TempFile {
    /// A new, empty file.
    pub(crate) fn create(root: &Arc<Root>, names: &TempNames) -> Result<Self, StoreError> {
        Self::begin(root, names).map_err(|error| root.failed("create a temp file in", error))
    }

    /// The same, with the bare answer of the operating system.
    pub(crate) fn begin(root: &Arc<Root>, names: &TempNames) -> Result<Self, Errno> {
        Self::open(root, names.next())
    }

    fn open(root: &Arc<Root>, name: String) -> Result<Self, Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = retry_on_intr(|| rustix::fs::openat(&root.tmp, &name, flags, FILE_MODE))?.into();
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
        fault::at(Step::Write)?;
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
            fault::at(Step::Write)?;
            // What is behind comes first: it is on its way meanwhile, and a file that is long enough is written to with fewer locks.
            if !behind.is_empty() {
                let offset_bytes = offset_bytes + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
                write_all_at(&self.file, offset_bytes, behind)?;
                self.start_writing_out(offset_bytes);
            }
            let pages = || slices.iter().copied();
            match fault::at(Step::WriteThrough).and_then(|()| write_all_at(&direct, offset_bytes, pages())) {
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

    /// A descriptor that writes past the page cache; `None` where there is no such thing.
    fn direct(&self) -> Option<File> {
        if !self.root.writes_through() {
            return None;
        }
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = retry_on_intr(|| rustix::fs::openat(&self.root.tmp, &self.name, flags, FILE_MODE));
        if let Err(Errno::INVAL) = opened {
            self.root.write_through_no_more();
        }
        opened.ok().map(File::from)
    }

    /// Notes the digest of what was written at the file. Where the filesystem cannot, the file goes without.
    pub(crate) fn note(&self, digest: Digest) {
        let _ = digest.record(&self.file);
    }

    /// Has the kernel begin writing the data out from `offset_bytes` on, without waiting for it. Files that are on their way
    /// together are made durable together, by fewer commits of the filesystem's journal.
    pub(crate) fn start_writing_out(&self, offset_bytes: u64) {
        start_writing_out(&self.file, offset_bytes, None);
    }

    /// Returns when the data is on the disk.
    pub(crate) fn sync_data(&self) -> Result<(), StoreError> {
        fault::at(Step::SyncData)
            .and_then(|()| retry_on_intr(|| rustix::fs::fdatasync(&self.file)))
            .map_err(|error| self.root.failed("sync a temp file in", error))
    }

    /// Gives the file its final name; `EXIST` if that is taken.
    pub(crate) fn rename_to_free(&self, directory: &File, name: &OsStr) -> Result<(), Errno> {
        let renamed = fault::at(Step::Rename).and_then(|()| {
            rustix::fs::renameat_with(&self.root.tmp, &self.name, directory, name, RenameFlags::NOREPLACE)
        });
        match renamed {
            // The filesystem cannot (NFS, some FUSE). A hard link does not replace either; the temp name goes on drop.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.root.tmp, &self.name, directory, name, AtFlags::empty())
            }
            Ok(()) => {
                self.renamed.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the file its final name, in place of the file that has it.
    pub(crate) fn rename_over(&self, directory: &File, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(&self.root.tmp, &self.name, directory, name)?;
        self.renamed.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the file still stands under its temp name.
    pub(crate) fn exists(&self) -> bool {
        rustix::fs::statat(&self.root.tmp, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
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

/// Has the kernel begin writing `bytes` of `file` to the disk from `offset_bytes` on, or all behind it, without waiting for it.
pub(crate) fn start_writing_out(file: &File, offset_bytes: u64, bytes: Option<NonZeroU64>) {
    // What Linux does first when told that cached pages are not needed. A hint: an error costs nothing but time.
    let _ = rustix::fs::fadvise(file, offset_bytes, bytes, Advice::DontNeed);
}

/// Writes all of `slices` to `file` from `offset_bytes` on, where they lie.
pub(crate) fn write_all_at<'a>(
    file: &File,
    mut offset_bytes: u64,
    slices: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Errno> {
    let mut slices = slices.into_iter().filter(|slice| !slice.is_empty()).map(IoSlice::new);
    let most = slices.size_hint().1.unwrap_or(MAX_SLICES);
    let mut group: Vec<IoSlice<'a>> = Vec::with_capacity(most.min(MAX_SLICES));
    loop {
        group.clear();
        group.extend(slices.by_ref().take(MAX_SLICES));
        if group.is_empty() {
            return Ok(());
        }
        let mut rest = group.as_mut_slice();
        while !rest.is_empty() {
            match retry_on_intr(|| rustix::io::pwritev(file, rest, offset_bytes))? {
                0 => return Err(Errno::IO),
                written => {
                    offset_bytes += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !*self.renamed.get_mut() {
            // Gone already if a commit died between the rename and the note of it. What cannot be removed, recovery finds.
            let _ = rustix::fs::unlinkat(&self.root.tmp, &self.name, AtFlags::empty());
        }
    }
}
