//! A file and the two that SQLite keeps beside it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::design::Design;
use crate::error::Error;

/// The endings of the write-ahead log and of its index.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// In the name of a file that was set aside.
const ASIDE: &str = ".damaged-";

/// The file, and the two beside it, as they were opened. Were one deleted and made again by another process, both processes would write
/// without knowing of each other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity([Option<(u64, u64)>; 3]);

pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

impl Identity {
    pub(crate) fn of(design: &'static Design, path: &Path) -> Result<Self, Error> {
        let look = |path: &Path| match fs::metadata(path) {
            Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(design.system(path)(error)),
        };
        let [log, index] = BESIDE.map(|ending| look(&with_ending(path, ending)));
        Ok(Self([look(path)?, log?, index?]))
    }

    /// A reader does not care for the other two: they come and go with the writer.
    pub(crate) fn is_of_the_same_file(&self, other: &Self) -> bool {
        self.0[0] == other.0[0]
    }
}

/// Creates an empty file if there is none. Only its owner may read it: it may name patients. SQLite gives the files beside it the same mode.
pub(crate) fn create(design: &'static Design, path: &Path) -> Result<(), Error> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check_access(design, path, Access::READ_OK | Access::WRITE_OK)
        }
        created => created.map(|file| give_to_owner(&file, directory_of(path))).map_err(design.system(path)),
    }
}

/// Gives a file that root has made to the owner of its directory: the node runs as another user. SQLite does the same with the two beside it.
pub(crate) fn give_to_owner(file: &File, directory: &Path) {
    if let Ok(directory) = fs::metadata(directory) {
        let _ = fchown(file, Some(directory.uid()), Some(directory.gid())); // only root may
    }
}

/// Whether the file may be used so: what the system says is more than what SQLite would say. It is not opened for that: the close of any
/// descriptor of a file ends all locks that this process has on it (fcntl(2)), those of SQLite among them.
pub(crate) fn check_access(design: &'static Design, path: &Path, access: Access) -> Result<(), Error> {
    let failed = design.system(path);
    // The open of a FIFO waits for its other end.
    if !fs::metadata(path).map_err(&failed)?.is_file() {
        return Err(Error::Foreign { design, path: path.to_owned() });
    }
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(|error| failed(error.into()))
}

/// Takes the file, and the two beside it, from other users, who may have been given them by a copy or another program: they may name patients.
pub(crate) fn close_to_others(design: &'static Design, path: &Path) -> Result<(), Error> {
    for path in [path.to_owned()].into_iter().chain(BESIDE.map(|ending| with_ending(path, ending))) {
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(design.system(&path)(error)),
        };
        if mode & 0o077 != 0 && fs::set_permissions(&path, Permissions::from_mode(0o600)).is_err() {
            let cause = format!(
                "other users may read it (mode {:04o}), and it belongs to another user than the node's",
                mode & 0o7777
            );
            return Err(Error::ReadOnly { design, path, cause });
        }
    }
    Ok(())
}

/// Bytes of the file and of its log.
pub(crate) fn bytes(path: &Path) -> u64 {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    bytes(path) + bytes(&with_ending(path, BESIDE[0]))
}

impl Design {
    /// Moves a damaged file out of the way: to its name with `.damaged-` and `at_ms` behind, in the same directory. One that was set aside
    /// earlier is removed, so that a disk which damages them does not fill up. No connection of this process may be open to it.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Full`] or [`Error::Io`]: the file is where it was.
    pub fn set_aside(&'static self, path: &Path, at_ms: i64) -> Result<PathBuf, Error> {
        let failed = self.system(path);
        let aside = with_ending(path, &format!("{ASIDE}{at_ms}"));
        remove_set_aside(self, path)?;
        // The log first: its frames must not meet a new file.
        for ending in BESIDE.iter().rev().chain(&[""]) {
            match fs::rename(with_ending(path, ending), with_ending(&aside, ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        File::open(directory_of(path)).and_then(|directory| directory.sync_all()).map_err(&failed)?;
        Ok(aside)
    }
}

/// Removes what was set aside.
pub(crate) fn remove_set_aside(design: &'static Design, path: &Path) -> Result<(), Error> {
    let failed = design.system(path);
    set_aside_earlier(path).map_err(&failed)?.iter().try_for_each(|earlier| fs::remove_file(earlier).map_err(&failed))
}

/// The files of those that were set aside.
fn set_aside_earlier(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut beginning = path.file_name().unwrap_or_default().to_owned();
    beginning.push(ASIDE);
    let mut earlier = Vec::new();
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        // A directory is nothing that the node made.
        if entry.file_type()?.is_file()
            && entry.file_name().as_encoded_bytes().starts_with(beginning.as_encoded_bytes())
        {
            earlier.push(entry.path());
        }
    }
    Ok(earlier)
}

pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
