//! Settling one entry of the log: it compares the file at the entry's path with the entry, and decides what to do.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frames::Indexed;
use crate::digest::{Digest, Recorded};
use crate::error::StoreError;
use crate::fs::{Errno, Handle, Kind, Link, Open, PAGE_BYTES, Pages, Stat};
use crate::recovery::{Aside, Reason, Recovery};
use crate::root::{LOST, OWN, Root};
use crate::temp::{TempFile, TempNames};

/// Bytes read at a time when a file is compared with its entry.
const CHUNK_BYTES: usize = 32 * PAGE_BYTES;

/// Longest time between a frame and the write of its file, on a slow disk. A file modified later was changed by another process.
const LATER_MS: i64 = 2000;

/// The events since the log was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// At most the end of a process. Each acknowledged file has its name, and the page cache is intact.
    SameMount,
    /// The machine may have crashed. A file may be missing, short or in part zeros.
    Crash,
    /// The log was copied to this machine together with the root, which may be newer or older.
    Copied,
    /// An earlier start had no room to restore the entry, and the node has stored instances since.
    Waited,
}

/// The state of the path of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Absent,
    /// The whole file is on the disk.
    Whole,
    /// Part of the file, as a crash leaves it: too short, or with pages of zeros.
    Torn,
    /// The whole file is in the page cache, but not on the disk.
    Unwritten,
    /// An earlier file of the node, unchanged since it was stored.
    Older,
    Changed,
    Obstructed(Errno),
}

/// The action for an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Keep the file: the instance is stored.
    Keep,
    /// Leave the path: the file was changed, moved or removed since.
    Leave,
    /// Write the file again.
    Restore,
    SetAside(Reason),
}

/// The outcome for an entry.
#[derive(Debug)]
pub(super) enum Settled {
    Kept,
    Left,
    Restored,
    Aside(Aside),
}

impl Settled {
    /// Adds the outcome to the report of a start or a checkpoint.
    pub(super) fn count(self, recovery: &mut Recovery) {
        match self {
            Self::Kept => {}
            Self::Left => recovery.left_files += 1,
            Self::Restored => recovery.restored_files += 1,
            Self::Aside(aside) => recovery.aside.push(aside),
        }
    }
}

/// Settles entries of the log, one at a time. [`Self::finish`] makes the results durable.
#[derive(Debug)]
pub(super) struct Restorer<'a, H: Handle> {
    root: &'a Arc<Root<H>>,
    names: TempNames,
    /// Directories whose names have to be made durable.
    directories: BTreeSet<PathBuf>,
    pages: Pages,
}

fn verdict(since: Since, standing: Standing, is_modified_later: bool, is_changed_later: bool) -> Verdict {
    use Since::{Copied, Crash, SameMount, Waited};
    match (since, standing) {
        (_, Standing::Whole) => Verdict::Keep,
        (_, Standing::Unwritten) => Verdict::Restore,
        (_, Standing::Obstructed(error)) => Verdict::SetAside(Reason::Obstructed { error: error.to_string() }),
        // The names of the cache are those of the files. Their lengths need not be: an inode may have been forgotten after its
        // write-back had failed.
        (SameMount, Standing::Absent | Standing::Older | Standing::Changed) => Verdict::Leave,
        (SameMount, Standing::Torn) if is_modified_later => Verdict::Leave,
        (Crash | Copied | Waited, Standing::Absent) | (SameMount | Crash, Standing::Torn) => Verdict::Restore,
        (Copied | Waited, Standing::Torn) if !is_modified_later => Verdict::Restore,
        // Nothing of ours gets a name that is in the log but by way of the log: it is an earlier one.
        (Crash, Standing::Older) if !is_changed_later => Verdict::Restore,
        (Crash | Waited, Standing::Torn | Standing::Older | Standing::Changed) => {
            Verdict::SetAside(Reason::ChangedSince)
        }
        (Copied, Standing::Torn | Standing::Older | Standing::Changed) => Verdict::SetAside(Reason::ForeignLog),
    }
}

