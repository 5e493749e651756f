//! Replay: a start settles the instances of an earlier process's log, which were acknowledged and may not be on the disk.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use super::frames::{
    Index, Indexed, begins_damaged, begins_with_zeros, holds_frame, index, last_of_each, of_each_path,
};
use super::record::{FRAMES_BEGIN_BYTES, SegmentHeader};
use super::restore::{Restorer, Since, lost_directory};
use super::segment::{self, identity_of};
use super::state::Replayed;
use crate::error::OpenError;
use crate::fault::{self, Step};
use crate::fs::{Errno, Handle, Open};
use crate::recovery::{Aside, Reason, Recovery};
use crate::root::Root;
use crate::sync::time_of_day_ms;

/// Name of a segment that could not be replayed for lack of space, and is kept.
const WAITING: &str = "waiting-";

/// The contents of the file of a segment.
enum Segment<H> {
    /// It can be replayed.
    Found(Found<H>),
    /// Only zeros: it was being created when the machine crashed, or somebody overwrote it.
    Blank,
    /// Nothing to be replayed.
    Empty,
}

/// A segment that holds frames.
struct Found<H> {
    name: OsString,
    header: SegmentHeader,
    file: H,
    index: Index,
}

/// Settles every entry of the segments in `directory`, and returns when all of that is on the disk. Until the segments are made anew,
/// doing it again comes to the same.
///
/// `is_in_use`: an earlier process has begun the log, so both segments must be there.
///
/// # Errors
/// If the storage fails. Errors of single paths are in `recovery`.
pub(crate) fn replay<H: Handle>(
    root: &Arc<Root<H>>,
    directory: &H,
    is_in_use: bool,
    recovery: &mut Recovery,
) -> Result<Replayed, OpenError> {
    let failed = |what| OpenError::io(what, root.path.join(".tidegate/log"));
    let mut segments = Vec::new();
    for name in names(directory).map_err(failed("list"))? {
        let file = match directory.open(Path::new(&name), Open::Read) {
            Ok(file) => file,
            Err(Errno::NOENT) => {
                recovery.aside.extend(is_in_use.then(|| missing(&name)));
                continue;
            }
            Err(error) => return Err(OpenError::io("open", root.path.join(".tidegate/log").join(&name))(error)),
        };
        let found = look(root, directory, &name, file, recovery)?;
        if matches!(found, Segment::Blank) && is_in_use {
            recovery.aside.push(missing(&name));
        }
        if let Segment::Found(found) = found {
            segments.push(found);
        }
    }
    segments.sort_by_key(|segment| segment.header.generation);
    let is_second = |segment: &Found<H>| segment.name == segment::name(1).as_str();
    let replayed = Replayed {
        next_generation: segments.last().map_or(1, |segment| segment.header.generation + 1),
        older: usize::from(segments.iter().find(|segment| !is_waiting(&segment.name)).is_some_and(is_second)),
    };
    let identity = identity_of(&root.dir, directory).map_err(failed("examine"))?;

    let in_order = segments.iter().enumerate();
    let entries = in_order.flat_map(|(number, found)| found.index.entries.iter().map(move |entry| (number, entry)));
    let paths: Vec<_> = of_each_path(entries).collect();
    if !paths.is_empty() {
        // For speed: one sync writes everything back at once. Its success is not relied on.
        let _ = fault::point(Step::Checkpoint).and_then(|()| root.trust.note(directory.sync_filesystem(&|| ())));
    }
    let mut restorer = Restorer::new(root);
    let mut waiting = vec![0; segments.len()];
    for (number, entry, is_last) in paths.iter().flat_map(|of_path| to_settle(of_path, &segments)) {
        let Found { name, header, file, .. } = &segments[number];
        let settled = match is_last {
            true => restorer.settle(since(root, identity, header, is_waiting(name)), entry, file),
            false => restorer.supersede(entry, file),
        };
        match settled {
            Ok(settled) => settled.count(recovery),
            Err(Errno::NOSPC | Errno::DQUOT) => waiting[number] += 1,
            Err(error) => return Err(OpenError::io("restore", root.path.join(&entry.path))(error)),
        }
    }
    restorer.finish().map_err(failed("sync the files of"))?;
    // The entries of a later segment for the same paths, voids above all, wait with it.
    let mut waits = false;
    for (Found { name, header, .. }, files) in segments.iter().zip(waiting) {
        waits |= files > 0;
        finish(directory, name, header, waits).map_err(failed("keep a segment of"))?;
        recovery.waiting_files += files;
    }
    Ok(replayed)
}

