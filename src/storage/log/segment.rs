//! One file of the commit log.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::record::{PAGE_BYTES, SegmentHeader};
use crate::error::{OpenError, StoreError};
use crate::fault::{self, Step};
use crate::sync::{Number, SharedSync};
use crate::temp::{FILE_MODE, start_writing_out, write_all_at};

/// What a segment is laid out with when it is made.
const FIRST_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

/// Zeros that are synced together: syncs of the other segment wait for that much and not for more.
const LAID_OUT_AT_ONCE_BYTES: u64 = 2 << 20;

/// A segment's file, open for as long as the log is.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    sync: SharedSync,
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
        let file = retry_on_intr(|| rustix::fs::openat(directory, name(number), flags, FILE_MODE));
        let file = File::from(file.map_err(failed("open"))?);
        let size = rustix::fs::fstat(&file).map_err(failed("examine"))?.st_size;
        let laid_out_bytes = u64::try_from(size).unwrap_or(0);
        let segment = Self {
            file,
            sync: SharedSync::default(),
            laid_out_bytes: AtomicU64::new(laid_out_bytes),
            generation: AtomicU64::new(generation),
            distrusted: AtomicBool::new(false),
        };
        segment.lay_out(FIRST_BYTES).and_then(|()| segment.mark_free(generation)).map_err(failed("write"))?;
        Ok(segment)
    }

    pub(super) fn open_to_read(directory: &File, number: usize) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(directory, name(number), flags, Mode::empty()).map(File::from)
    }

    pub(super) fn is_linked(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// Writes `slices` at `offset_bytes`. One thread at a time.
    pub(super) fn write<'a>(&self, offset_bytes: u64, slices: impl Iterator<Item = &'a [u8]>) -> Result<(), Errno> {
        write_all_at(&self.file, offset_bytes, slices)
    }

    /// How much of it is laid out. A frame that overwrites what is there needs no commit of the filesystem's journal, and is
    /// synced in a fraction of the time.
    pub(super) fn laid_out_bytes(&self) -> u64 {
        self.laid_out_bytes.load(Ordering::Relaxed)
    }

    /// Lays it out with zeros up to `bytes`, durably. Only while nothing is appended to it.
    pub(super) fn lay_out(&self, bytes: u64) -> Result<(), Errno> {
        let zeros = vec![0; 256 << 10];
        while self.laid_out_bytes() < bytes {
            let (from_bytes, to_bytes) =
                (self.laid_out_bytes(), bytes.min(self.laid_out_bytes() + LAID_OUT_AT_ONCE_BYTES));
            for at_bytes in (from_bytes..to_bytes).step_by(zeros.len()) {
                let part = zeros.len().min((to_bytes - at_bytes) as usize);
                write_all_at(&self.file, at_bytes, [&zeros[..part]])?;
            }
            retry_on_intr(|| rustix::fs::fdatasync(&self.file))?;
            self.laid_out_bytes.store(to_bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Has the kernel begin writing this part to the disk, without waiting for it.
    pub(super) fn start_writing_out(&self, offset_bytes: u64, bytes: u64) {
        start_writing_out(&self.file, offset_bytes, NonZeroU64::new(bytes));
    }

    /// The sync that will bring what has been written so far to the disk.
    pub(super) fn next_sync(&self) -> Number {
        self.sync.next()
    }

    /// Returns once it has.
    pub(super) fn sync(&self, number: Number) -> Result<(), StoreError> {
        self.sync.run_at_least(number, || {
            fault::at(Step::SyncLog)
                .and_then(|()| retry_on_intr(|| rustix::fs::fdatasync(&self.file)))
                .map_err(|error| StoreError::new("sync", "the commit log", error))
        })
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
        let mut page = header.encode();
        page.resize(PAGE_BYTES as usize, 0);
        write_all_at(&self.file, 0, [page.as_slice()])?;
        retry_on_intr(|| rustix::fs::fdatasync(&self.file))
    }
}