impl<'a, H: Handle> Restorer<'a, H> {
    pub(super) fn new(root: &'a Arc<Root<H>>) -> Self {
        Self { root, names: TempNames::new(), directories: BTreeSet::new(), pages: Pages::new(CHUNK_BYTES) }
    }

    /// Ensures that the instance of an entry is at its path, or in quarantine.
    ///
    /// # Errors
    /// Errors of the storage, not of a path. The entry stays in the log.
    pub(super) fn settle(&mut self, since: Since, entry: &Indexed, segment: &H) -> Result<Settled, Errno> {
        let Some(content) = entry.content(segment)? else {
            return self.settle_damaged(since, entry);
        };
        let (standing, stat) = self.examine(&entry.path, &content)?;
        let modified = stat.is_some_and(|stat| stat.modified_ms() > entry.time_ms.saturating_add(LATER_MS));
        // Two facts identify an earlier file of the node: its content, and that nothing about it has changed since the frame was written.
        let changed = stat.is_some_and(|stat| stat.changed_ms() >= entry.time_ms);
        match verdict(since, standing, modified, changed) {
            // The content is on the disk, but the name may not be.
            Verdict::Keep if since == Since::SameMount && self.root.trust.failures() > 0 => {
                self.restore(entry, &content, stat)
            }
            Verdict::Keep => {
                self.note_directories(&entry.path);
                Ok(Settled::Kept)
            }
            Verdict::Leave => Ok(Settled::Left),
            Verdict::Restore => self.restore(entry, &content, stat),
            Verdict::SetAside(reason) => self.set_aside(entry, &content, reason),
        }
    }

    /// Quarantines an instance whose path was given to a later one before it could be restored.
    pub(super) fn supersede(&mut self, entry: &Indexed, segment: &H) -> Result<Settled, Errno> {
        match entry.content(segment)? {
            Some(content) => self.set_aside(entry, &content, Reason::ChangedSince),
            None => Ok(Settled::Aside(damaged(entry))),
        }
    }

    /// Makes all settled entries durable.
    pub(super) fn finish(self) -> Result<(), Errno> {
        let mut is_out_of_reach = false;
        for path in &self.directories {
            match self.root.dir.open(path, Open::Directory) {
                Ok(directory) => self.root.trust.note(directory.sync())?,
                // The directory was moved away, or is not readable. A sync of the filesystem covers its names.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => is_out_of_reach = true,
                Err(error) => return Err(error),
            }
        }
        if is_out_of_reach {
            self.root.trust.note(self.root.dir.sync_filesystem(&|| ()))?;
        }
        self.root.trust.prove_journal()
    }

    /// Settles an entry that is damaged on the disk. Its file may still be whole.
    fn settle_damaged(&mut self, since: Since, entry: &Indexed) -> Result<Settled, Errno> {
        let file = match self.root.dir.open(&entry.path, Open::Read) {
            Ok(file) => file,
            Err(_) if since == Since::SameMount => return Ok(Settled::Left),
            // The file never got its name, so the instance was never acknowledged.
            Err(Errno::NOENT) if entry.is_in_last_frame => return Ok(Settled::Left),
            Err(_) => return Ok(Settled::Aside(damaged(entry))),
        };
        let synced = file.sync_data();
        if self.root.trust.note(synced).is_ok() && digest_of(&file).is_ok_and(|digest| digest == entry.digest()) {
            self.note_directories(&entry.path);
            return Ok(Settled::Kept);
        }
        Ok(if since == Since::SameMount { Settled::Left } else { Settled::Aside(damaged(entry)) })
    }

