//! One file of the commit log.

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

/// What a segment is laid out with when it is made.
const FIRST_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

/// Zeros that are synced together: syncs of the other segment wait for that much and not for more.
const LAID_OUT_AT_ONCE_BYTES: u64 = 2 << 20;

const ZEROS: &[u8] = &[0; PAGE_BYTES as usize];

/// A segment's file, open for as long as the log is.
#[derive(Debug)]
pub(super) struct Segment<H> {
    pub(super) file: H,
    /// The same past the page cache, where the filesystem can.
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
    /// Makes segment `number` empty, durably but for its name.
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
            // Past the cache it asks for more than we give.
            Err(Errno::INVAL) if segment.direct.take().is_some() => make(&segment),
            made => made,
        };
        made.map_err(failed("write"))?;
        Ok(segment)
    }

    /// Writes `pieces` from `offset_bytes` on, a multiple of a page, past the page cache by way of `pages`; they are not durable yet.
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

    /// Has `pieces`, of `bytes` altogether, written by the kernel, without waiting for the disk. Their last page is written whole: the
    /// kernel would read it first.
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

    /// Returns once all that was written is on the disk.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        self.trust.note(fault::point(Step::SyncLog).and_then(|()| self.file.sync_data()))
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
            self.trust.note(self.file.sync_data())?;
            // Where these zeros lie is known to the journal alone.
            self.trust.prove_journal()?;
            self.laid_out_bytes.store(to_bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes all frames in it void, durably.
    pub(super) fn mark_free(&self, header: SegmentHeader) -> Result<(), Errno> {
        Pages::new(FRAMES_BEGIN_BYTES as usize).write(self.writable(), 0, [header.encode().as_slice()])?;
        self.trust.note(self.file.sync_data())
    }
}

/// A number that nobody can know before.
pub(super) fn draw_salt() -> u64 {
    RandomState::new().hash_one(())
}
