//! The files of a storage root, listed with bounded memory: directories are read as they are listed, and of each level one is
//! open. Symbolic links are not followed.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Directories inside one another. A layout makes at most eleven.
const MAX_DEPTH: usize = 64;

/// Something met below the root.
pub(super) enum Entry {
    /// A regular file.
    File(Place),
    /// Nothing that a store makes: a link, a device, a name that begins with a period.
    Foreign,
    /// A directory that cannot be looked into, or a name that cannot be looked at.
    Unreadable { path: PathBuf, error: Errno },
}

/// A name in an open directory.
pub(super) struct Place {
    pub(super) path: PathBuf,
    directory: Arc<File>,
    name: OsString,
}

impl Place {
    /// Opens the file; `None` when it is gone, or is no regular file any more.
    pub(super) fn open(&self) -> Result<Option<File>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file)?;
                let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                Ok(regular.then(|| file.into()))
            }
            Err(Errno::NOENT | Errno::LOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct Level {
    path: PathBuf,
    directory: Arc<File>,
    entries: Dir,
}

/// Calls `met` for all below `root`, until it answers `false`.
pub(super) fn list(root: &File, mut met: impl FnMut(Entry) -> bool) -> Result<(), Errno> {
    let mut levels = vec![level(PathBuf::new(), open_directory(root, c".")?)?];
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
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let path = path.join(OsStr::from_bytes(name.to_bytes()));
                look(directory, name, entry.file_type(), &path).map_err(|error| (path, error))
            }
        };
        let goes_on = match entry {
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
            // Gone between the listing and the look: somebody's right.
            Err((_, Errno::NOENT)) => true,
            Err((path, error)) => met(Entry::Unreadable { path, error }),
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

enum Looked {
    Entry(Entry),
    Directory(PathBuf, File),
}

fn look(directory: &Arc<File>, name: &CStr, kind: FileType, path: &Path) -> Result<Looked, Errno> {
    if name.to_bytes().starts_with(b".") {
        return Ok(Looked::Entry(Entry::Foreign));
    }
    let kind = match kind {
        // Not every filesystem says it in the listing.
        FileType::Unknown => {
            let stat = rustix::fs::statat(&**directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            FileType::from_raw_mode(stat.st_mode)
        }
        kind => kind,
    };
    Ok(match kind {
        FileType::Directory => Looked::Directory(path.to_owned(), open_directory(directory, name)?),
        FileType::RegularFile => Looked::Entry(Entry::File(Place {
            path: path.to_owned(),
            directory: Arc::clone(directory),
            name: OsStr::from_bytes(name.to_bytes()).to_owned(),
        })),
        _ => Looked::Entry(Entry::Foreign),
    })
}

fn open_directory(at: &File, name: &CStr) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty()).map(File::from)
}

fn level(path: PathBuf, directory: File) -> Result<Level, Errno> {
    let entries = Dir::read_from(&directory)?;
    Ok(Level { path, directory: Arc::new(directory), entries })
}
