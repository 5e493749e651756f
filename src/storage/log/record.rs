//! How the commit log is written: a segment is a header page and frames, each a batch of files with a checksum over what it says
//! of them and the digest of each, which was made while it arrived.
//!
//! ```text
//! segment = header frame*                 each begins on a page of 4096 bytes
//! header  = "TGLOG\0\2\0" generation distrusted crc32
//! frame   = "TGLF" crc32 generation number entries names_bytes body_bytes name* content*
//! name    = path_bytes content_bytes xxh3-128 path
//! ```
//!
//! Numbers are little endian. A frame counts if its checksum is right, its generation is that of the header, and its number
//! is the next; of its files, those with the right digest: what an earlier generation left behind, and what was being written when
//! the power went, does not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::digest::Digest;

/// Header and frames begin at multiples of this: a frame never shares a page with one that is being written to the disk.
pub(super) const PAGE_BYTES: u64 = 4096;

/// The last two bytes are the version. In every one of them the generation follows, and a frame's generation and number are where
/// they are in this one, so that it can be told whether there is anything in a log of another.
const SEGMENT_MAGIC: [u8; 8] = *b"TGLOG\0\x02\0";
const FRAME_MAGIC: [u8; 4] = *b"TGLF";
pub(super) const FRAME_HEADER_BYTES: usize = 4 + 4 + 8 + 4 + 4 + 4 + 8;
const NAME_HEADER_BYTES: usize = 4 + 8 + Digest::BYTES;

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

    /// The generation of a segment that another version has written.
    pub(super) fn of_another_version(bytes: &[u8]) -> Option<u64> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let is_another = magic[..6] == SEGMENT_MAGIC[..6] && *magic != SEGMENT_MAGIC;
        is_another.then(|| rest.first_chunk().copied().map(u64::from_le_bytes)).flatten()
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
    pub(crate) digest: Digest,
}

impl Entry<'_> {
    fn content_bytes(&self) -> usize {
        self.content.iter().map(|slice| slice.len()).sum()
    }

    fn name_bytes(&self) -> usize {
        NAME_HEADER_BYTES + self.path.as_os_str().len()
    }

    /// What it takes up in a frame.
    fn bytes(&self) -> u64 {
        (self.name_bytes() + self.content_bytes()) as u64
    }
}

/// A file as a frame had it.
pub(super) struct Kept<'a> {
    pub(super) path: &'a Path,
    pub(super) content: &'a [u8],
    pub(super) digest: Digest,
}

impl Kept<'_> {
    /// Whether all of it came to the disk.
    pub(super) fn is_whole(&self) -> bool {
        Digest::of([self.content]) == self.digest
    }
}

/// The small parts of a frame; `content` stays where it lies.
pub(super) struct Frame {
    /// With the names behind it.
    header: Vec<u8>,
}

impl Frame {
    /// What a frame of these takes up.
    pub(super) fn bytes(entries: &[Entry<'_>]) -> u64 {
        FRAME_HEADER_BYTES as u64 + entries.iter().map(Entry::bytes).sum::<u64>()
    }

    /// Of `bytes`, as [`Self::bytes`] gives them.
    pub(super) fn new(generation: u64, number: u32, entries: &[Entry<'_>], bytes: u64) -> Self {
        let names_bytes: usize = entries.iter().map(Entry::name_bytes).sum();
        let mut header = Vec::with_capacity(FRAME_HEADER_BYTES + names_bytes);
        header.extend(FRAME_MAGIC);
        header.extend([0; 4]);
        header.extend(generation.to_le_bytes());
        header.extend(number.to_le_bytes());
        header.extend((entries.len() as u32).to_le_bytes());
        header.extend((names_bytes as u32).to_le_bytes());
        header.extend((bytes - FRAME_HEADER_BYTES as u64).to_le_bytes());
        for entry in entries {
            let path = entry.path.as_os_str().as_bytes();
            header.extend((path.len() as u32).to_le_bytes());
            header.extend((entry.content_bytes() as u64).to_le_bytes());
            header.extend(entry.digest.to_bytes());
            header.extend(path);
        }
        let crc = crc32fast::hash(&header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        Self { header }
    }

    /// All of it, in order.
    pub(super) fn slices<'a>(&'a self, entries: &'a [Entry<'a>]) -> impl Iterator<Item = &'a [u8]> {
        let contents = entries.iter().flat_map(|entry| entry.content.iter().copied());
        std::iter::once(self.header.as_slice()).chain(contents)
    }
}

/// What a frame's header says of its body.
pub(super) struct FrameHeader {
    crc: u32,
    entries: u32,
    names_bytes: u32,
    pub(super) body_bytes: u64,
}

impl FrameHeader {
    /// `None` if that is not the frame which is due.
    pub(super) fn decode(header: &[u8; FRAME_HEADER_BYTES], generation: u64, number: u32) -> Option<Self> {
        let u32_at = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| header.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let is_due = header[..4] == FRAME_MAGIC && u64_at(8)? == generation && u32_at(16)? == number;
        is_due.then_some(())?;
        Some(Self { crc: u32_at(4)?, entries: u32_at(20)?, names_bytes: u32_at(24)?, body_bytes: u64_at(28)? })
    }

    /// The files in `body`, if what it says of them is what was written.
    pub(super) fn entries<'a>(&self, header: &[u8; FRAME_HEADER_BYTES], body: &'a [u8]) -> Option<Vec<Kept<'a>>> {
        let (mut names, mut contents) = body.split_at_checked(self.names_bytes as usize)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header[8..]);
        crc.update(names);
        if crc.finalize() != self.crc {
            return None;
        }
        let mut entries = Vec::new();
        for _ in 0..self.entries {
            let (path_bytes, rest) = names.split_first_chunk::<4>()?;
            let (content_bytes, rest) = rest.split_first_chunk::<8>()?;
            let (digest, rest) = rest.split_first_chunk::<{ Digest::BYTES }>()?;
            let (path, rest) = rest.split_at_checked(u32::from_le_bytes(*path_bytes) as usize)?;
            let (content, behind) = contents.split_at_checked(u64::from_le_bytes(*content_bytes) as usize)?;
            let path = Path::new(OsStr::from_bytes(path));
            // Whoever may write the log may write the root anyway; a path that leads out of it is still none of ours.
            path.components().all(|component| matches!(component, Component::Normal(_))).then_some(())?;
            entries.push(Kept { path, content, digest: Digest::from_bytes(*digest) });
            (names, contents) = (rest, behind);
        }
        Some(entries)
    }
}
