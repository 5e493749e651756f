//! The tree below a root, walked with bounded memory: directories are read as they are listed, and of each level one is open. Symbolic links are not
//! followed. The node's own directory is passed over.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{Entry, Errno, Handle, Kind, Open};
use crate::own::OWN;

/// Directories inside one another. A layout makes at most eleven.
const MAX_DEPTH: usize = 64;

/// A directory of `mkfs`, at the top of an ext4 filesystem. Only root may look into it.
pub(crate) const LOST_AND_FOUND: &str = "lost+found";

/// How much is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Directories that a store may have made.
    Directories {
        /// A directory with two links is known to have no other below it, and is not listed.
        counts_links: bool,
    },
    /// Everything.
    All,
}

/// What the walk meets. A directory comes before what is below it.
pub(crate) enum Met<H> {
    Directory {
        path: PathBuf,
        changed_ns: i64,
    },
    /// A regular file, in its open directory.
    File {
        path: PathBuf,
        directory: Arc<H>,
        name: OsString,
    },
    /// An entry that no store makes: a link, a device, a name that begins with a period.
    Foreign,
    /// A directory that cannot be listed, or a name that cannot be examined.
    Unreadable {
        path: PathBuf,
        error: Errno,
    },
}

/// A walk.
pub(crate) struct Tree<H: Handle> {
    extent: Extent,
    /// When the root last changed, before it is told.
    top_changed_ns: Option<i64>,
    levels: Vec<Level<H>>,
}

struct Level<H: Handle> {
    path: PathBuf,
    directory: Arc<H>,
    entries: H::Entries,
}

impl<H: Handle> Level<H> {
    fn open(path: PathBuf, directory: H) -> Result<Self, Errno> {
        Ok(Self { path, entries: directory.list()?, directory: Arc::new(directory) })
    }
}

impl<H: Handle> Tree<H> {
    /// A walk below the open directory `root`.
    pub(crate) fn new(root: &H, extent: Extent) -> Result<Self, Errno> {
        let root = root.open(Path::new(""), Open::DirectoryNoFollow)?;
        let top_changed_ns = Some(root.stat()?.changed_ns);
        Ok(Self { extent, top_changed_ns, levels: vec![Level::open(PathBuf::new(), root)?] })
    }

    /// What an entry of the innermost level is; `None`: nothing that is told.
    fn look(&mut self, entry: Entry) -> Result<Option<Met<H>>, (PathBuf, Errno)> {
        let is_top = self.levels.len() == 1;
        let Some(Level { path, directory, .. }) = self.levels.last() else { return Ok(None) };
        if is_top && entry.name == OWN {
            return Ok(None);
        }
        if is_hidden(&entry.name) {
            return Ok(Some(Met::Foreign));
        }
        let kind = entry.kind_in(&**directory).map_err(|error| (path.join(&entry.name), error))?;
        match (kind, self.extent) {
            (Kind::Directory, Extent::Directories { .. }) if is_top && entry.name == LOST_AND_FOUND => Ok(None),
            (Kind::Directory, _) => {
                let (path, directory) = (path.join(&entry.name), Arc::clone(directory));
                self.enter(&directory, &entry.name, path.clone()).map(Some).map_err(|error| (path, error))
            }
            (Kind::File, Extent::All) => {
                let (path, directory) = (path.join(&entry.name), Arc::clone(directory));
                Ok(Some(Met::File { path, directory, name: entry.name }))
            }
            (Kind::File, Extent::Directories { .. }) => Ok(None),
            (Kind::Link | Kind::Other, _) => Ok(Some(Met::Foreign)),
        }
    }

    fn enter(&mut self, parent: &H, name: &OsStr, path: PathBuf) -> Result<Met<H>, Errno> {
        let directory = parent.open(Path::new(name), Open::DirectoryNoFollow)?;
        let stat = directory.stat()?;
        if self.extent != (Extent::Directories { counts_links: true }) || stat.links != 2 {
            if self.levels.len() == MAX_DEPTH {
                return Err(Errno::NAMETOOLONG);
            }
            self.levels.push(Level::open(path.clone(), directory)?);
        }
        Ok(Met::Directory { path, changed_ns: stat.changed_ns })
    }
}

impl<H: Handle> Iterator for Tree<H> {
    type Item = Met<H>;

    fn next(&mut self) -> Option<Met<H>> {
        if let Some(changed_ns) = self.top_changed_ns.take() {
            return Some(Met::Directory { path: PathBuf::new(), changed_ns });
        }
        loop {
            let looked = match self.levels.last_mut()?.entries.next() {
                Some(Ok(entry)) => self.look(entry),
                Some(Err(error)) => Err((self.levels.pop()?.path, error)),
                None => {
                    self.levels.pop();
                    continue;
                }
            };
            match looked {
                Ok(Some(met)) => return Some(met),
                // Removed or replaced since it was listed, which other programs may do.
                Ok(None) | Err((_, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {}
                Err((path, error)) => return Some(Met::Unreadable { path, error }),
            }
        }
    }
}

/// Whether no layout makes such a name.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}
