//! The directory that one load has to itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::drive::DriveError;
use crate::left_behind::left;

/// A directory for one load, made for it and removed after it.
#[derive(Debug)]
pub(crate) struct Workdir {
    path: PathBuf,
    stays: bool,
}

impl Workdir {
    /// Makes `name` below `parent`.
    ///
    /// # Errors
    /// Those of the filesystem; also when it is there already, since whose it is nobody knows.
    pub(crate) fn new(parent: &Path, name: &str) -> Result<Self, DriveError> {
        let path = parent.join(name);
        let mut left = left();
        match fs::create_dir_all(parent).and_then(|()| fs::create_dir(&path)) {
            Ok(()) => {
                left.add_directory(&path);
                Ok(Self { path, stays: false })
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(DriveError::Usage(format!(
                "{} exists: another run uses it, or one that was killed left it there. Remove it if no other run uses it",
                path.display()
            ))),
            Err(error) => Err(DriveError::file(&path)(error)),
        }
    }

    /// Leaves it for a person to look at, and says where it is.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.stays = true;
        left().forget_directory(&self.path);
        self.path.clone()
    }

    /// Gives the space of everything in it back, and leaves the files.
    ///
    /// # Errors
    /// Those of the filesystem.
    pub(crate) fn empty(&self) -> Result<(), DriveError> {
        empty(&self.path).map_err(DriveError::file(&self.path))
    }

    /// Where the receiver stores.
    pub(crate) fn storage(&self) -> PathBuf {
        self.path.join("storage")
    }

    /// Where its configuration, its log and the record of acknowledged instances are.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }
}

impl Drop for Workdir {
    /// Dirty pages are written or dropped here, so that the next load does not pay for them.
    fn drop(&mut self) {
        if !self.stays {
            let _ = fs::remove_dir_all(&self.path);
            left().forget_directory(&self.path);
        }
        rustix::fs::sync();
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            empty(&entry.path())?;
        } else if kind.is_file() {
            fs::OpenOptions::new().write(true).open(entry.path())?.set_len(0)?;
        }
    }
    Ok(())
}
