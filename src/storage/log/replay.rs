//! What an open store finds in the commit log of an earlier process: instances that were acknowledged, and whose files may not
//! have reached the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::record::{FRAME_HEADER_BYTES, FrameHeader, Kept, PAGE_BYTES, SegmentHeader};
use super::segment::Segment;
use super::{SEGMENT_BYTES, Step, fault};
use crate::error::OpenError;
use crate::root::{DIRECTORY_MODE, Root};
use crate::temp::{TempFile, TempNames};

/// What the log held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Replayed {
    /// Files that were missing or not whole, written again.
    pub(crate) restored_files: u64,
    /// A generation higher than all in the log.
    pub(crate) next_generation: u64,
}

/// Writes out what the segments in `directory` hold, and returns when all of it is on the disk. The segments are left as they
/// are: until they are made anew, doing it again comes to the same.
pub(crate) fn replay(root: &Arc<Root>, directory: &File) -> Result<Replayed, OpenError> {
    let failed =
        |what: &'static str| move |source| OpenError::Io { what, path: root.path.join(".tidegate/log"), source };
    let mut segments = Vec::new();
    for number in 0..2 {
        match Segment::open_to_read(directory, number) {
            Ok(file) => {
                let mut page = [0; PAGE_BYTES as usize];
                let read = file.read_at(&mut page, 0).map_err(errno).map_err(failed("read"))?;
                let other = SegmentHeader::of_another_version(&page[..read]);
                let frame = other.map(|generation| holds_frame(&file, generation));
                if frame.transpose().map_err(errno).map_err(failed("read"))? == Some(true) {
                    return Err(OpenError::LogOfAnotherVersion { path: root.path.join(".tidegate/log") });
                }
                segments.extend(SegmentHeader::decode(&page[..read]).map(|header| (header, file)));
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("open")(error)),
        }
    }
    segments.sort_by_key(|(header, _)| header.generation);
    let mut replayed = Replayed { restored_files: 0, next_generation: 1 };
    let mut held_files = 0_u64;
    let mut restore = Restore { root, names: TempNames::new(), distrusted: false };
    for (header, file) in &segments {
        replayed.next_generation = header.generation + 1;
        restore.distrusted = header.distrusted;
        let mut offset_bytes = PAGE_BYTES;
        for number in 0.. {
            let frame =
                read_frame(file, header.generation, number, offset_bytes).map_err(errno).map_err(failed("read"))?;
            let Some((frame_header, body)) = frame else {
                break;
            };
            let frame = FrameHeader::decode(&frame_header, header.generation, number);
            let Some(entries) = frame.and_then(|frame| frame.entries(&frame_header, &body)) else {
                break;
            };
            // Beyond one that is not whole there may be others that are, and acknowledged.
            for kept in entries.iter().filter(|kept| kept.is_whole()) {
                held_files += 1;
                let failed = |source| OpenError::Io { what: "restore", path: root.path.join(kept.path), source };
                replayed.restored_files += u64::from(restore.file(kept).map_err(failed)?);
            }
            offset_bytes += (FRAME_HEADER_BYTES as u64 + body.len() as u64).next_multiple_of(PAGE_BYTES);
        }
    }
    if held_files > 0 {
        // Those that were whole too: that they can be read does not mean that they are on the disk.
        fault::at(Step::Checkpoint)
            .and_then(|()| retry_on_intr(|| rustix::fs::syncfs(directory)))
            .map_err(failed("sync"))?;
    }
    Ok(replayed)
}

/// Whether there is a first frame, whatever the rest of it looks like.
fn holds_frame(file: &File, generation: u64) -> io::Result<bool> {
    let mut header = [0; FRAME_HEADER_BYTES];
    let is_there = is_read(file.read_exact_at(&mut header, PAGE_BYTES))?;
    Ok(is_there && FrameHeader::decode(&header, generation, 0).is_some())
}

/// The bytes of the frame that begins at `offset_bytes`, if its header is that of the one which is due.
fn read_frame(
    file: &File,
    generation: u64,
    number: u32,
    offset_bytes: u64,
) -> io::Result<Option<([u8; FRAME_HEADER_BYTES], Vec<u8>)>> {
    let mut header = [0; FRAME_HEADER_BYTES];
    if !is_read(file.read_exact_at(&mut header, offset_bytes))? {
        return Ok(None);
    }
    let Some(frame) = FrameHeader::decode(&header, generation, number) else {
        return Ok(None);
    };
    if frame.body_bytes > SEGMENT_BYTES {
        return Ok(None);
    }
    let mut body = vec![0; frame.body_bytes as usize];
    let read = is_read(file.read_exact_at(&mut body, offset_bytes + FRAME_HEADER_BYTES as u64))?;
    Ok(read.then_some((header, body)))
}

/// Whether there was so much to read.
fn is_read(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

struct Restore<'a> {
    root: &'a Arc<Root>,
    names: TempNames,
    distrusted: bool,
}

impl Restore<'_> {
    /// Sees to it that the file is what was kept; whether it had to be written.
    fn file(&self, &Kept { path, content, digest }: &Kept<'_>) -> Result<bool, Errno> {
        if !self.distrusted && self.holds(path, content) {
            return Ok(false);
        }
        let mut upwards: Vec<&Path> = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        upwards.reverse();
        for directory in upwards {
            match rustix::fs::mkdirat(&self.root.dir, directory, DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        let temp = TempFile::begin(self.root, &self.names)?;
        temp.write_all(0, [content])?;
        temp.note(digest);
        temp.rename_over(&self.root.dir, path.as_os_str())?;
        Ok(true)
    }

    fn holds(&self, path: &Path, content: &[u8]) -> bool {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.root.dir, path, flags, Mode::empty()).map(File::from) else {
            return false;
        };
        let is_as_long =
            file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == content.len() as u64);
        let mut chunk = vec![0; 128 * 1024];
        is_as_long
            && content.chunks(chunk.len()).zip((0_u64..).step_by(128 * 1024)).all(|(expected, offset_bytes)| {
                let part = &mut chunk[..expected.len()];
                file.read_exact_at(part, offset_bytes).is_ok() && part == expected
            })
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
