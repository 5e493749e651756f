//! The lock of a file: it has one writer. Two nodes with one catalogue would mark each other's instances as gone.
//!
//! The lock is of a file of its own, `-lock` behind the name: a descriptor of SQLite's file must not be closed (fcntl(2)), and `flock` is of the
//! open file, so it also tells two writers of one process apart. The file stays; its content names the storage root of the last holder, for people.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::design::Design;
use crate::error::Error;
use crate::file::{directory_of, give_to_owner, obstacle, with_ending};

/// Behind the name of the file.
const ENDING: &str = "-lock";

/// Bytes of a name that are read.
const MAX_NAME_BYTES: u64 = 4096;

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// The root that held it before.
    former: Option<PathBuf>,
}

impl Lock {
    /// # Errors
    /// [`Error::InUse`], [`Error::Obstacle`], and any of the system: what is no regular file at its path is not opened. The open of a FIFO waits for its other end,
    /// and a link may lead to a file of another program.
    pub(crate) fn take(design: &'static Design, of: &Path) -> Result<Self, Error> {
        let path = with_ending(of, ENDING);
        let failed = design.system(of);
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let file = match options.clone().create_new(true).open(&path) {
            Ok(file) => {
                give_to_owner(&file, directory_of(&path));
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = path.symlink_metadata().map_err(&failed)?;
                if !found.is_file() {
                    return Err(obstacle(design, of, path, &found));
                }
                options.open(&path).map_err(&failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let mut name = String::new();
        // Without a name, the holder has not got so far, or the file is another program's.
        let read = (&file).take(MAX_NAME_BYTES).read_to_string(&mut name);
        let former =
            read.is_ok().then(|| name.trim_end_matches('\n')).filter(|name| !name.is_empty()).map(PathBuf::from);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file, former }),
            Err(Errno::WOULDBLOCK) => Err(Error::InUse { design, path: of.to_owned(), root: former }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The root that held it before.
    pub(crate) fn former(&self) -> Option<PathBuf> {
        self.former.clone()
    }

    /// Writes the root of its holder into the file. It is for people: a failure changes nothing.
    pub(crate) fn name(&mut self, root: &Path) {
        let write = |mut file: &File| {
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(format!("{}\n", root.display()).as_bytes())
        };
        if self.former.as_deref() != Some(root) && write(&self.file).is_ok() {
            self.former = Some(root.to_owned());
        }
    }
}

impl Drop for Lock {
    /// The lock is of the open file, which a process that is being started holds as well until its program begins: to close the descriptor would not end it.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock); // the end of the process does it
    }
}
