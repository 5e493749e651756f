//! The store: one root directory, opened once and shared by every thread that writes to it.

use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use dicom_core::Tag;

use crate::commit::{Commit, KnownDirectories};
use crate::error::{OpenError, StoreError};
use crate::fs::{Filesystem, Handle, Space, reports_failed_write_back};
use crate::inner::Inner;
use crate::instance::{Instance, Stored};
use crate::recovery::Recovery;
use crate::root::Root;
use crate::settings::{CommitStrategy, Durability, Settings};
use crate::space;
use crate::spool::SpoolFile;
use crate::sync::Mutex;
use crate::temp::{TempFile, TempNames};

/// A block of most filesystems: fewer bytes might find room where no instance would.
const TRIAL_BYTES: usize = 4096;

/// An open storage root; a clone is the same one. No other process can open it until all are dropped or the process ends.
#[derive(Debug)]
pub struct Store<H: Handle = File>(Arc<Inner<H>>);

impl<H: Handle> Clone for Store<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Store {
    /// Opens the root, creating it durably when absent, takes its lock, and recovers what an earlier process left: its temp
    /// files are removed, the instances in its commit log written out.
    pub fn open(settings: Settings) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(settings)
    }
}

impl<H: Handle> Store<H> {
    /// The same, on whatever filesystem `H` stands for.
    pub(crate) fn open_on(settings: Settings) -> Result<(Self, Recovery), OpenError> {
        let wants_wal = settings.durability == Durability::Fsync
            && matches!(settings.commit, CommitStrategy::Adaptive | CommitStrategy::Log)
            && reports_failed_write_back();
        let (root, recovery) = Root::open(&settings.root, wants_wal)?;
        let store = Inner {
            wanted: settings.layout.wanted(),
            placement: settings.placement(),
            settings,
            root: Mutex::new(root),
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
        space::check(bytes, space::of(&root)?.free_bytes, self.0.settings.min_free_bytes)
    }

    /// The space there is.
    pub fn space(&self) -> Result<Space, StoreError> {
        space::of(&*self.0.root()?)
    }

    /// Writes a small file, as a commit does, and removes it again: whether instances could be stored at this moment, the space to be
    /// kept free aside.
    pub fn try_write(&self) -> Result<(), StoreError> {
        let root = self.0.root()?;
        let temp = TempFile::create(&root, &self.0.temp_names)?;
        temp.write_at(0, [&[0; TRIAL_BYTES][..]])?;
        if self.0.settings.durability == Durability::Fsync {
            temp.sync_data()?;
            root.prove_journal()?;
        }
        Ok(())
    }

    /// What filesystem the root is on, which decides by what syncs an instance becomes durable.
    pub fn filesystem(&self) -> Filesystem {
        self.0.root.lock().filesystem
    }

    /// Begins a temp file for a dataset that is not kept in memory. The file meta, which is the first to be written to it, has
    /// `meta_bytes`.
    pub fn spool(&self, meta_bytes: u64) -> Result<SpoolFile<H>, StoreError> {
        let Inner { temp_names, settings, .. } = &*self.0;
        SpoolFile::create(&self.0.root()?, temp_names, meta_bytes, settings.min_free_bytes, settings.durability)
    }

    /// Stores every instance of `batch` and answers for each by itself, in order. Returns when all that `Ok` was said of
    /// is as durable as the settings ask; the instances share what syncing they can. The time it takes does not depend
    /// on how many instances are stored already. `progress` is called after each step of each instance: a commit that is slow
    /// can so be told from one that hangs.
    pub fn commit(&self, batch: &[&Instance<H>], progress: &dyn Fn()) -> Vec<Result<Stored, StoreError>> {
        let mut stored = Vec::with_capacity(batch.len());
        match self.begin(batch.to_vec(), progress) {
            Ok(commit) => commit.finish(progress, &mut |outcome| stored.push(outcome)),
            Err(error) => stored.resize(batch.len(), Err(error)),
        }
        stored
    }

    /// The first half of [`Self::commit`]: writes those instances that do not go through the commit log. Any thread may do the other.
    ///
    /// # Errors
    /// If there is no root to store anything in.
    pub fn begin<I>(&self, batch: Vec<I>, progress: &dyn Fn()) -> Result<Commit<I, H>, StoreError>
    where
        I: Deref<Target: AsRef<Instance<H>>> + Clone,
    {
        Ok(Commit::begin(Arc::clone(&self.0), self.0.root()?, batch, progress))
    }

    #[cfg(test)]
    pub(crate) fn root(&self) -> Arc<Root<H>> {
        Arc::clone(&self.0.root.lock())
    }

    /// When [`Self::checkpoint`] has something to do; `None`: nothing as long as nothing is committed.
    pub fn checkpoint_due(&self) -> Option<Instant> {
        self.0.root.lock().wal()?.checkpoint_due()
    }

    /// Brings the files of instances to the disk that are durable by the write-ahead log alone, so that the log has room again, if that is
    /// due and no other thread is at it. What was found out about single files is in the answer. `progress` is called while the disk makes
    /// progress.
    ///
    /// # Errors
    /// The instances stay in the log. It is tried again when it is due again, and at the next start.
    pub fn checkpoint(&self, progress: &dyn Fn()) -> Result<Recovery, StoreError> {
        let root = Arc::clone(&self.0.root.lock());
        root.wal().map_or_else(|| Ok(Recovery::default()), |wal| wal.checkpoint_if_due(&root, progress))
    }

    /// Instances that were refused and that the next start may store all the same, because the disk did not take that they are void.
    pub fn not_voided(&self) -> u64 {
        self.0.root.lock().wal().map_or(0, |wal| wal.not_voided())
    }
}