    fn examine(&mut self, path: &Path, content: &[u8]) -> Result<(Standing, Option<Stat>), Errno> {
        let dir = &self.root.dir;
        let opened = dir.stat_at(path, Link::NoFollow).and_then(|seen| {
            let file = dir.open(path, Open::Read)?;
            file.stat().map(|stat| (file, stat, seen))
        });
        let (file, stat, seen) = match opened {
            Ok((file, stat, seen)) if stat.kind == Kind::File => (file, stat, seen),
            Ok(_) => return Ok((Standing::Obstructed(Errno::ISDIR), None)),
            Err(Errno::NOENT) => return Ok((Standing::Absent, None)),
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(error),
            Err(error) => return Ok((Standing::Obstructed(error), None)),
        };
        // Linux reports a failed write-back once. Its effect shows in the bytes read next.
        self.root.trust.note(file.sync_data()).or_else(|_| file.sync_data())?;
        file.start_write_back(0, None);
        let direct = dir.open(path, Open::ReadDirect);
        let on_disk = self.compare(direct.as_ref().unwrap_or(&file), stat.bytes, content);
        let standing = match on_disk {
            Compared::Equal if direct.is_ok() => Standing::Whole,
            Compared::Equal => Standing::Unwritten, // for all that is known
            _ if self.compare(&file, stat.bytes, content) == Compared::Equal => Standing::Unwritten,
            Compared::Torn => Standing::Torn,
            Compared::Other if Recorded::read(&file).is_some_and(|own| digest_of(&file) == Ok(own.digest)) => {
                Standing::Older
            }
            Compared::Other => Standing::Changed,
        };
        Ok((standing, Some(seen)))
    }

    /// Compares a file of `bytes` with its expected content. Unreadable bytes count as zeros.
    fn compare(&mut self, file: &H, bytes: u64, content: &[u8]) -> Compared {
        if bytes > content.len() as u64 {
            return Compared::Other;
        }
        let mut compared = Compared::Equal;
        for (at, expected) in content.chunks(CHUNK_BYTES).enumerate() {
            let chunk = &mut self.pages.as_mut_slice()[..CHUNK_BYTES];
            // In one call: direct I/O can reach the end of a file only from the beginning of a page.
            let read = file.read_at((at * CHUNK_BYTES) as u64, chunk).unwrap_or(0).min(expected.len());
            chunk[read..].fill(0);
            for (expected, found) in expected.chunks(PAGE_BYTES).zip(chunk.chunks(PAGE_BYTES)) {
                let found = &found[..expected.len()];
                if found != expected {
                    let differing = expected.iter().zip(found).position(|(expected, found)| expected != found);
                    // The page is cut off, or was never written.
                    if found[differing.unwrap_or(0)..].iter().any(|byte| *byte != 0) {
                        return Compared::Other;
                    }
                    compared = Compared::Torn;
                }
            }
        }
        match compared {
            _ if bytes < content.len() as u64 => Compared::Torn,
            compared => compared,
        }
    }

    /// Writes the file of an entry, in place of the file that was `seen` there.
    fn restore(&mut self, entry: &Indexed, content: &[u8], seen: Option<Stat>) -> Result<Settled, Errno> {
        let (path, dir) = (&entry.path, &self.root.dir);
        let temp = self.temp(content, entry.recorded)?;
        // Without the length: the examination itself may have changed it.
        let identity = |stat: Stat| (stat.dev, stat.ino, stat.kind, stat.modified_ns);
        let stands = match dir.stat_at(path, Link::NoFollow) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) if is_of_the_storage(error) => return Err(error),
            Err(error) => return self.set_aside(entry, content, Reason::Obstructed { error: error.to_string() }),
        };
        if stands.map(identity) != seen.map(identity) {
            return self.set_aside(entry, content, Reason::ChangedSince); // within this moment
        }
        let renamed = temp.rename_over(dir, path.as_os_str()).or_else(|error| {
            if error != Errno::NOENT {
                return Err(error);
            }
            self.make_directories(path)?;
            temp.rename_over(dir, path.as_os_str())
        });
        match renamed {
            Ok(()) => {
                self.note_directories(path);
                Ok(Settled::Restored)
            }
            Err(error) if is_of_the_storage(error) => Err(error),
            Err(error) => self.set_aside(entry, content, Reason::Obstructed { error: error.to_string() }),
        }
    }

    fn make_directories(&self, path: &Path) -> Result<(), Errno> {
        let mut directories: Vec<&Path> =
            path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        directories.reverse();
        directories.into_iter().try_for_each(|directory| match self.root.make_directory(directory) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        })
    }

    fn temp(&self, content: &[u8], recorded: Recorded) -> Result<TempFile<H>, Errno> {
        let temp = TempFile::begin(self.root, &self.names)?;
        temp.write_all(0, [content])?;
        temp.record(recorded);
        self.root.trust.note(temp.file.sync_data())?;
        Ok(temp)
    }

    fn set_aside(&mut self, entry: &Indexed, content: &[u8], reason: Reason) -> Result<Settled, Errno> {
        let temp = self.temp(content, entry.recorded)?;
        let mut name = OsString::from(format!("{}-{}-{}-", entry.generation, entry.frame, entry.number));
        name.push(entry.path.file_name().unwrap_or_default());
        let kept_as = lost_directory(self.root)?.join(name);
        temp.rename_over(&self.root.dir, kept_as.as_os_str())?;
        self.note_directories(&kept_as);
        Ok(Settled::Aside(Aside { path: entry.path.clone(), kept_as: Some(kept_as), reason }))
    }

    fn note_directories(&mut self, path: &Path) {
        self.directories.extend(path.ancestors().skip(1).map(Path::to_owned));
    }
}

