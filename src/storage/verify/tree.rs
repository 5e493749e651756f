//! The files of a storage root, listed with bounded memory: directories are read as they are listed, and of each level one is
//! open. Symbolic links are not followed.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::fs::{self, Errno, Handle, Kind, Open};
use crate::own::OWN;

/// Directories inside one another. A layout makes at most eleven.
const MAX_DEPTH: usize = 64;

/// An entry below the root.
pub(super) enum Entry {
    /// A regular file.
    File(ScannedFile),
    /// An entry that no store makes: a link, a device, a name that begins with a period.
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
}

struct Level {
    path: PathBuf,
    directory: Arc<File>,
    entries: <File as Handle>::Entries,
}

/// Calls `met` for all below `root`, until it answers `false`.
pub(super) fn list(root: &File, met: &mut dyn FnMut(Entry) -> bool) -> Result<(), Errno> {
    let mut levels = vec![level(PathBuf::new(), root.open(Path::new(""), Open::DirectoryNoFollow)?)?];
    while let Some(Level { path, directory, entries }) = levels.last_mut() {
        let entry = match entries.next() {
            None => {
                levels.pop();
                continue;
            }
            Some(Err(error)) => {
                let path = path.clone();
                levels.pop();
                Err((path, error))
            }
            Some(Ok(entry)) => {
                let path = path.join(&entry.name);
                look(directory, &entry, &path).map_err(|error| (path, error))
            }
        };
        let goes_on = match entry {
            Ok(Looked::Own) => true,
            Ok(Looked::Entry(entry)) => met(entry),
            Ok(Looked::Directory(path, directory)) if levels.len() < MAX_DEPTH => {
                match level(path.clone(), directory) {
                    Ok(level) => levels.push(level),
                    Err(error) => {
                        if !met(Entry::Unreadable { path, error }) {
                            return Ok(());
                        }
                    }
                }
                true
            }
            Ok(Looked::Directory(path, _)) => met(Entry::Unreadable { path, error: Errno::NAMETOOLONG }),
            // Removed between the listing and the look, which other programs may do.
            Err((_, Errno::NOENT)) => true,
            Err((path, error)) => met(Entry::Unreadable { path, error }),
        };
        if !goes_on {
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

enum Looked {
    /// The node's own directory.
    Own,
    Entry(Entry),
    Directory(PathBuf, File),
}

fn look(directory: &Arc<File>, entry: &fs::Entry, path: &Path) -> Result<Looked, Errno> {
    let name = &entry.name;
    if path == Path::new(OWN) {
        return Ok(Looked::Own);
    }
    if name.as_bytes().starts_with(b".") {
        return Ok(Looked::Entry(Entry::Foreign));
    }
    Ok(match entry.kind_in(&**directory)? {
        Kind::Directory => {
            Looked::Directory(path.to_owned(), directory.open(Path::new(name), Open::DirectoryNoFollow)?)
        }
        Kind::File => Looked::Entry(Entry::File(ScannedFile {
            path: path.to_owned(),
            is_named: false,
            directory: Arc::clone(directory),
            name: name.clone(),
        })),
        Kind::Link | Kind::Other => Looked::Entry(Entry::Foreign),
    })
}

fn level(path: PathBuf, directory: File) -> Result<Level, Errno> {
    let entries = directory.list()?;
    Ok(Level { path, directory: Arc::new(directory), entries })
}
