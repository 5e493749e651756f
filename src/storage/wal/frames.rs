//! Reading a segment: the entries of its frames, and damage on the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::record::{
    EntryHeader, FRAME_HEADER_BYTES, FRAMES_BEGIN_BYTES, FrameHeader, PAGE_BYTES, SEGMENT_BYTES, SegmentHeader,
};
use crate::digest::{Digest, Recorded};
use crate::fs::{Errno, Handle, read_full};

/// Bytes read at a time in the search for a frame.
const SEARCHED_BYTES: u64 = 1 << 20;

/// The entries of a segment's frames.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// In the order they were written.
    pub(super) entries: Vec<Indexed>,
    /// Number of frames that are damaged although others follow. Their entries are unknown.
    pub(super) damaged_frames: u32,
}

/// An entry of the log, and the location of its content.
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    /// The path of the file, relative to the root.
    pub(super) path: PathBuf,
    pub(super) recorded: Recorded,
    /// Location in the segment; `None` if the entry is void.
    content: Option<Content>,
    pub(super) generation: u64,
    pub(super) frame: u32,
    /// Index of the entry in its frame.
    pub(super) number: u32,
    /// When its frame was written, in milliseconds since 1970.
    pub(super) time_ms: i64,
    /// No frame follows, so a crash may have cut this one off before it was durable.
    pub(super) is_in_last_frame: bool,
}

#[derive(Debug, Clone, Copy)]
struct Content {
    offset_bytes: u64,
    bytes: u64,
}

impl Indexed {
    #[cfg(test)]
    pub(super) fn of_test(path: PathBuf, digest: Digest) -> Self {
        let content = Some(Content { offset_bytes: 0, bytes: 0 });
        let recorded = Recorded { digest, receipt: None };
        Self { path, recorded, content, generation: 1, frame: 0, number: 0, time_ms: 0, is_in_last_frame: true }
    }

    /// Of its content.
    pub(super) fn digest(&self) -> Digest {
        self.recorded.digest
    }

    fn is_void(&self) -> bool {
        self.content.is_none()
    }

    /// The content of the entry; `None` if its bytes are not those that were written.
    pub(super) fn content<H: Handle>(&self, segment: &H) -> Result<Option<Vec<u8>>, Errno> {
        let Some(Content { offset_bytes, bytes }) = self.content else {
            return Ok(None);
        };
        let mut content = vec![0; bytes as usize];
        let is_whole = read_exact(segment, offset_bytes, &mut content)? && Digest::of([&*content]) == self.digest();
        Ok(is_whole.then_some(content))
    }
}

/// The effective entries of each path, from entries in the order they were written. A void entry revokes the entry before it with the
/// same content; the entry acknowledged under the path before that is effective again.
pub(super) fn of_each_path<'a, T: Copy>(
    entries: impl Iterator<Item = (T, &'a Indexed)>,
) -> impl Iterator<Item = Vec<(T, &'a Indexed)>> {
    let mut of_path: BTreeMap<&Path, Vec<(T, &Indexed)>> = BTreeMap::new();
    for (of, entry) in entries {
        let before = of_path.entry(&entry.path).or_default();
        if !entry.is_void() {
            before.push((of, entry));
        } else if before.last().is_some_and(|(_, last)| last.digest() == entry.digest()) {
            before.pop();
        }
    }
    of_path.into_values().filter(|of_path| !of_path.is_empty())
}

/// The last effective entry of each path.
pub(super) fn last_of_each<'a, T: Copy>(entries: impl Iterator<Item = (T, &'a Indexed)>) -> Vec<(T, &'a Indexed)> {
    of_each_path(entries).filter_map(|mut of_path| of_path.pop()).collect()
}

/// Indexes the segment with that header, up to `end_bytes`.
pub(super) fn index<H: Handle>(segment: &H, header: &SegmentHeader, end_bytes: u64) -> Result<Index, Errno> {
    let mut index = Index::default();
    let (mut offset_bytes, mut due) = (FRAMES_BEGIN_BYTES, 0);
    while offset_bytes < end_bytes {
        match read_frame(segment, header, offset_bytes)? {
            Some((frame, entries)) if frame.number >= due => {
                index.damaged_frames += frame.number - due;
                if let Some(last) = entries {
                    index.entries.iter_mut().for_each(|entry| entry.is_in_last_frame = false);
                    index.entries.extend(last);
                }
                due = frame.number + 1;
                offset_bytes += (FRAME_HEADER_BYTES as u64 + frame.body_bytes).next_multiple_of(PAGE_BYTES);
            }
            // This is the end, or a damaged frame if another one follows.
            _ => match find_header(segment, header, offset_bytes + PAGE_BYTES, end_bytes)? {
                Some(at) => offset_bytes = at,
                None => break,
            },
        }
    }
    Ok(index)
}

