//! One file of the commit log.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::pages::Pages;
use super::record::{PAGE_BYTES, SegmentHeader};
use crate::error::{OpenError, StoreError};
use crate::fault::{self, Step};
use crate::temp::{FILE_MODE, start_writing_out, write_all_at};

/// What a segment is laid out with when it is made.
const FIRST_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

/// Zeros that are synced together: syncs of the other segment wait for that much and not for more.
const LAID_OUT_AT_ONCE_BYTES: u64 = 2 << 20;

const ZEROS: &[u8] = &[0; PAGE_BYTES as usize];

/// A segment's file, open for as long as the log is.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    /// The same past the page cache, where the filesystem can.
    direct: Option<File>,
    laid_out_bytes: AtomicU64,
    generation: AtomicU64,
    distrusted: AtomicBool,
}

pub(super) fn name(number: usize) -> String {
    format!("segment-{number}")
}

impl Segment {
    /// Makes segment `number` empty, durably but for its name.
    pub(super) fn create(directory: &File, path: &Path, number: usize, generation: u64) -> Result<Self, OpenError> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let failed = |what| move |source| OpenError::Io { what, path: path.join(name(number)), source };
        let open =
            |flags| retry_on_intr(|| rustix::fs::openat(directory, name(number), flags, FILE_MODE)).map(File::from);
        let file = open(flags).map_err(failed("open"))?;
        let direct = open(flags | OFlags::DIRECT).ok();
        let size = rustix::fs::fstat(&file).map_err(failed("examine"))?.st_size;
        let laid_out_bytes = u64::try_from(size).unwrap_or(0) / PAGE_BYTES * PAGE_BYTES;
        let mut segment = Self {
            file,
            direct,
            laid_out_bytes: AtomicU64::new(laid_out_bytes),
            generation: AtomicU64::new(generation),
            distrusted: AtomicBool::new(false),
        };
        let make = |segment: &Self| segment.lay_out(FIRST_BYTES).and_then(|()| segment.mark_free(generation));
        let made = match make(&segment) {
            // Past the cache it asks for more than we give.
            Err(Errno::INVAL) if segment.direct.take().is_some() => make(&segment),
            made => made,
        };
        made.map_err(failed("write"))?;
        Ok(segment)
    }

    pub(super) fn open_to_read(directory: &File, number: usize) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(directory, name(number), flags, Mode::empty()).map(File::from)
    }

    pub(super) fn is_linked(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// Writes `pieces` from `offset_bytes` on, a multiple of a page, past the page cache by way of `pages`; they are not durable yet.
    pub(super) fn write<'a>(
        &self,
        offset_bytes: u64,
        pieces: impl Iterator<Item = &'a [u8]>,
        pages: &mut Pages,
    ) -> Result<(), Errno> {
        fault::at(Step::Log)?;
        pages.write(self.writable(), offset_bytes, pieces)
    }

    fn writable(&self) -> &File {
        self.direct.as_ref().unwrap_or(&self.file)
    }

    /// Has `pieces`, of `bytes` altogether, written by the kernel, without waiting for the disk. Their last page is written whole: the
    /// kernel would read it first.
    pub(super) fn start_writing<'a>(
        &self,
        offset_bytes: u64,
        bytes: u64,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Errno> {
        fault::at(Step::Log)?;
        let padding = &ZEROS[..(bytes.next_multiple_of(PAGE_BYTES) - bytes) as usize];
        write_all_at(&self.file, offset_bytes, pieces.chain([padding]))?;
        start_writing_out(&self.file, offset_bytes, NonZeroU64::new(bytes));
        Ok(())
    }

    /// Returns once all that was written is on the disk.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        fault::at(Step::SyncLog)?;
        retry_on_intr(|| rustix::fs::fdatasync(&self.file))
    }

    /// How much of it is laid out. A frame that overwrites what is there needs no commit of the filesystem's journal, and is
    /// synced in a fraction of the time.
    pub(super) fn laid_out_bytes(&self) -> u64 {
        self.laid_out_bytes.load(Ordering::Relaxed)
    }

    /// Lays it out with zeros up to `bytes`, durably. Only while nothing is appended to it.
    pub(super) fn lay_out(&self, bytes: u64) -> Result<(), Errno> {
        if self.laid_out_bytes() >= bytes {
            return Ok(()); // as at most checkpoints
        }
        let zeros = Pages::new(LAID_OUT_AT_ONCE_BYTES as usize);
        let zeros = zeros.as_slice();
        while self.laid_out_bytes() < bytes {
            let (from_bytes, to_bytes) =
                (self.laid_out_bytes(), bytes.min(self.laid_out_bytes() + LAID_OUT_AT_ONCE_BYTES));
            write_all_at(self.writable(), from_bytes, [&zeros[..(to_bytes - from_bytes) as usize]])?;
            retry_on_intr(|| rustix::fs::fdatasync(&self.file))?;
            self.laid_out_bytes.store(to_bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes all frames in it void, durably.
    pub(super) fn mark_free(&self, generation: u64) -> Result<(), Errno> {
        self.write_header(SegmentHeader { generation, distrusted: false })?;
        self.generation.store(generation, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the files of its frames may be believed to be on the disk after a sync.
    pub(super) fn check_trust(&self) -> Result<(), StoreError> {
        match self.distrusted.load(Ordering::Relaxed) {
            true => Err(StoreError::new("sync", "the files of the commit log", Errno::IO)),
            false => Ok(()),
        }
    }

    /// Has the next start write every file of its frames again, whatever stands there.
    pub(super) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Relaxed);
        // If this fails too, the disk will not be there at the next start either.
        let generation = self.generation.load(Ordering::Relaxed);
        let _ = self.write_header(SegmentHeader { generation, distrusted: true });
    }

    fn write_header(&self, header: SegmentHeader) -> Result<(), Errno> {
        Pages::new(PAGE_BYTES as usize).write(self.writable(), 0, [header.encode().as_slice()])?;
        retry_on_intr(|| rustix::fs::fdatasync(&self.file))
    }
}
