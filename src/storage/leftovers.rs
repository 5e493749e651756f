//! A report of the files that a crash left in a root. It changes nothing; [`Store::open`](crate::Store::open) cleans the root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::OpenError;
use crate::fs::{Errno, Handle, Kind, Lock, Open};
use crate::meta::{FileMeta, StoredMeta};
use crate::root::{self, OWN, holder_of};
use crate::sync::time_of_day_ms;
use crate::wal::count_entries;

/// The use of a root by a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// No node has ever used it.
    Never,
    /// No node uses it now.
    Free,
    /// A node uses it now: unfinished files are its present work.
    Held {
        /// Its process ID, if the lock file has it.
        pid: Option<u32>,
    },
}

/// A file that was being written: an instance that was never acknowledged, so that its sender still has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Path below the root.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
    /// Time since the last write.
    pub age: Duration,
    /// Its file meta, if that was written.
    pub meta: Option<FileMeta>,
}

/// Acknowledged instances in the commit log of `root`, which the next start compares with their files.
pub fn logged(root: &Path) -> Result<u64, OpenError> {
    let log = root.join(OWN).join("log");
    match root::open(&log, Open::Directory) {
        Ok(directory) => count_entries(&directory).map_err(OpenError::io("read", &log)),
        Err(Errno::NOENT) => Ok(0),
        Err(error) => Err(OpenError::io("open", &log)(error)),
    }
}

/// Files below `.tidegate/lost` of `root`: instances that earlier starts have set aside.
pub fn set_aside(root: &Path) -> Result<u64, OpenError> {
    root::count_lost(&root::open(root, Open::Directory).map_err(OpenError::io("open", root))?, Path::new(""))
}

/// Reports every unfinished file in `root`, and whether a node uses the root.
pub fn scan(root: &Path, report: impl FnMut(Leftover)) -> Result<Use, OpenError> {
    root::open(root, Open::Directory).map_err(OpenError::io("open", root))?;
    let top = root::open(Path::new("/"), Open::Directory).map_err(OpenError::io("open", "/"))?;
    scanned(root, report).map_err(|error| error.explained(&top, root))
}

fn scanned(root: &Path, mut report: impl FnMut(Leftover)) -> Result<Use, OpenError> {
    let own = root.join(OWN);
    let usage = usage(&own.join("lock"))?;
    let tmp = own.join("tmp");
    let directory = match root::open(&tmp, Open::Directory) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(usage),
        Err(error) => return Err(OpenError::io("open", &tmp)(error)),
    };
    for entry in directory.list().map_err(OpenError::io("list", &tmp))? {
        let name = entry.map_err(OpenError::io("list", &tmp))?.name;
        let file = match directory.open(Path::new(&name), Open::ReadNoFollow) {
            Ok(file) => file,
            // Finished since; or a link, which is none of ours.
            Err(Errno::NOENT | Errno::LOOP) => continue,
            Err(error) => return Err(OpenError::io("open", &tmp)(error)),
        };
        if let Some(leftover) = leftover(&file, tmp.join(name)) {
            report(leftover);
        }
    }
    Ok(usage)
}

fn usage(lock: &Path) -> Result<Use, OpenError> {
    let file = match root::open(lock, Open::ReadNoFollow) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Use::Never),
        Err(error) => return Err(OpenError::io("open", lock)(error)),
    };
    // Shared, and given back at once: a node that starts at this very moment would have to be started again.
    match file.take_lock(Lock::Shared) {
        Ok(()) => Ok(Use::Free),
        Err(Errno::WOULDBLOCK) => Ok(Use::Held { pid: holder_of(&file) }),
        Err(error) => Err(OpenError::io("lock", lock)(error)),
    }
}

fn leftover(file: &File, path: PathBuf) -> Option<Leftover> {
    let stat = file.stat().ok().filter(|stat| stat.kind == Kind::File)?;
    let mut prefix = vec![0; FileMeta::MAX_ENCODED_BYTES];
    let read = file.read_at(0, &mut prefix).unwrap_or(0);
    let age_ms = time_of_day_ms().saturating_sub(stat.modified_ms());
    Some(Leftover {
        path,
        bytes: stat.bytes,
        age: Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)),
        meta: StoredMeta::read(&prefix[..read]).ok().map(|stored| stored.meta),
    })
}
