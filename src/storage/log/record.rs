//! How the commit log is written: a segment is a header page and frames, each a batch of files with a checksum over all of it.
//!
//! ```text
//! segment = header frame*                 each begins on a page of 4096 bytes
//! header  = "TGLOG\0\1\0" generation distrusted crc32
//! frame   = "TGLF" crc32 generation number entries body_bytes entry*
//! entry   = path_bytes content_bytes path content
//! ```
//!
//! Numbers are little endian. A frame counts if its checksum is right, its generation is that of the header, and its number
//! is the next: what an earlier generation left behind, and what was being written when the power went, does not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Header and frames begin at multiples of this: a frame never shares a page with one that is being written to the disk.
pub(super) const PAGE_BYTES: u64 = 4096;

const SEGMENT_MAGIC: [u8; 8] = *b"TGLOG\0\x01\0";
const FRAME_MAGIC: [u8; 4] = *b"TGLF";
pub(super) const FRAME_HEADER_BYTES: usize = 4 + 4 + 8 + 4 + 4 + 8;
const ENTRY_HEADER_BYTES: usize = 4 + 8;

/// What the first page of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Rises with each use of any segment: of two, the lower was written first.
    pub(super) generation: u64,
    /// The files' way to the disk has failed: what the system says of them cannot be relied on.
    pub(super) distrusted: bool,
}

impl SegmentHeader {
    pub(super) const BYTES: usize = 8 + 8 + 1 + 4;

    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend(SEGMENT_MAGIC);
        bytes.extend(self.generation.to_le_bytes());
        bytes.push(u8::from(self.distrusted));
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// `None`: the segment was being made, or freed, when the power went; there is nothing in it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (said, crc) = bytes.get(..Self::BYTES)?.split_at(Self::BYTES - 4);
        if said[..8] != SEGMENT_MAGIC || crc32fast::hash(said).to_le_bytes() != crc {
            return None;
        }
        Some(Self { generation: u64::from_le_bytes(said[8..16].try_into().ok()?), distrusted: said[16] != 0 })
    }
}

/// A file as the log keeps it: where it belongs, relative to the root, and what is in it.
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a Path,
    pub(crate) content: Vec<&'a [u8]>,
}

impl Entry<'_> {
    fn content_bytes(&self) -> usize {
        self.content.iter().map(|slice| slice.len()).sum()
    }

    /// What it takes up in a frame.
    pub(super) fn bytes(&self) -> u64 {
        (ENTRY_HEADER_BYTES + self.path.as_os_str().len() + self.content_bytes()) as u64
    }
}

/// The small parts of a frame; `content` stays where it lies.
pub(super) struct Frame {
    header: [u8; FRAME_HEADER_BYTES],
    entries: Vec<Vec<u8>>,
    pub(super) bytes: u64,
}

impl Frame {
    pub(super) fn new(generation: u64, number: u32, entries: &[Entry<'_>]) -> Self {
        let body_bytes: u64 = entries.iter().map(Entry::bytes).sum();
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..4].copy_from_slice(&FRAME_MAGIC);
        header[8..16].copy_from_slice(&generation.to_le_bytes());
        header[16..20].copy_from_slice(&number.to_le_bytes());
        header[20..24].copy_from_slice(&(entries.len() as u32).to_le_bytes());
        header[24..].copy_from_slice(&body_bytes.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header[8..]);
        let named = entries.iter().map(|entry| {
            let path = entry.path.as_os_str().as_bytes();
            let mut named = Vec::with_capacity(ENTRY_HEADER_BYTES + path.len());
            named.extend((path.len() as u32).to_le_bytes());
            named.extend((entry.content_bytes() as u64).to_le_bytes());
            named.extend(path);
            crc.update(&named);
            entry.content.iter().for_each(|slice| crc.update(slice));
            named
        });
        let entries = named.collect();
        header[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        Self { header, entries, bytes: FRAME_HEADER_BYTES as u64 + body_bytes }
    }

    /// All of it, in order.
    pub(super) fn slices<'a>(&'a self, entries: &'a [Entry<'a>]) -> impl Iterator<Item = &'a [u8]> {
        let entries = self.entries.iter().zip(entries);
        let slices =
            entries.flat_map(|(named, entry)| [named.as_slice()].into_iter().chain(entry.content.iter().copied()));
        [self.header.as_slice()].into_iter().chain(slices)
    }
}

/// What a frame's header says of its body.
pub(super) struct FrameHeader {
    crc: u32,
    entries: u32,
    pub(super) body_bytes: u64,
}

impl FrameHeader {
    /// `None` if that is not the frame which is due.
    pub(super) fn decode(header: &[u8; FRAME_HEADER_BYTES], generation: u64, number: u32) -> Option<Self> {
        let u32_at = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| header.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let is_due = header[..4] == FRAME_MAGIC && u64_at(8)? == generation && u32_at(16)? == number;
        is_due.then_some(())?;
        Some(Self { crc: u32_at(4)?, entries: u32_at(20)?, body_bytes: u64_at(24)? })
    }

    /// The files in `body`, if it is what was written.
    pub(super) fn entries<'a>(
        &self,
        header: &[u8; FRAME_HEADER_BYTES],
        mut body: &'a [u8],
    ) -> Option<Vec<(&'a Path, &'a [u8])>> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header[8..]);
        crc.update(body);
        if crc.finalize() != self.crc {
            return None;
        }
        let mut entries = Vec::new();
        for _ in 0..self.entries {
            let (path_bytes, rest) = body.split_first_chunk::<4>()?;
            let (content_bytes, rest) = rest.split_first_chunk::<8>()?;
            let (path, rest) = rest.split_at_checked(u32::from_le_bytes(*path_bytes) as usize)?;
            let (content, rest) = rest.split_at_checked(u64::from_le_bytes(*content_bytes) as usize)?;
            let path = Path::new(OsStr::from_bytes(path));
            // Whoever may write the log may write the root anyway; a path that leads out of it is still none of ours.
            path.components().all(|component| matches!(component, Component::Normal(_))).then_some(())?;
            entries.push((path, content));
            body = rest;
        }
        Some(entries)
    }
}
