//! Writing in whole pages, which is what goes past the page cache.

use super::{Errno, Handle, write_all_at};

/// A write past the page cache begins and ends on a multiple of this, in memory and in the file: a page, and no less than a block of any
/// disk.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Memory that begins on a page, which all that is written is copied to first.
#[derive(Debug)]
pub(crate) struct Pages {
    bytes: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl Pages {
    /// Room for `capacity` bytes at a time, a multiple of a page; all zeros.
    pub(crate) fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + PAGE_BYTES];
        let start = bytes.as_ptr().addr().next_multiple_of(PAGE_BYTES) - bytes.as_ptr().addr();
        Self { bytes, start, capacity }
    }

    /// All of it.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..][..self.capacity]
    }

    /// The same, to read into.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.capacity]
    }

    /// Writes `pieces` to `file`, which may be open for `O_DIRECT`, from `offset_bytes` on, a multiple of a page; and zeros behind them
    /// up to the end of the page.
    pub(crate) fn write<'a, H: Handle>(
        &mut self,
        file: &H,
        mut offset_bytes: u64,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Errno> {
        let room = &mut self.bytes[self.start..][..self.capacity];
        let mut filled = 0;
        for mut piece in pieces {
            while !piece.is_empty() {
                if filled == room.len() {
                    write_all_at(file, offset_bytes, [&*room])?;
                    offset_bytes += filled as u64;
                    filled = 0;
                }
                let (now, later) = piece.split_at(piece.len().min(room.len() - filled));
                room[filled..][..now.len()].copy_from_slice(now);
                filled += now.len();
                piece = later;
            }
        }
        let end = filled.next_multiple_of(PAGE_BYTES);
        room[filled..end].fill(0);
        write_all_at(file, offset_bytes, [&room[..end]])
    }
}
