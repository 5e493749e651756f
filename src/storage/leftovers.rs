//! What a crash left in a root: told without changing anything. [`Store::open`](crate::Store::open) is what cleans it.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::OpenError;
use crate::meta::{FileMeta, StoredMeta};
use crate::root::{OWN, holder_of, open_directory};

/// Whether a node uses the root now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// No node ever did.
    Never,
    /// None does.
    Free,
    /// One does: what is unfinished is its work of this moment.
    Held {
        /// Its process, where the lock file says.
        pid: Option<u32>,
    },
}

/// A file that was being written: an instance that was never acknowledged, so that its sender still has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// How long ago it was written to last.
    pub age: Duration,
    /// What it was to become, where that much of it was written.
    pub meta: Option<FileMeta>,
}

/// Tells every unfinished file in `root`, and whether a node uses it.
pub fn tell(root: &Path, mut tell: impl FnMut(Leftover)) -> Result<Use, OpenError> {
    open_directory(root).map_err(OpenError::io("open", root))?;
    let own = root.join(OWN);
    let usage = usage(&own.join("lock"))?;
    let tmp = own.join("tmp");
    let directory = match open_directory(&tmp) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(usage),
        Err(error) => return Err(OpenError::io("open", &tmp)(error)),
    };
    for entry in Dir::read_from(&directory).map_err(OpenError::io("list", &tmp))? {
        let entry = entry.map_err(OpenError::io("list", &tmp))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(&directory, entry.file_name(), flags, Mode::empty()) {
            Ok(file) => file.into(),
            // Finished since; or a link, which is none of ours.
            Err(Errno::NOENT | Errno::LOOP) => continue,
            Err(error) => return Err(OpenError::io("open", &tmp)(error)),
        };
        let path = tmp.join(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
        if let Some(leftover) = leftover(&file, path) {
            tell(leftover);
        }
    }
    Ok(usage)
}

fn usage(lock: &Path) -> Result<Use, OpenError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: File = match rustix::fs::open(lock, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(Errno::NOENT) => return Ok(Use::Never),
        Err(error) => return Err(OpenError::io("open", lock)(error)),
    };
    // Shared, and given back at once: a node that starts at this very moment would have to be started again.
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Use::Free),
        Err(Errno::WOULDBLOCK) => Ok(Use::Held { pid: holder_of(&file) }),
        Err(error) => Err(OpenError::io("lock", lock)(error)),
    }
}

fn leftover(file: &File, path: PathBuf) -> Option<Leftover> {
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut prefix = vec![0; FileMeta::MAX_ENCODED_BYTES];
    let read = file.read_at(&mut prefix, 0).unwrap_or(0);
    let written = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    Some(Leftover {
        path,
        bytes: metadata.size(),
        age: written.unwrap_or_default(),
        meta: StoredMeta::read(&prefix[..read]).ok().map(|stored| stored.meta),
    })
}
