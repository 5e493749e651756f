//! The store: one root directory, opened once and shared by every thread that writes to it.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use dicom_core::Tag;

use crate::associations::Associations;
use crate::commit::{Commit, KnownDirectories};
use crate::error::{OpenError, StoreError};
use crate::fs::{Filesystem, Handle, Space, reports_failed_write_back};
use crate::id;
use crate::inner::{Inner, NOT_ASKED};
use crate::instance::{Instance, Stored};
use crate::recovery::Recovery;
use crate::removal::Removal;
use crate::root::Root;
use crate::settings::{CommitStrategy, Durability, Settings};
use crate::space;
use crate::spool::SpoolFile;
use crate::survey::Survey;
use crate::sync::Mutex;
use crate::temp::{TempFile, TempNames};

/// One block of most filesystems. A smaller test file could find room where an instance would not.
const TRIAL_BYTES: usize = 4096;

/// An open storage root. A clone refers to the same one. No other process can open it until all clones are dropped or the process ends.
#[derive(Debug)]
pub struct Store<H: Handle = File>(Arc<Inner<H>>);

impl<H: Handle> Clone for Store<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Store {
    /// Opens the root, takes its lock and recovers from the previous process: removes its temp files, and replays its commit log. A
    /// missing root is created durably.
    pub fn open(settings: Settings) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(settings)
    }
}

impl<H: Handle> Store<H> {
    /// As [`Store::open`], on any filesystem `H`.
    pub(crate) fn open_on(settings: Settings) -> Result<(Self, Recovery), OpenError> {
        let wants_wal = settings.durability == Durability::Fsync
            && matches!(settings.commit, CommitStrategy::Adaptive | CommitStrategy::Log)
            && reports_failed_write_back();
        let (root, recovery) = Root::open(&settings, wants_wal)?;
        let store = Inner {
            wanted: settings.layout.wanted(),
            placement: settings.placement(),
            settings,
            root: Mutex::new(root),
            temp_names: TempNames::new(),
            known_directories: KnownDirectories::default(),
            associations: Associations::default(),
            in_commit: AtomicUsize::new(0),
            wals_replaced: AtomicU64::new(0),
            free_bytes: AtomicU64::new(NOT_ASKED),
        };
        Ok((Self(Arc::new(store)), recovery))
    }

    /// The elements that the head of a dataset must contain, sorted.
    pub fn wanted(&self) -> Arc<[Tag]> {
        Arc::clone(&self.0.wanted)
    }

    /// The settings with which the store was opened.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether a file of `bytes` more can be stored without going below the space and inodes to be kept free. The answer holds for this moment: it reserves
    /// nothing.
    pub fn room(&self, bytes: u64) -> Result<(), StoreError> {
        let root = self.0.root()?;
        let space = self.0.space(&root)?;
        space::check(bytes, space.free_bytes, self.0.settings.min_free_bytes)?;
        space.check_inodes()
    }

    /// The size and the free space of the filesystem.
    pub fn space(&self) -> Result<Space, StoreError> {
        self.0.space(&*self.0.root()?)
    }

    /// The free space when the filesystem was last asked for it, by a commit or by [`Self::space`]; `None`: not yet. Unlike these it waits for no disk.
    pub fn free_bytes_last_seen(&self) -> Option<u64> {
        Some(self.0.free_bytes.load(Ordering::Relaxed)).filter(|free_bytes| *free_bytes != NOT_ASKED)
    }

    /// Writes a small file as a commit does, with a final name in the directory of temp files, and removes it. Success means that
    /// instances could be stored at this moment, apart from the space to be kept free and from single directories.
    pub fn try_write(&self) -> Result<(), StoreError> {
        let root = self.0.root()?;
        root.may_make_directories()?;
        let temp = TempFile::create(&root, &self.0.temp_names)?;
        temp.write_at(0, [&[0; TRIAL_BYTES][..]])?;
        let syncs = self.0.settings.durability == Durability::Fsync;
        if syncs {
            temp.sync_data()?;
        }
        temp.try_final_name()?;
        if syncs {
            root.sync_tmp()?;
            root.prove_journal()?;
        }
        Ok(())
    }

    /// Number of files quarantined below `.tidegate/lost` that an operator has not removed.
    pub fn set_aside(&self) -> Result<u64, StoreError> {
        Ok(self.0.root()?.set_aside()?)
    }

    /// The number of an origin in the root's durable list of them, for receipts. A new one is on the disk when this returns. `None`: the list is full.
    pub fn origin(&self, entry: &[u8]) -> Result<Option<u32>, StoreError> {
        let root = self.0.root()?;
        root.origins.number(&root.dir, &root.trust, entry)
    }

    /// The list of origins, by number. An entry that is damaged is empty.
    pub fn origins(&self) -> Result<Vec<Arc<[u8]>>, StoreError> {
        let root = self.0.root()?;
        root.origins.all(&root.dir)
    }

