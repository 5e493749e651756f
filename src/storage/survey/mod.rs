//! The survey of a root: its directories, the files in them, and what is in a file. It reads and changes nothing, and runs beside the store.
//!
//! The store vouches for the root: there is no survey unless the root's path leads to the directory that the store has open, with the node's own
//! directory in it as it was at the start. So the mount point of a volume that is not there is never taken for a root whose files are gone. A survey stays with the directory
//! that it began with. It follows no symbolic link, and passes over what no store makes: the node's own directory, other names with a leading
//! period, and `lost+found`.

mod listed;
mod sending;
mod stored;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::digest::Recorded;
use crate::error::StoreError;
use crate::fs::{Errno, FilesystemKind, Handle, Kind, Link, Open, Stat, read_full};
use crate::head::{Head, HeadLimits, HeadScan, Progress, Wanted};
use crate::meta::{FileMeta, StoredMeta};
use crate::root::Root;
pub use listed::{Directories, Directory, Files, Listed};
pub use sending::{NotSendable, Outgoing};
pub use stored::{Reading, StoredFile};

/// Bytes of the first read of a file. Most heads end in it.
const FIRST_BYTES: usize = 8 * 1024;
/// Bytes of each further one.
const NEXT_BYTES: usize = 64 * 1024;
/// Bytes of a file that are read for its head. What stands behind them is passed over.
const MAX_READ_BYTES: u64 = 16 << 20;

/// A survey of the root of a store.
#[derive(Debug)]
pub struct Survey<H: Handle = std::fs::File>(Arc<Root<H>>);

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file with file meta information.
    Instance(Box<Surveyed>),
    /// Another file, or no regular file.
    Other,
    /// Nothing.
    Gone,
}

/// A file of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its file meta information.
    pub meta: FileMeta,
    /// Whether a node has stored it, by its file meta information.
    pub is_own: bool,
    /// The wanted elements that it has. A dataset that cannot be read has none.
    pub head: Head,
    /// Its length.
    pub bytes: u64,
    /// When it was modified, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When its metadata or content last changed, in nanoseconds since 1970. No program can set this time.
    pub changed_ns: i64,
    /// What it says of itself.
    pub recorded: Option<Recorded>,
}

impl<H: Handle> Survey<H> {
    pub(crate) fn new(root: Arc<Root<H>>) -> Self {
        Self(root)
    }

    /// All directories, the root itself among them, each before those below it.
    ///
    /// # Errors
    /// If the root cannot be listed.
    pub fn directories(&self) -> Result<Directories<H>, StoreError> {
        // There each subdirectory is a link of its directory.
        let counts_links = matches!(self.0.filesystem.kind, FilesystemKind::Ext4 | FilesystemKind::Xfs);
        Directories::new(&self.0.dir, counts_links).map_err(|error| self.0.failed("list", error))
    }

    /// When the directory at `path` last changed, in nanoseconds since 1970; `None` if there is none.
    pub fn changed_ns(&self, path: &Path) -> Result<Option<i64>, Errno> {
        let stat =
            if path.as_os_str().is_empty() { self.0.dir.stat() } else { self.0.dir.stat_at(path, Link::NoFollow) };
        Ok(existing(stat)?.filter(|stat| stat.kind == Kind::Directory).map(|stat| stat.changed_ns))
    }

    /// The regular files of the directory at `path`.
    pub fn files(&self, path: &Path) -> Result<Files<H>, Errno> {
        Files::new(self.0.dir.open(path, Open::DirectoryNoFollow)?)
    }

    /// Whether a regular file is at `path`.
    pub fn is_file(&self, path: &Path) -> Result<bool, Errno> {
        Ok(existing(self.0.dir.stat_at(path, Link::NoFollow))?.is_some_and(|stat| stat.kind == Kind::File))
    }

    /// Reads the file at `path`, as far as `wanted` asks.
    pub fn read(&self, path: &Path, wanted: &Wanted) -> Result<Found, Errno> {
        let file = match self.0.dir.open(path, Open::ReadNoFollow) {
            Err(Errno::LOOP) => return Ok(Found::Other),
            opened => existing(opened)?,
        };
        let Some(file) = file else { return Ok(Found::Gone) };
        let stat = file.stat()?;
        if stat.kind != Kind::File {
            return Ok(Found::Other);
        }
        let mut first = [0; FIRST_BYTES];
        let length = read_full(&file, 0, &mut first)?;
        let Ok(StoredMeta { meta, dataset_offset, is_own }) = StoredMeta::read(&first[..length]) else {
            return Ok(Found::Other);
        };
        let mut scan = HeadScan::of_head(&meta.transfer_syntax_uid, wanted.clone(), HeadLimits::default());
        let progress = scan.feed(&first[dataset_offset as usize..length]);
        if progress == Progress::More && length == FIRST_BYTES {
            feed_rest(&file, &mut scan)?;
        }
        let head = scan.finish().unwrap_or_default();
        let Stat { bytes, modified_ns, changed_ns, .. } = stat;
        let recorded = Recorded::read(&file);
        Ok(Found::Instance(Box::new(Surveyed { meta, is_own, head, bytes, modified_ns, changed_ns, recorded })))
    }
}

/// Feeds what follows the first read, until the head is known or the limit is reached.
fn feed_rest<H: Handle>(file: &H, scan: &mut HeadScan) -> Result<(), Errno> {
    let (mut offset_bytes, mut chunk) = (FIRST_BYTES as u64, vec![0; NEXT_BYTES]);
    while offset_bytes < MAX_READ_BYTES {
        let length = read_full(file, offset_bytes, &mut chunk)?;
        offset_bytes += length as u64;
        if length == 0 || scan.feed(&chunk[..length]) == Progress::Done {
            break;
        }
    }
    Ok(())
}

/// `None` if there is nothing at a path, or its way there leads through something else than directories.
fn existing<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error),
    }
}