/// An entry that cannot be read, and whose file is not at its path either.
fn damaged(entry: &Indexed) -> Aside {
    Aside { path: entry.path.clone(), kept_as: None, reason: Reason::DamagedLog }
}

/// The result of comparing a file with its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    Equal,
    Torn,
    Other,
}

/// Whether an error concerns the storage and not a path.
fn is_of_the_storage(error: Errno) -> bool {
    use Errno as E;
    matches!(error, E::IO | E::NOMEM | E::NOSPC | E::DQUOT | E::ROFS | E::MFILE | E::NFILE)
}

/// The quarantine directory, relative to the root. It is created if need be.
pub(super) fn lost_directory<H: Handle>(root: &Root<H>) -> Result<PathBuf, Errno> {
    let lost = Path::new(OWN).join(LOST);
    match root.dir.make_directory(&lost) {
        Ok(()) | Err(Errno::EXIST) => Ok(lost),
        Err(error) => Err(error),
    }
}

/// The digest of a file's content.
fn digest_of<H: Handle>(file: &H) -> Result<Digest, Errno> {
    let (mut hasher, mut chunk, mut offset_bytes) = (crate::digest::Hasher::default(), vec![0; CHUNK_BYTES], 0);
    loop {
        match file.read_at(offset_bytes, &mut chunk)? {
            0 => return Ok(hasher.digest()),
            read => {
                hasher.update(&chunk[..read]);
                offset_bytes += read as u64;
            }
        }
    }
}

/// The error for an entry that could not be settled.
pub(super) fn failed(entry: &Indexed) -> impl FnOnce(Errno) -> StoreError {
    move |error| StoreError::new("restore", &entry.path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_did_is_theirs_and_what_a_crash_did_is_undone() {
        use Since::{Copied, Crash, SameMount};
        let verdict = |since, standing| verdict(since, standing, false, false);
        for standing in [Standing::Absent, Standing::Older, Standing::Changed] {
            assert_eq!(verdict(SameMount, standing), Verdict::Leave, "{standing:?}");
        }
        for standing in [Standing::Absent, Standing::Torn, Standing::Older, Standing::Unwritten] {
            assert_eq!(verdict(Crash, standing), Verdict::Restore, "{standing:?}");
        }
        assert_eq!(verdict(SameMount, Standing::Torn), Verdict::Restore);
        assert_eq!(verdict(Crash, Standing::Changed), Verdict::SetAside(Reason::ChangedSince));
        for standing in [Standing::Older, Standing::Changed] {
            assert_eq!(verdict(Copied, standing), Verdict::SetAside(Reason::ForeignLog), "{standing:?}");
        }
        for since in [SameMount, Crash, Copied] {
            assert_eq!(verdict(since, Standing::Whole), Verdict::Keep);
            assert!(matches!(verdict(since, Standing::Obstructed(Errno::LOOP)), Verdict::SetAside(_)));
        }
    }

    #[test]
    fn a_file_that_was_touched_later_is_not_what_the_crash_left() {
        assert_eq!(verdict(Since::Crash, Standing::Older, true, true), Verdict::SetAside(Reason::ChangedSince));
        assert_eq!(verdict(Since::SameMount, Standing::Torn, true, true), Verdict::Leave);
    }
}