    /// Reserves the first numbers for associations of this run.
    ///
    /// # Errors
    /// If the numbers of earlier runs cannot be read; the text says what stands in their place. Then [`Self::reserve_association`] reserves none.
    pub fn begin_associations(&self) -> Result<(), OpenError> {
        let root = Arc::clone(&self.0.root.lock());
        self.0.associations.begin(&root.dir, &root.trust)
    }

    /// The first number for an association of this run: no receipt of an earlier run names it or a later one.
    pub fn first_association(&self) -> u64 {
        self.0.associations.first()
    }

    /// Makes sure, durably, that no later run uses this number, so that a receipt may name it.
    ///
    /// # Errors
    /// If that cannot be written, or the number is none of this run.
    pub fn reserve_association(&self, number: u64) -> Result<(), StoreError> {
        let root = self.0.root()?;
        self.0.associations.reserve(&root.dir, &root.trust, number)
    }

    /// The id of the root, which stays with it and tells it from any other. The first call makes it, and it is on the disk when this returns.
    ///
    /// # Errors
    /// If the root is not the one that was opened, or its id cannot be read or written.
    pub fn root_id(&self) -> Result<u64, StoreError> {
        let root = self.0.root()?;
        root.has_its_mark()?;
        id::of_root(&root.dir, &root.trust).map_err(|error| StoreError::new("write", id::path(), error))
    }

    /// A survey of the root.
    ///
    /// # Errors
    /// If the root is not the one that was opened, or has lost the node's own directory since.
    pub fn survey(&self) -> Result<Survey<H>, StoreError> {
        let root = self.0.root()?;
        root.has_its_mark()?;
        Ok(Survey::new(root))
    }

    /// Reserves the file at `path` for its removal. `None`: not now, for a commit stores or has found the file, or the write-ahead log has it still.
    ///
    /// # Errors
    /// If the root is missing, or no store makes such a path.
    pub fn begin_removal(&self, path: &Path) -> Result<Option<Removal<H>>, StoreError> {
        let root = self.0.root()?;
        root.has_its_mark()?;
        Removal::begin(root, path)
    }

    /// The filesystem of the root, which decides by which syncs an instance becomes durable.
    pub fn filesystem(&self) -> Filesystem {
        self.0.root.lock().filesystem
    }

    /// Begins a temp file for a dataset that is not kept in memory. The file meta is written to it first and has `meta_bytes`.
    pub fn spool(&self, meta_bytes: u64) -> Result<SpoolFile<H>, StoreError> {
        let Inner { temp_names, settings, .. } = &*self.0;
        let root = self.0.root()?;
        self.0.space(&root)?.check_inodes()?;
        SpoolFile::create(&root, temp_names, meta_bytes, settings.min_free_bytes, settings.durability)
    }

    /// Stores every instance of `batch` and answers each separately, in order. When the call returns, every instance answered with `Ok`
    /// has the durability that the settings ask for; the instances share syncs where they can. The duration does not depend on the number
    /// of instances in the store. `progress` is called after each step of each instance, so that a slow commit can be told from one that
    /// hangs.
    pub fn commit(&self, batch: &[&Instance<H>], progress: &dyn Fn()) -> Vec<Result<Stored, StoreError>> {
        let mut stored = Vec::with_capacity(batch.len());
        match self.begin(batch.to_vec(), progress) {
            Ok(commit) => commit.finish(progress, &mut |outcome| stored.push(outcome)),
            Err(error) => stored.resize(batch.len(), Err(error)),
        }
        stored
    }

    /// The first half of [`Self::commit`]: writes the instances that do not go through the commit log. Any thread may do the second half.
    ///
    /// # Errors
    /// If the root is missing.
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

    /// When [`Self::checkpoint`] is due; `None` if nothing is to be done before the next commit.
    pub fn checkpoint_due(&self) -> Option<Instant> {
        self.0.root.lock().wal()?.checkpoint_due()
    }

    /// Runs a checkpoint if it is due and no other thread is checkpointing: makes the files durable that are durable only through the
    /// write-ahead log, and frees room in the log. Returns the findings about single files. `progress` is called while the disk makes
    /// progress.
    ///
    /// # Errors
    /// The instances stay in the log. The checkpoint is retried when it is due again, and at the next start.
    pub fn checkpoint(&self, progress: &dyn Fn()) -> Result<Recovery, StoreError> {
        let root = Arc::clone(&self.0.root.lock());
        root.wal().map_or_else(|| Ok(Recovery::default()), |wal| wal.checkpoint_if_due(&root, progress))
    }

    /// How often the write-ahead log was found moved away or removed while the root was open, and another was begun. The instances of the
    /// former were synced first.
    pub fn wals_replaced(&self) -> u64 {
        self.0.wals_replaced.load(Ordering::Relaxed)
    }

    /// Number of refused instances that the next start may store, because voiding their log entries failed.
    pub fn not_voided(&self) -> u64 {
        self.0.root.lock().wal().map_or(0, |wal| wal.not_voided())
    }
}
