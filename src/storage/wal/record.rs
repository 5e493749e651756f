//! The format of the write-ahead log. A segment is a header, written twice, and frames; a frame holds the entries of one group commit.
//!
//! ```text
//! segment = header header frame*          each begins on a page of 4096 bytes
//! header  = "TGLOG\0\4\0" generation salt mount root crc32
//! frame   = "TGLF" crc32 generation number entries names_bytes body_bytes time_ms salt name* content*
//! name    = path_bytes content_bytes xxh3-128 receipt path
//! ```
//!
//! Numbers are little endian. A frame belongs to a segment if its generation and salt are those of the segment's header, so no bytes of a
//! peer can pass for a frame. Its checksum covers everything except the contents, which have the digest computed while the instance
//! arrived. Without a receipt there are zeros in its place. An entry with `u64::MAX` content bytes has no content: it *voids* the entry before it with the same path and digest.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::digest::{Digest, RECEIPT_BYTES, Receipt, Recorded};

/// Alignment of headers and frames: a frame never shares a page with one that is being written to the disk.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Most bytes of one segment. A log that has been full takes up twice that on the disk. Until then, the thread that checkpoints a full
/// segment allocates more room for it before its next use, so that no writer waits for that.
pub(crate) const SEGMENT_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 64 << 20 };

/// Where the first frame begins: behind both headers.
pub(super) const FRAMES_BEGIN_BYTES: u64 = 2 * PAGE_BYTES;

/// The last two bytes are the version. In every one of them the generation follows, and a frame's generation and number are where
/// they are in this one, so that it can be told whether there is anything in a log of another.
const SEGMENT_MAGIC: [u8; 8] = *b"TGLOG\0\x04\0";
const FRAME_MAGIC: [u8; 4] = *b"TGLF";
pub(super) const FRAME_HEADER_BYTES: usize = 4 + 4 + 8 + 4 + 4 + 4 + 8 + 8 + 8;
/// Content bytes of a void entry.
const VOID: u64 = u64::MAX;
const NAME_HEADER_BYTES: usize = 4 + 8 + Digest::BYTES + RECEIPT_BYTES;
const NO_RECEIPT: Receipt = [0; RECEIPT_BYTES];

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Rises with each use of any segment: of two segments, the one with the lower generation was written first.
    pub(super) generation: u64,
    /// Drawn at random for this use of the segment.
    pub(super) salt: u64,
    /// The mount of the filesystem that it was written on ([`crate::fs::Filesystem::mount`]); 0 if that was not known.
    pub(super) mount: u128,
    /// The root that it was written for.
    pub(super) root: u128,
}

impl SegmentHeader {
    const BYTES: usize = 8 + 8 + 8 + 16 + 16 + 4;

    /// Both headers.
    pub(super) fn encode(self) -> Vec<u8> {
        let mut header = Vec::with_capacity(PAGE_BYTES as usize);
        header.extend(SEGMENT_MAGIC);
        header.extend(self.generation.to_le_bytes());
        header.extend(self.salt.to_le_bytes());
        header.extend(self.mount.to_le_bytes());
        header.extend(self.root.to_le_bytes());
        header.extend(crc32fast::hash(&header).to_le_bytes());
        header.resize(PAGE_BYTES as usize, 0);
        header.repeat(2)
    }

    /// The generation of a segment that another version has written, and where the first frame of that begins.
    pub(super) fn of_another_version(bytes: &[u8]) -> Option<(u64, u64)> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let is_another = magic[..6] == SEGMENT_MAGIC[..6] && *magic != SEGMENT_MAGIC;
        let generation = is_another.then(|| rest.first_chunk().copied().map(u64::from_le_bytes)).flatten()?;
        // Earlier versions had one header.
        Some((generation, if magic[6..] < SEGMENT_MAGIC[6..] { PAGE_BYTES } else { FRAMES_BEGIN_BYTES }))
    }

    /// Decodes the beginning of a segment: the later of its two headers, if the power failed while they were written.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let headers = bytes.chunks(PAGE_BYTES as usize).take(2).filter_map(Self::decode_one);
        headers.max_by_key(|header| header.generation)
    }

    fn decode_one(bytes: &[u8]) -> Option<Self> {
        let (said, crc) = bytes.get(..Self::BYTES)?.split_at(Self::BYTES - 4);
        if said[..8] != SEGMENT_MAGIC || crc32fast::hash(said).to_le_bytes() != crc {
            return None;
        }
        let u64_at = |at: usize| said[at..].first_chunk().copied().map(u64::from_le_bytes);
        let u128_at = |at: usize| said[at..].first_chunk().copied().map(u128::from_le_bytes);
        Some(Self { generation: u64_at(8)?, salt: u64_at(16)?, mount: u128_at(24)?, root: u128_at(40)? })
    }
}

/// A file in the log: its path relative to the root, and its content; `None` voids the earlier entry.
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a Path,
    pub(crate) content: Option<Vec<&'a [u8]>>,
    pub(crate) recorded: Recorded,
}

impl Entry<'_> {
    fn content_bytes(&self) -> usize {
        self.content.iter().flatten().map(|slice| slice.len()).sum()
    }

    fn name_bytes(&self) -> usize {
        NAME_HEADER_BYTES + self.path.as_os_str().len()
    }

    /// Bytes of the entry in a frame.
    fn bytes(&self) -> u64 {
        (self.name_bytes() + self.content_bytes()) as u64
    }
}

