//! The removal of files that are not needed any more, beside commits: a file is removed only if it is the one that the caller knows, at a path without
//! symbolic links below the root, and while no commit answers for it.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::digest::Recorded;
use crate::error::StoreError;
use crate::fs::{Errno, Handle, Kind, Link, Open};
use crate::paths::PathGuard;
use crate::root::Root;

/// The reservation of a file that is to be removed. While it exists, a commit that finds the file, or that wants its path, waits.
#[derive(Debug)]
pub struct Removal<H: Handle = std::fs::File> {
    root: Arc<Root<H>>,
    path: PathBuf,
    _guard: PathGuard,
}

/// A file before it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Its length.
    pub bytes: u64,
    /// When its content changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// What it says of itself.
    pub recorded: Option<Recorded>,
}

/// The outcome of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The file is removed.
    Removed,
    /// There is no such file.
    Gone,
    /// Something else is there, and was left alone.
    Other,
}

impl<H: Handle> Removal<H> {
    /// Reserves the file at `path`: see [`Store::begin_removal`](crate::Store::begin_removal).
    pub(crate) fn begin(root: Arc<Root<H>>, path: &Path) -> Result<Option<Self>, StoreError> {
        if !is_of_a_store(path) {
            return Err(StoreError::new("remove", path, Errno::INVAL));
        }
        let key = root.paths.key(path);
        let Some(guard) = root.paths.reserve_removal(key) else { return Ok(None) };
        // A replay would store it again.
        if root.wal().is_some_and(|wal| wal.has(key)) {
            return Ok(None);
        }
        Ok(Some(Self { root, path: path.to_owned(), _guard: guard }))
    }

    /// The path, relative to the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file if it is the one that `is_known` says, then each directory above it that is empty. The root stays.
    ///
    /// # Errors
    /// Those of the filesystem; the file may be there.
    pub fn remove(&self, is_known: impl FnOnce(&Looked) -> bool) -> Result<Removed, Errno> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(Removed::Other) };
        let directory = match self.root.dir.open(parent, Open::DirectoryNoFollow) {
            Err(Errno::NOENT) => return Ok(Removed::Gone),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Removed::Other),
            opened => opened?,
        };
        let file = match directory.open(Path::new(name), Open::ReadNoFollow) {
            Err(Errno::NOENT) => return Ok(Removed::Gone),
            Err(Errno::LOOP) => return Ok(Removed::Other),
            opened => opened?,
        };
        let stat = file.stat()?;
        let looked = Looked { bytes: stat.bytes, modified_ns: stat.modified_ns, recorded: Recorded::read(&file) };
        if stat.kind != Kind::File || !is_known(&looked) {
            return Ok(Removed::Other);
        }
        // Nobody of this node replaces it now. Another program may; between these two calls nothing can be done about it.
        let now = directory.stat_at(Path::new(name), Link::NoFollow)?;
        if (now.dev, now.ino) != (stat.dev, stat.ino) {
            return Ok(Removed::Other);
        }
        directory.unlink(name)?;
        self.remove_empty(parent);
        Ok(Removed::Removed)
    }

    /// Removes `directory` and those above it, as long as they are empty. A commit that was about to put a file there finds it missing, and makes it anew.
    fn remove_empty(&self, directory: &Path) {
        let mut left = Some(directory);
        while let Some(path) = left.filter(|path| !path.as_os_str().is_empty()) {
            let above = path.parent().unwrap_or(Path::new(""));
            let removed = self.root.dir.open(above, Open::DirectoryNoFollow).and_then(|above| {
                let name = path.file_name().unwrap_or(OsStr::new(""));
                above.remove_directory(name)
            });
            if removed.is_err() {
                return; // it is not empty, most often; an empty directory does no harm
            }
            left = Some(above);
        }
    }
}

/// Whether a store may have made the path: below the root, and not in the node's own directory.
fn is_of_a_store(path: &Path) -> bool {
    let is_name = |part: Component<'_>| match part {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        _ => false,
    };
    path.file_name().is_some() && path.components().all(is_name)
}
