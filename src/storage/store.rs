//! The store: one root directory, opened once and shared by every thread that writes to it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use dicom_core::Tag;
use parking_lot::RwLock;

use crate::commit::{Commit, KnownDirectories};
use crate::error::{OpenError, StoreError};
use crate::fs::reports_failed_write_back as syncfs_tells_failures;
use crate::instance::{Instance, Stored};
use crate::root::{Recovery, Root};
use crate::settings::{CommitStrategy, Durability, Placement, Settings};
use crate::space::{self, Space};
use crate::spool::SpoolFile;
use crate::temp::{TempFile, TempNames};

/// A block of most filesystems: fewer bytes might find room where no instance would.
const TRIAL_BYTES: usize = 4096;

/// An open storage root; a clone is the same one. No other process can open it until all are dropped or the process ends.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    settings: Settings,
    placement: Placement,
    wanted: Arc<[Tag]>,
    root: RwLock<Arc<Root>>,
    pub(crate) temp_names: TempNames,
    pub(crate) known_directories: KnownDirectories,
    /// Instances that are being committed, by all threads.
    pub(crate) in_commit: AtomicUsize,
}

impl Store {
    /// Opens the root, creating it durably when absent, takes its lock, and recovers what an earlier process left: its temp
    /// files are removed, the instances in its commit log written out.
    pub fn open(settings: Settings) -> Result<(Self, Recovery), OpenError> {
        let uses_log = settings.durability == Durability::Fsync
            && matches!(settings.commit, CommitStrategy::Adaptive | CommitStrategy::Log)
            && syncfs_tells_failures();
        let (root, recovery) = Root::open(&settings.root, uses_log)?;
        let store = Inner {
            wanted: settings.layout.wanted(),
            placement: settings.placement(),
            settings,
            root: RwLock::new(root),
            temp_names: TempNames::new(),
            known_directories: KnownDirectories::default(),
            in_commit: AtomicUsize::new(0),
        };
        Ok((Self(Arc::new(store)), recovery))
    }

    /// The elements a dataset's head must be read for, sorted.
    pub fn wanted(&self) -> Arc<[Tag]> {
        Arc::clone(&self.0.wanted)
    }

    /// What the store was opened with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether `bytes` more can be stored without going below the space to be kept free. An answer for this moment: it
    /// reserves nothing.
    pub fn room(&self, bytes: u64) -> Result<(), StoreError> {
        let root = self.0.root()?;
        space::check(bytes, space::free_bytes(&root)?, self.0.settings.min_free_bytes)
    }

    /// The space there is.
    pub fn space(&self) -> Result<Space, StoreError> {
        space::of(&*self.0.root()?)
    }

    /// Writes a small file and removes it again: whether instances could be written at this moment, the space to be kept free
    /// aside. Nothing is synced.
    pub fn try_write(&self) -> Result<(), StoreError> {
        TempFile::create(&self.0.root()?, &self.0.temp_names)?.write_at(0, [&[0; TRIAL_BYTES][..]])
    }

    /// Begins a temp file for a dataset that is not kept in memory. The file meta, which is the first to be written to it, has
    /// `meta_bytes`.
    pub fn spool(&self, meta_bytes: u64) -> Result<SpoolFile, StoreError> {
        let Inner { temp_names, settings, .. } = &*self.0;
        SpoolFile::create(&self.0.root()?, temp_names, meta_bytes, settings.min_free_bytes, settings.durability)
    }

    /// Stores every instance of `batch` and answers for each by itself, in order. Returns when all that `Ok` was said of
    /// is as durable as the settings ask; the instances share what syncing they can. The time it takes does not depend
    /// on how many instances are stored already. `pulse` is called after each step of each instance: a commit that is slow
    /// can so be told from one that hangs.
    pub fn commit(&self, batch: &[&Instance], pulse: &dyn Fn()) -> Vec<Result<Stored, StoreError>> {
        let mut stored = Vec::with_capacity(batch.len());
        match self.begin(batch.to_vec(), pulse) {
            Ok(commit) => commit.finish(pulse, &mut |outcome| stored.push(outcome)),
            Err(error) => stored.resize(batch.len(), Err(error)),
        }
        stored
    }

    /// The first half of [`Self::commit`]: writes those instances that do not go through the commit log. Any thread may do the other.
    ///
    /// # Errors
    /// If there is no root to store anything in.
    pub fn begin<I>(&self, batch: Vec<I>, pulse: &dyn Fn()) -> Result<Commit<I>, StoreError>
    where
        I: Deref<Target: AsRef<Instance>> + Clone,
    {
        Ok(Commit::begin(Arc::clone(&self.0), self.0.root()?, batch, pulse))
    }

    #[cfg(test)]
    pub(crate) fn root(&self) -> Arc<Root> {
        Arc::clone(&self.0.root.read())
    }

    /// When [`Self::tend`] has something to do; `None`: nothing as long as nothing is committed.
    pub fn tend_at(&self) -> Option<Instant> {
        self.0.root.read().log()?.checkpoint_due()
    }

    /// Syncs the files of instances that are durable by the commit log alone, so that the log has room again, if that is due
    /// and no other thread is at it.
    ///
    /// # Errors
    /// The instances stay in the log, and the next start writes them out.
    pub fn tend(&self) -> Result<(), StoreError> {
        let root = Arc::clone(&self.0.root.read());
        root.log().map_or(Ok(()), |log| log.checkpoint_if_due())
    }
}

impl Inner {
    /// Where and how `instance` is stored.
    pub(crate) fn placement<'a>(&'a self, instance: &'a Instance) -> &'a Placement {
        instance.placement().unwrap_or(&self.placement)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The root, made sure to be the directory its path leads to. One that was removed and put back on the same
    /// filesystem is taken up again.
    fn root(&self) -> Result<Arc<Root>, StoreError> {
        let root = Arc::clone(&self.root.read());
        if root.was_current_lately() {
            return Ok(root);
        }
        let mut current = self.root.write();
        if !current.is_current() {
            let reopened = current.reopen()?;
            self.known_directories.clear();
            *current = reopened;
        }
        Ok(Arc::clone(&current))
    }
}