/// The identity of a frame: the use of a segment, and the frame's number in it, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameId {
    pub(super) generation: u64,
    pub(super) salt: u64,
    pub(super) number: u32,
}

/// The encoded header and names of a frame. The contents are not copied.
pub(super) struct Frame {
    /// Followed by the names.
    header: Vec<u8>,
}

impl Frame {
    /// Bytes of a frame with these entries.
    pub(super) fn bytes(entries: &[Entry<'_>]) -> u64 {
        FRAME_HEADER_BYTES as u64 + entries.iter().map(Entry::bytes).sum::<u64>()
    }

    /// Of `bytes`, as [`Self::bytes`] gives them.
    pub(super) fn new(id: FrameId, entries: &[Entry<'_>], bytes: u64, time_ms: i64) -> Self {
        let FrameId { generation, salt, number } = id;
        let names_bytes: usize = entries.iter().map(Entry::name_bytes).sum();
        let mut header = Vec::with_capacity(FRAME_HEADER_BYTES + names_bytes);
        header.extend(FRAME_MAGIC);
        header.extend([0; 4]);
        header.extend(generation.to_le_bytes());
        header.extend(number.to_le_bytes());
        header.extend((entries.len() as u32).to_le_bytes());
        header.extend((names_bytes as u32).to_le_bytes());
        header.extend((bytes - FRAME_HEADER_BYTES as u64).to_le_bytes());
        header.extend(time_ms.to_le_bytes());
        header.extend(salt.to_le_bytes());
        for entry in entries {
            let path = entry.path.as_os_str().as_bytes();
            header.extend((path.len() as u32).to_le_bytes());
            let content_bytes = entry.content.as_ref().map_or(VOID, |_| entry.content_bytes() as u64);
            header.extend(content_bytes.to_le_bytes());
            header.extend(entry.recorded.digest.to_bytes());
            header.extend(entry.recorded.receipt.unwrap_or(NO_RECEIPT));
            header.extend(path);
        }
        let crc = crc32fast::hash(&header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        Self { header }
    }

    /// All slices of the frame, in order.
    pub(super) fn slices<'a>(&'a self, entries: &'a [Entry<'a>]) -> impl Iterator<Item = &'a [u8]> {
        let contents = entries.iter().flat_map(|entry| entry.content.iter().flatten().copied());
        std::iter::once(self.header.as_slice()).chain(contents)
    }
}

/// The decoded header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    crc: u32,
    pub(super) number: u32,
    pub(super) entries: u32,
    pub(super) names_bytes: u32,
    pub(super) body_bytes: u64,
    /// When it was written, in milliseconds since 1970.
    pub(super) time_ms: i64,
}

/// One decoded entry of a frame.
pub(super) struct EntryHeader<'a> {
    pub(super) path: &'a Path,
    pub(super) recorded: Recorded,
    /// `None` if it is void.
    pub(super) content_bytes: Option<u64>,
}

impl FrameHeader {
    /// `None` if no frame of this use of a segment begins so.
    pub(super) fn decode(header: &[u8; FRAME_HEADER_BYTES], generation: u64, salt: u64) -> Option<Self> {
        let u32_at = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| header.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let is_ours = header[..4] == FRAME_MAGIC && u64_at(8)? == generation && u64_at(44)? == salt;
        is_ours.then_some(())?;
        Some(Self {
            crc: u32_at(4)?,
            number: u32_at(16)?,
            entries: u32_at(20)?,
            names_bytes: u32_at(24)?,
            body_bytes: u64_at(28)?,
            time_ms: u64_at(36)? as i64,
        })
    }

    /// Whether a frame of any version begins so, as the first of a segment of that generation.
    pub(super) fn is_first_of(header: &[u8], generation: u64) -> bool {
        let number_and_generation = (header.get(8..16), header.get(16..20));
        header.starts_with(&FRAME_MAGIC)
            && number_and_generation == (Some(&generation.to_le_bytes()[..]), Some(&0_u32.to_le_bytes()[..]))
    }

    /// Whether a frame of any segment begins so.
    pub(super) fn is_any(header: &[u8]) -> bool {
        header.starts_with(&FRAME_MAGIC)
    }

    /// The entries of the frame; `None` if its checksum does not match or an entry is malformed.
    pub(super) fn entries<'a>(
        &self,
        header: &[u8; FRAME_HEADER_BYTES],
        mut names: &'a [u8],
    ) -> Option<Vec<EntryHeader<'a>>> {
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
            let (receipt, rest) = rest.split_first_chunk::<RECEIPT_BYTES>()?;
            let (path, rest) = rest.split_at_checked(u32::from_le_bytes(*path_bytes) as usize)?;
            let path = Path::new(OsStr::from_bytes(path));
            // A writer of the log could write the root as well; still, no path may lead out of the root.
            path.components().all(|component| matches!(component, Component::Normal(_))).then_some(())?;
            let content_bytes = u64::from_le_bytes(*content_bytes);
            let content_bytes = (content_bytes != VOID).then_some(content_bytes);
            let receipt = Some(*receipt).filter(|receipt| *receipt != NO_RECEIPT);
            let recorded = Recorded { digest: Digest::from_bytes(*digest), receipt };
            entries.push(EntryHeader { path, recorded, content_bytes });
            names = rest;
        }
        Some(entries)
    }
}
