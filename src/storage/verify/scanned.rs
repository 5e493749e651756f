//! The files that are verified: those that are listed, or those that are named.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Errno, Handle, Kind, Link, Open};
use crate::tree::{Extent, LOST_AND_FOUND, Met, Tree};

/// An entry below the root.
pub(super) enum Entry {
    /// A regular file.
    File(ScannedFile),
    /// An entry that no store makes.
    Foreign,
    /// A directory that cannot be listed, or a name that cannot be examined.
    Unreadable { path: PathBuf, error: Errno },
}

/// A name in an open directory.
pub(super) struct ScannedFile {
    pub(super) path: PathBuf,
    /// It was named, not listed.
    pub(super) is_named: bool,
    directory: Arc<File>,
    name: OsString,
}

impl ScannedFile {
    /// Opens the file; `None` when it is gone, or is no regular file any more.
    pub(super) fn open(&self) -> Result<Option<File>, Errno> {
        match self.directory.open(Path::new(&self.name), Open::ReadNoFollow) {
            Ok(file) => Ok((file.stat()?.kind == Kind::File).then_some(file)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a regular file is there.
    pub(super) fn is_there(&self) -> Result<bool, Errno> {
        match self.directory.stat_at(Path::new(&self.name), Link::NoFollow) {
            Ok(stat) => Ok(stat.kind == Kind::File),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Calls `met` for all below `root`, until it answers `false`.
pub(super) fn list(root: &File, met: &mut dyn FnMut(Entry) -> bool) -> Result<(), Errno> {
    for entry in Tree::new(root, Extent::All)? {
        let entry = match entry {
            Met::Directory { .. } => continue,
            Met::File { path, directory, name } => Entry::File(ScannedFile { path, is_named: false, directory, name }),
            Met::Foreign => Entry::Foreign,
            // It belongs to the superuser.
            Met::Unreadable { path, error: Errno::ACCESS } if path == Path::new(LOST_AND_FOUND) => Entry::Foreign,
            Met::Unreadable { path, error } => Entry::Unreadable { path, error },
        };
        if !met(entry) {
            break;
        }
    }
    Ok(())
}

/// Calls `met` for the files with these paths below `root`, whether they are there or not, until it answers `false`. A path that leads out of the root
/// is passed over.
pub(super) fn named(
    root: &File,
    paths: impl Iterator<Item = PathBuf>,
    met: &mut dyn FnMut(Entry) -> bool,
) -> Result<(), Errno> {
    let directory = Arc::new(root.open(Path::new(""), Open::DirectoryNoFollow)?);
    let stays_below = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
    for path in paths.filter(stays_below) {
        let name = path.clone().into_os_string();
        if !met(Entry::File(ScannedFile { path, is_named: true, directory: Arc::clone(&directory), name })) {
            break;
        }
    }
    Ok(())
}
