//! Directories and files, as they are met.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::digest::Recorded;
use crate::fs::{Entry, Errno, Handle, Kind, Open};
use crate::tree::{Extent, Met, Tree, is_hidden};

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Below the root; empty for the root.
    pub path: PathBuf,
    /// When it last changed (`st_ctime`), in nanoseconds since 1970.
    pub changed_ns: i64,
}

/// The directories below a root.
pub struct Directories<H: Handle = std::fs::File>(Tree<H>);

impl<H: Handle> Directories<H> {
    pub(super) fn new(root: &H, counts_links: bool) -> Result<Self, Errno> {
        Tree::new(root, Extent::Directories { counts_links }).map(Self)
    }
}

impl<H: Handle> Iterator for Directories<H> {
    /// An error is a directory that cannot be listed.
    type Item = Result<Directory, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|met| match met {
            Met::Directory { path, changed_ns } => Some(Ok(Directory { path, changed_ns })),
            Met::Unreadable { error, .. } => Some(Err(error)),
            Met::File { .. } | Met::Foreign => None,
        })
    }
}

/// A file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// In the directory.
    pub name: OsString,
    /// Its length.
    pub bytes: u64,
    /// When it was modified, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// What it says of itself.
    pub recorded: Option<Recorded>,
}

/// The files of a directory.
pub struct Files<H: Handle = std::fs::File> {
    directory: H,
    entries: H::Entries,
}

impl<H: Handle> Files<H> {
    pub(super) fn new(directory: H) -> Result<Self, Errno> {
        Ok(Self { entries: directory.list()?, directory })
    }

    fn look(&self, entry: Entry) -> Result<Option<Listed>, Errno> {
        if is_hidden(&entry.name) || entry.kind_in(&self.directory)? != Kind::File {
            return Ok(None);
        }
        let file = self.directory.open(Path::new(&entry.name), Open::ReadNoFollow)?;
        let stat = file.stat()?;
        let recorded = Recorded::read(&file);
        let listed = Listed { name: entry.name, bytes: stat.bytes, modified_ns: stat.modified_ns, recorded };
        Ok((stat.kind == Kind::File).then_some(listed))
    }
}

impl<H: Handle> Iterator for Files<H> {
    /// An error is a file that cannot be opened, or the end of the directory that cannot be listed.
    type Item = Result<Listed, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.entries.next()?.and_then(|entry| self.look(entry)) {
                Ok(Some(file)) => return Some(Ok(file)),
                Ok(None) | Err(Errno::NOENT | Errno::LOOP) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
