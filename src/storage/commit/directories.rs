//! The directories of a batch: opened once, created where missing, synced once. A handle serves the look at a name and the rename, so
//! that the path is resolved once; it is not kept for the next batch, in whose time people may have moved the directory.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{OpenError, StoreError};
use crate::fault::{self, Step};
use crate::fs::{Errno, Handle, Identity, Open};
use crate::root::Root;
use crate::sync::Mutex;

/// Most directories remembered; they are a few dozen bytes each.
const MAX_KNOWN: usize = 8192;

/// How often a directory is made again that someone removes as often.
const MAX_ATTEMPTS: u32 = 4;

/// Directories whose own names, up to the root, are known to be on the disk: a file that is new in one of them needs
/// only that directory synced. By identity, not by path, so one that was removed and made again is not among them.
#[derive(Debug, Default)]
pub(crate) struct KnownDirectories(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    directories: HashSet<Identity>,
    /// Syncs that had failed by then: after another, none is known.
    failures: u64,
}

/// The directories of one batch.
#[derive(Debug)]
pub(super) struct Directories<H: Handle> {
    root: Arc<Root<H>>,
    open: Vec<Directory<H>>,
}

#[derive(Debug)]
struct Directory<H> {
    /// Relative to the root; none once it was found removed, and for those opened only to be synced.
    path: Option<PathBuf>,
    file: H,
    /// Once it was needed.
    identity: Option<Identity>,
    synced: Option<Result<(), StoreError>>,
}

impl<H: Handle> Directories<H> {
    pub(super) fn new(root: Arc<Root<H>>) -> Self {
        Self { root, open: Vec::new() }
    }

    pub(super) fn file(&self, directory: usize) -> &H {
        &self.open[directory].file
    }

    /// The directory at `path`, relative to the root, if there is one.
    pub(super) fn open(&mut self, path: &Path) -> Result<Option<usize>, StoreError> {
        if let Some(open) = self.open.iter().position(|directory| directory.is_at(path)) {
            return Ok(Some(open));
        }
        match self.root.dir.open(path, Open::Directory) {
            Ok(file) => Ok(Some(self.add(Some(path.to_owned()), file, None))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(StoreError::new("open", path, error)),
        }
    }

    /// The directory at `path`, relative to the root, made if there is none.
    pub(super) fn open_or_create(&mut self, path: &Path) -> Result<usize, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(directory) = self.open(path)? {
                return Ok(directory);
            }
            self.create(path)?;
        }
        Err(StoreError::new("create", path, Errno::NOENT))
    }

    /// Records that a directory is no longer at its path.
    pub(super) fn forget(&mut self, directory: usize) {
        self.open[directory].path = None;
    }

    /// Syncs the directory, and those of the `depth` above it that may have been given a new entry on the way to it,
    /// unless done or `known`.
    pub(super) fn make_durable(
        &mut self,
        directory: usize,
        depth: usize,
        known: &KnownDirectories,
    ) -> Result<(), StoreError> {
        self.sync(directory)?;
        let mut fresh = Vec::new();
        let mut entry = directory;
        // The depth ends the climb where a directory was moved out of the root meanwhile.
        while fresh.len() < depth && !self.is_durable(entry, known)? {
            fresh.push(self.identity(entry)?);
            entry = self.open_parent(entry)?;
            self.sync(entry)?;
        }
        // Only after all of them are synced.
        known.extend(fresh, self.root.trust.failures());
        Ok(())
    }

    /// Whether the directory's own name is known to be on the disk.
    fn is_durable(&mut self, directory: usize, known: &KnownDirectories) -> Result<bool, StoreError> {
        let identity = self.identity(directory)?;
        Ok((identity.dev, identity.ino) == (self.root.dev, self.root.ino)
            || known.contains(&identity, self.root.trust.failures()))
    }

    fn identity(&mut self, directory: usize) -> Result<Identity, StoreError> {
        let Directory { file, identity, .. } = &mut self.open[directory];
        match identity {
            Some(identity) => Ok(*identity),
            None => {
                let found = file.identity().map_err(|error| self.root.failed("examine a directory in", error))?;
                Ok(*identity.insert(found))
            }
        }
    }

    fn open_parent(&mut self, directory: usize) -> Result<usize, StoreError> {
        let parent = self.file(directory).open(Path::new(".."), Open::Directory);
        let file = parent.map_err(|error| self.root.failed("open a directory in", error))?;
        let identity = file.identity().map_err(|error| self.root.failed("examine a directory in", error))?;
        // It may be among those opened by their paths, and is synced once.
        for open in 0..self.open.len() {
            if self.identity(open)? == identity {
                return Ok(open);
            }
        }
        Ok(self.add(None, file, Some(identity)))
    }

    fn sync(&mut self, directory: usize) -> Result<(), StoreError> {
        let directory = &mut self.open[directory];
        directory
            .synced
            .get_or_insert_with(|| {
                let synced = fault::point(Step::SyncDirectory).and_then(|()| directory.file.sync());
                self.root.trust.note(synced).map_err(|error| self.root.failed("sync a directory in", error))
            })
            .clone()
    }

    /// Creates every missing directory above `path` and `path` itself. A commit syncs them before it relies on them, whichever process
    /// created them.
    pub(super) fn create(&self, path: &Path) -> Result<(), StoreError> {
        let mut upwards: Vec<&Path> = path.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        upwards.reverse();
        for path in upwards {
            match self.root.make_directory(path) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) if !self.root.is_current() => {
                    return Err(OpenError::Missing { root: self.root.path.clone() }.into());
                }
                // Removed between two steps: the caller starts over.
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(StoreError::new("create", path, error)),
            }
        }
        Ok(())
    }

    fn add(&mut self, path: Option<PathBuf>, file: H, identity: Option<Identity>) -> usize {
        self.open.push(Directory { path, file, identity, synced: None });
        self.open.len() - 1
    }
}

impl<H> Directory<H> {
    /// Byte by byte: the paths of one layout are spelled alike.
    fn is_at(&self, path: &Path) -> bool {
        self.path.as_deref().is_some_and(|known| known.as_os_str() == path.as_os_str())
    }
}

impl KnownDirectories {
    pub(crate) fn clear(&self) {
        self.0.lock().directories.clear();
    }

    fn contains(&self, identity: &Identity, failures: u64) -> bool {
        let known = self.0.lock();
        known.failures == failures && known.directories.contains(identity)
    }

    fn extend(&self, identities: Vec<Identity>, failures: u64) {
        let mut known = self.0.lock();
        // Starting over costs one more sync of each; keeping count of which were used last would cost every commit.
        if known.failures != failures || known.directories.len() + identities.len() > MAX_KNOWN {
            known.directories.clear();
        }
        known.failures = failures;
        known.directories.extend(identities.into_iter().filter(|identity| identity.birth.is_some()));
    }
}