/// Offset of the next page, from `offset_bytes` up to `end_bytes`, that begins like a frame of this use of the segment.
fn find_header<H: Handle>(
    segment: &H,
    of: &SegmentHeader,
    mut offset_bytes: u64,
    end_bytes: u64,
) -> Result<Option<u64>, Errno> {
    let mut chunk = vec![0; SEARCHED_BYTES.min(end_bytes.saturating_sub(offset_bytes)) as usize];
    while offset_bytes < end_bytes {
        let read = read_full(segment, offset_bytes, &mut chunk)?;
        if read == 0 {
            break;
        }
        let headers = chunk[..read].chunks(PAGE_BYTES as usize).map(|page| page.first_chunk());
        let is_frame = |header: Option<&_>| {
            header.is_some_and(|header| FrameHeader::decode(header, of.generation, of.salt).is_some())
        };
        if let Some(page) = headers.into_iter().position(is_frame) {
            return Ok(Some(offset_bytes + page as u64 * PAGE_BYTES));
        }
        offset_bytes += read as u64;
    }
    Ok(None)
}

/// Whether the first frame of a generation begins there, of any version.
pub(super) fn holds_frame<H: Handle>(segment: &H, generation: u64, offset_bytes: u64) -> Result<bool, Errno> {
    let mut header = [0; FRAME_HEADER_BYTES];
    Ok(read_exact(segment, offset_bytes, &mut header)? && FrameHeader::is_first_of(&header, generation))
}

/// Whether the position of the first frame holds neither a frame nor the zeros of a new segment.
pub(super) fn begins_damaged<H: Handle>(segment: &H) -> Result<bool, Errno> {
    let mut header = [0; FRAME_HEADER_BYTES];
    let is_there = read_exact(segment, FRAMES_BEGIN_BYTES, &mut header)?;
    Ok(!is_there || !(FrameHeader::is_any(&header) || header.iter().all(|byte| *byte == 0)))
}

/// Whether nothing stands where the first frame belongs.
pub(super) fn begins_with_zeros<H: Handle>(segment: &H) -> Result<bool, Errno> {
    let mut header = [0; FRAME_HEADER_BYTES];
    read_full(segment, FRAMES_BEGIN_BYTES, &mut header)?;
    Ok(header.iter().all(|byte| *byte == 0))
}

/// The header of a frame, and its entries.
type ReadFrame = (FrameHeader, Option<Vec<Indexed>>);

/// The frame at `offset_bytes`, if there is one with a correct checksum.
fn read_frame<H: Handle>(segment: &H, of: &SegmentHeader, offset_bytes: u64) -> Result<Option<ReadFrame>, Errno> {
    let mut header = [0; FRAME_HEADER_BYTES];
    if !read_exact(segment, offset_bytes, &mut header)? {
        return Ok(None);
    }
    let Some(frame) = FrameHeader::decode(&header, of.generation, of.salt) else {
        return Ok(None);
    };
    if frame.body_bytes > SEGMENT_BYTES || u64::from(frame.names_bytes) > frame.body_bytes {
        return Ok(None);
    }
    let names_at = offset_bytes + FRAME_HEADER_BYTES as u64;
    let mut names = vec![0; frame.names_bytes as usize];
    if !read_exact(segment, names_at, &mut names)? {
        return Ok(None);
    }
    let Some(entries) = frame.entries(&header, &names) else {
        return Ok(None);
    };
    let mut content_at = names_at + u64::from(frame.names_bytes);
    let mut indexed = |(number, entry): (usize, EntryHeader<'_>)| {
        let content = entry.content_bytes.map(|bytes| Content { offset_bytes: content_at, bytes });
        content_at += entry.content_bytes.unwrap_or(0);
        let (generation, frame, time_ms) = (of.generation, frame.number, frame.time_ms);
        let (path, recorded, number) = (entry.path.to_owned(), entry.recorded, number as u32);
        Indexed { path, recorded, content, generation, frame, number, time_ms, is_in_last_frame: true }
    };
    Ok(Some((frame, Some(entries.into_iter().enumerate().map(&mut indexed).collect()))))
}

/// Whether there was so much to read.
fn read_exact<H: Handle>(file: &H, offset_bytes: u64, buffer: &mut [u8]) -> Result<bool, Errno> {
    Ok(read_full(file, offset_bytes, buffer)? == buffer.len())
}
