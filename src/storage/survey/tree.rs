//! Directories and files, as they are met. Of each level of directories one is open.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::digest::Recorded;
use crate::fs::{Entry, Errno, Handle, Kind, Open};

/// Directories inside one another. A layout makes at most eleven.
const MAX_DEPTH: usize = 64;

/// A directory of `mkfs`, at the top of an ext4 filesystem. Only root may look into it.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Below the root; empty for the root.
    pub path: PathBuf,
    /// When it last changed (`st_ctime`), in nanoseconds since 1970.
    pub changed_ns: i64,
}

/// The directories below a root.
pub struct Directories<H: Handle = std::fs::File> {
    /// Whether a directory with two links is known to have no other below it.
    counts_links: bool,
    top: Option<Directory>,
    levels: Vec<Level<H>>,
}

struct Level<H: Handle> {
    path: PathBuf,
    directory: H,
    entries: H::Entries,
}

impl<H: Handle> Directories<H> {
    pub(super) fn new(root: H, counts_links: bool) -> Result<Self, Errno> {
        let top = Directory { path: PathBuf::new(), changed_ns: root.stat()?.changed_ns };
        let level = Level { path: PathBuf::new(), entries: root.list()?, directory: root };
        Ok(Self { counts_links, top: Some(top), levels: vec![level] })
    }

    /// The directory that an entry of the innermost level is; `None` if it is none.
    fn enter(&mut self, entry: &Entry) -> Result<Option<Directory>, Errno> {
        let is_top = self.levels.len() == 1;
        let Some(Level { path, directory, .. }) = self.levels.last() else { return Ok(None) };
        let name = entry.name.as_bytes();
        if is_hidden(&entry.name) || (is_top && name == LOST_AND_FOUND) || entry.kind_in(directory)? != Kind::Directory
        {
            return Ok(None);
        }
        let path = path.join(&entry.name);
        let directory = directory.open(Path::new(&entry.name), Open::DirectoryNoFollow)?;
        let stat = directory.stat()?;
        if !(self.counts_links && stat.links == 2) {
            if self.levels.len() == MAX_DEPTH {
                return Err(Errno::NAMETOOLONG);
            }
            let entries = directory.list()?;
            self.levels.push(Level { path: path.clone(), directory, entries });
        }
        Ok(Some(Directory { path, changed_ns: stat.changed_ns }))
    }
}

impl<H: Handle> Iterator for Directories<H> {
    /// An error is a directory that cannot be listed.
    type Item = Result<Directory, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(top) = self.top.take() {
            return Some(Ok(top));
        }
        loop {
            let entered = match self.levels.last_mut()?.entries.next() {
                Some(Ok(entry)) => self.enter(&entry),
                Some(Err(error)) => {
                    self.levels.pop();
                    Err(error)
                }
                None => {
                    self.levels.pop();
                    continue;
                }
            };
            match entered {
                Ok(Some(directory)) => return Some(Ok(directory)),
                // Removed or replaced since it was listed, which other programs may do.
                Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Some(Err(error)),
            }
        }
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

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}
