//! What catch-up asks of the storage root.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::Record;

/// A storage root. Its implementation stands where the layout and the datasets are known; here nothing opens a file of an instance.
pub trait Disk {
    /// The directories below the root.
    type Directories: Iterator<Item = io::Result<Directory>>;
    /// The regular files of a directory.
    type Files: Iterator<Item = io::Result<File>>;

    /// All directories that may hold instances, the root itself among them, each before those below it. The node's own, and those that no store
    /// makes, are left out. An error is a directory that cannot be listed.
    fn directories(&self) -> io::Result<Self::Directories>;

    /// The stamp of a directory; `None` if there is none any more.
    fn stamp_ns(&self, directory: &Path) -> io::Result<Option<i64>>;

    /// The files of a directory.
    fn files(&self, directory: &Path) -> io::Result<Self::Files>;

    /// Whether a regular file is there.
    fn is_there(&self, path: &Path) -> io::Result<bool>;

    /// Reads files, each as far as its record needs, and answers in their order. It may read them at once.
    fn read(&self, paths: &[PathBuf]) -> Vec<io::Result<Found>>;

    /// The clock that stamps are made with, in nanoseconds since 1970.
    fn now_ns(&self) -> i64;
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Below the root; empty for the root.
    pub path: PathBuf,
    /// Its time of change (`st_ctime`) in nanoseconds. It changes whenever an entry comes, goes or is replaced, and no program can set it.
    pub stamp_ns: i64,
}

/// A file, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// In its directory.
    pub name: OsString,
    /// What its inode says.
    pub seen: Seen,
}

/// What the inode of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of the file.
    pub bytes: u64,
    /// `st_mtime` in nanoseconds.
    pub modified_ns: i64,
    /// As recorded at the file, if it is.
    pub digest: Option<u128>,
}

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An instance.
    Instance(Box<Record>),
    /// Something that no store wrote.
    Other,
    /// It was removed since it was listed.
    Gone,
}
