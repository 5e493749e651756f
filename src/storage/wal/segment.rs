//! One segment of the write-ahead log: a file.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use twox_hash::XxHash3_128;

use super::record::{FRAMES_BEGIN_BYTES, PAGE_BYTES, SegmentHeader};
use crate::error::OpenError;
use crate::fault::{self, Step};
use crate::fs::{Errno, Handle, Open, Pages, write_all_at};
use crate::trust::Trust;

/// Initial allocation of a segment.
const FIRST_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

/// Number of zeros written before each sync. It bounds the time that a sync of the other segment waits for this one.
const LAID_OUT_AT_ONCE_BYTES: u64 = 2 << 20;

const ZEROS: &[u8] = &[0; PAGE_BYTES as usize];

/// The file of a segment. It stays open as long as the log.
#[derive(Debug)]
pub(super) struct Segment<H> {
    pub(super) file: H,
    /// The same file for direct I/O, if the filesystem supports it.
    direct: Option<H>,
    trust: Arc<Trust<H>>,
    laid_out_bytes: AtomicU64,
}

pub(super) fn name(number: usize) -> String {
    format!("segment-{number}")
}

/// Tells this root, with this log in it, from a copy.
pub(super) fn identity_of<H: Handle>(root: &H, directory: &H) -> Result<u128, Errno> {
    let identity = |handle: &H| handle.identity().map(|identity| (identity.ino, identity.birth));
    let both = (identity(root)?, identity(directory)?);
    Ok(XxHash3_128::oneshot(format!("{both:?}").as_bytes()))
}

impl<H: Handle> Segment<H> {
    /// Creates segment `number`, empty. Its content is durable, its name is not yet.
    pub(super) fn create(
        directory: &H,
        trust: &Arc<Trust<H>>,
        path: &Path,
        number: usize,
        header: SegmentHeader,
    ) -> Result<Self, OpenError> {
        let failed = |what| OpenError::io(what, path.join(name(number)));
        let open = |how| directory.open(Path::new(&name(number)), how);
        let file = open(Open::ReadWrite).map_err(failed("open"))?;
        let direct = open(Open::Direct).ok();
        let laid_out_bytes = file.stat().map_err(failed("examine"))?.bytes / PAGE_BYTES * PAGE_BYTES;
        let laid_out_bytes = AtomicU64::new(laid_out_bytes);
        let mut segment = Self { file, direct, trust: Arc::clone(trust), laid_out_bytes };
        let make = |segment: &Self| segment.lay_out(FIRST_BYTES).and_then(|()| segment.mark_free(header));
        let made = match make(&segment) {
            // Direct I/O on this filesystem asks for a larger alignment than the log uses.
            Err(Errno::INVAL) if segment.direct.take().is_some() => make(&segment),
            made => made,
        };
        made.map_err(failed("write"))?;
        Ok(segment)
    }

    /// Writes `pieces` from `offset_bytes` on, past the page cache, through the buffer `pages`. `offset_bytes` is a multiple of a page.
    /// The pieces are not durable yet.
    pub(super) fn write<'a>(
        &self,
        offset_bytes: u64,
        pieces: impl Iterator<Item = &'a [u8]>,
        pages: &mut Pages,
    ) -> Result<(), Errno> {
        fault::point(Step::Log)?;
        pages.write(self.writable(), offset_bytes, pieces)
    }

    fn writable(&self) -> &H {
        self.direct.as_ref().unwrap_or(&self.file)
    }

    /// Starts the kernel's write of `pieces`, `bytes` in total, without waiting for the disk. The last page is written whole: otherwise
    /// the kernel would read it first.
    pub(super) fn start_writing<'a>(
        &self,
        offset_bytes: u64,
        bytes: u64,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Errno> {
        fault::point(Step::Log)?;
        let padding = &ZEROS[..(bytes.next_multiple_of(PAGE_BYTES) - bytes) as usize];
        write_all_at(&self.file, offset_bytes, pieces.chain([padding]))?;
        self.file.start_write_back(offset_bytes, NonZeroU64::new(bytes));
        Ok(())
    }

    /// Returns when all writes so far are on the disk.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        self.trust.note(fault::point(Step::SyncLog).and_then(|()| self.file.sync_data()))
    }

    /// The allocated size. A frame that overwrites allocated bytes needs no commit of the filesystem's journal, so its sync takes a
    /// fraction of the time.
    pub(super) fn laid_out_bytes(&self) -> u64 {
        self.laid_out_bytes.load(Ordering::Relaxed)
    }

    /// Fills the file with zeros up to `bytes`, durably. Only while nothing is appended to it.
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
            self.trust.note(self.file.sync_data())?;
            // The location of these zeros is recorded in the journal only.
            self.trust.prove_journal()?;
            self.laid_out_bytes.store(to_bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Invalidates all frames in the segment, durably.
    pub(super) fn mark_free(&self, header: SegmentHeader) -> Result<(), Errno> {
        Pages::new(FRAMES_BEGIN_BYTES as usize).write(self.writable(), 0, [header.encode().as_slice()])?;
        self.trust.note(self.file.sync_data())
    }
}

/// Draws a number that nobody can predict.
pub(super) fn draw_salt() -> u64 {
    RandomState::new().hash_one(())
}