/// The entries of a path that a start settles: the last one, and each entry of a waiting segment that a later segment supersedes. The
/// path was free while the segment waited for space, so another instance could take it.
fn to_settle<'a, H>(
    of_path: &[(usize, &'a Indexed)],
    segments: &[Found<H>],
) -> impl Iterator<Item = (usize, &'a Indexed, bool)> {
    let superseded = of_path.windows(2).filter_map(|pair| {
        let [(number, entry), (next, later)] = pair else { return None };
        let has_waited = number != next && is_waiting(&segments[*number].name);
        (has_waited && entry.digest() != later.digest()).then_some((*number, *entry, false))
    });
    let last = of_path.last().map(|(number, entry)| (*number, *entry, true));
    superseded.collect::<Vec<_>>().into_iter().chain(last)
}

fn is_waiting(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(WAITING))
}

/// The segments of the log, and those that wait for space.
fn names<H: Handle>(directory: &H) -> Result<Vec<OsString>, Errno> {
    let mut names: Vec<OsString> = (0..2).map(|number| segment::name(number).into()).collect();
    for entry in directory.list()? {
        let name = entry?.name;
        if is_waiting(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A segment that is not there any more.
pub(crate) fn missing(name: &OsStr) -> Aside {
    Aside { path: Path::new(".tidegate/log").join(name), kept_as: None, reason: Reason::MissingLog }
}

/// The contents of a segment.
fn look<H: Handle>(
    root: &Arc<Root<H>>,
    directory: &H,
    name: &OsStr,
    file: H,
    recovery: &mut Recovery,
) -> Result<Segment<H>, OpenError> {
    let path = root.path.join(".tidegate/log");
    let failed = |what| OpenError::io(what, path.join(name));
    let mut headers = vec![0; FRAMES_BEGIN_BYTES as usize];
    let read = file.read_at(0, &mut headers).map_err(failed("read"))?;
    let headers = &headers[..read];
    if let Some((generation, first_bytes)) = SegmentHeader::of_another_version(headers) {
        if holds_frame(&file, generation, first_bytes).map_err(failed("read"))? {
            return Err(OpenError::LogOfAnotherVersion { path });
        }
        return Ok(Segment::Empty);
    }
    let header = SegmentHeader::decode(headers);
    let (index, is_damaged) = match &header {
        Some(header) => {
            let end_bytes = file.stat().map_err(failed("examine"))?.bytes;
            let index = index(&file, header, end_bytes).map_err(failed("read"))?;
            let is_damaged = index.damaged_frames > 0 || begins_damaged(&file).map_err(failed("read"))?;
            (index, is_damaged)
        }
        // A segment that was being created when the machine crashed holds only zeros.
        None => {
            let is_blank = headers.iter().all(|byte| *byte == 0);
            (Index::default(), !is_blank || !begins_with_zeros(&file).map_err(failed("read"))?)
        }
    };
    if is_damaged {
        let generation = header.as_ref().map_or(0, |header| header.generation);
        let kept_as = keep_segment(root, directory, name, generation).map_err(failed("set aside"))?;
        let path = Path::new(".tidegate/log").join(name);
        recovery.aside.push(Aside { path, kept_as: Some(kept_as), reason: Reason::DamagedLog });
    }
    Ok(match header {
        Some(header) => Segment::Found(Found { name: name.to_owned(), header, file, index }),
        None if is_damaged => Segment::Empty,
        None => Segment::Blank,
    })
}

/// Keeps a damaged segment as it is, for an expert to examine.
fn keep_segment<H: Handle>(
    root: &Root<H>,
    directory: &H,
    name: &OsStr,
    generation: u64,
) -> Result<std::path::PathBuf, Errno> {
    let mut kept = OsString::from(format!("{generation}-{}-", time_of_day_ms()));
    kept.push(name);
    let kept_as = lost_directory(root)?.join(kept);
    directory.link(name, &root.dir, &kept_as).map(|()| kept_as)
}

/// Number of instances in the log in `directory` that the next start has to settle, as far as they can be read.
pub(crate) fn count<H: Handle>(directory: &H) -> Result<u64, Errno> {
    let mut segments = Vec::new();
    for name in names(directory)? {
        let Ok(file) = directory.open(Path::new(&name), Open::Read) else { continue };
        let mut headers = vec![0; FRAMES_BEGIN_BYTES as usize];
        let read = file.read_at(0, &mut headers)?;
        if let Some(header) = SegmentHeader::decode(&headers[..read]) {
            segments.push((header.generation, index(&file, &header, file.stat()?.bytes)?));
        }
    }
    segments.sort_by_key(|(generation, _)| *generation);
    Ok(last_of_each(segments.iter().flat_map(|(_, index)| &index.entries).map(|entry| ((), entry))).len() as u64)
}

/// Puts a segment out of the way of the next log: one with files that wait is kept, one that waited in vain no longer is done.
fn finish<H: Handle>(directory: &H, name: &OsStr, header: &SegmentHeader, waits: bool) -> Result<(), Errno> {
    match (waits, is_waiting(name)) {
        (true, false) => {
            let waiting = OsString::from(format!("{WAITING}{}", header.generation));
            directory.rename(name, directory, Path::new(&waiting), crate::fs::Taken::Replace)
        }
        (false, true) => directory.unlink(name),
        (true, true) | (false, false) => Ok(()),
    }
}

/// The events since a segment was begun.
fn since<H: Handle>(root: &Root<H>, identity: u128, header: &SegmentHeader, has_waited: bool) -> Since {
    match root.filesystem.mount {
        _ if header.root != identity => Since::Copied,
        Some(mount) if header.mount == mount => Since::SameMount,
        _ if has_waited => Since::Waited,
        _ => Since::Crash,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::digest::Digest;

    fn found(name: &str) -> Found<()> {
        let header = SegmentHeader { generation: 1, salt: 0, mount: 0, root: 0 };
        Found { name: name.into(), header, file: (), index: Index::default() }
    }

    fn entry(content: &[u8]) -> Indexed {
        Indexed::of_test(PathBuf::from("1.dcm"), Digest::of([content]))
    }

    #[test]
    fn what_waits_for_space_is_set_aside_if_its_path_was_given_to_another() {
        let segments = [found("waiting-1"), found("segment-0"), found("segment-1")];
        let (first, second) = (entry(b"first"), entry(b"second"));
        let settled = |of_path: &[(usize, &Indexed)]| -> Vec<(usize, bool)> {
            to_settle(of_path, &segments).map(|(number, _, is_last)| (number, is_last)).collect()
        };
        assert_eq!(settled(&[(0, &first), (1, &second)]), [(0, false), (1, true)]);
        assert_eq!(settled(&[(0, &first), (1, &first)]), [(1, true)], "the same instance, sent again");
        assert_eq!(settled(&[(0, &first), (0, &second)]), [(0, true)], "replaced before it had to wait");
        assert_eq!(settled(&[(1, &first), (2, &second)]), [(2, true)], "it had its name before it was replaced");
    }
}
