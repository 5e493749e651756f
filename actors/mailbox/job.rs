//! The jobs that associations submit to writers.

use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_memory::{Location, MemoryLease, Stage};
use tidegate_storage::{Commit, Durability, Instance, Store, StoreError, Stored};
use tokio::sync::oneshot;

use super::open_spool::{CloseSpool, OpenSpool};
pub(crate) use super::queue::Lane;
use crate::committed::Origin;
use crate::supervision::liveness::HeldWork;

/// Work for a writer. The association keeps its share of it, so that the work outlives a writer. A reply that is
/// dropped without an answer means that the writer is gone: the association submits the work again.
#[derive(Debug)]
pub enum Job {
    /// Make an instance durable.
    Commit(CommitJob),
    /// Move part of a large dataset to its spool file.
    Append(AppendJob),
}

impl Lane {
    /// The lane of an instance with this durability.
    pub(crate) fn of(instance: &Instance, durability: Durability) -> Self {
        if durability == Durability::Fsync && instance.is_small() { Self::Small } else { Self::Large }
    }
}

impl Job {
    /// The lane of the job.
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Commit(job) => job.lane,
            Self::Append(_) => Lane::Large,
        }
    }

    /// Bytes that it has for the disk. `None` for a spooled instance, whose parts were written before, and nobody knows how far they are
    /// on the disk; and for a part that another writer has written.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Commit(job) => job.store.spool.is_none().then(|| job.store.instance.dataset_bytes()),
            Self::Append(job) => match &*job.part.content.lock() {
                PartContent::Held(content) => Some(content.slices.iter().map(|slice| slice.len() as u64).sum()),
                PartContent::Written(_) => None,
            },
        }
    }

    /// The job is at this writer now.
    pub(crate) fn enter_at(&self, writer: u32) {
        let stage = match self {
            Self::Commit(_) => Stage::Writing,
            Self::Append(_) => Stage::Spooling,
        };
        self.each_lease(&mut |lease| lease.enter_at(stage, Location::Writer { index: writer }));
    }

    /// Shows every lease that pays for the job's bytes.
    pub(crate) fn each_lease(&self, see: &mut dyn FnMut(&Arc<MemoryLease>)) {
        match self {
            Self::Commit(job) => job.store.leases.iter().for_each(see),
            Self::Append(job) => {
                if let PartContent::Held(content) = &*job.part.content.lock() {
                    content.leases.iter().for_each(see);
                }
            }
        }
    }
}

/// The jobs that a writer had in flight and the bytes that they hold, for the record of its end.
pub(crate) fn work_of(jobs: &[Job]) -> HeldWork {
    let mut held = HeldWork { count: jobs.len(), ..HeldWork::default() };
    let mut seen = Vec::new();
    for job in jobs {
        job.each_lease(&mut |lease| {
            // Small datasets that came together share a lease.
            if !seen.contains(&Arc::as_ptr(lease)) {
                seen.push(Arc::as_ptr(lease));
                if let Some(stage) = lease.stage() {
                    held.bytes.add(stage, lease.bytes());
                }
            }
        });
    }
    held
}

/// A batch that waits for the next write of the commit log, with the jobs that are to be answered then.
#[derive(Debug)]
pub(crate) struct PendingWrite {
    pub(crate) commit: Commit<Arc<StoreInstance>>,
    pub(crate) jobs: Vec<Job>,
    /// The writer that began with it.
    pub(crate) writer: u32,
    /// When it did.
    pub(crate) began: Instant,
}

/// A complete dataset and the leases that pay for it.
#[derive(Debug)]
pub struct StoreInstance {
    /// The instance to store.
    pub instance: Instance,
    /// The sender.
    pub origin: Arc<Origin>,
    /// The leases of its slices.
    pub leases: Vec<Arc<MemoryLease>>,
    /// The spool file of the instance. It closes the file, so it is dropped after the instance.
    pub spool: Option<Arc<OpenSpool>>,
}

impl AsRef<Instance> for StoreInstance {
    fn as_ref(&self) -> &Instance {
        &self.instance
    }
}

/// Make an instance durable.
#[derive(Debug)]
pub struct CommitJob {
    /// Shared with the association.
    pub store: Arc<StoreInstance>,
    /// The lane of the job.
    pub lane: Lane,
    /// The receiver of the outcome.
    pub reply: oneshot::Sender<Result<Stored, StoreError>>,
}

/// Write part of a dataset to its spool file.
#[derive(Debug)]
pub struct AppendJob {
    /// Shared with the association.
    pub part: Arc<SpoolPart>,
    /// The receiver of the spool file, with the bytes in it.
    pub reply: oneshot::Sender<Result<Arc<OpenSpool>, StoreError>>,
}

/// Part of a dataset on its way to the spool file. It may be written more than once, at the same offset.
#[derive(Debug)]
pub struct SpoolPart {
    /// The spool file so far, or the file meta of a new one.
    pub spool: SpoolTarget,
    /// Offset of the part in the file. The first part begins with the file meta.
    pub offset_bytes: u64,
    /// Replaced by the writer that has written it, so that its memory is free at once.
    pub content: Mutex<PartContent>,
}

/// The bytes of a [`SpoolPart`] are in memory until they are in the spool file: there is no third state, in which a
/// part that is submitted again would leave a hole.
#[derive(Debug)]
pub enum PartContent {
    /// Not written yet, or not with success.
    Held(SpoolContent),
    /// Written to this spool file.
    Written(Arc<OpenSpool>),
}

/// Bytes, and the leases that pay for them.
#[derive(Clone, Debug)]
pub struct SpoolContent {
    /// The bytes, in order.
    pub slices: Vec<Bytes>,
    /// The leases of the bytes.
    pub leases: Vec<Arc<MemoryLease>>,
}

impl SpoolPart {
    /// Writes the part to its spool file, unless that has been done. `closer` closes a new one. The bytes stay
    /// in memory until [`Self::set_written`].
    ///
    /// # Errors
    /// If the spool file cannot be created or written.
    pub(crate) fn write(&self, store: &Store, closer: Weak<dyn CloseSpool>) -> Result<Arc<OpenSpool>, StoreError> {
        // A copy of the references: the lock must not be held during the write, and a writer that repeats it needs the bytes.
        let content = match &*self.content.lock() {
            PartContent::Held(content) => content.clone(),
            PartContent::Written(spool) => return Ok(spool.clone()),
        };
        let spool = match &self.spool {
            SpoolTarget::New { meta_bytes } => Arc::new(OpenSpool::new(store.spool(*meta_bytes)?, closer)),
            SpoolTarget::Open(spool) => spool.clone(),
        };
        spool.write(self.offset_bytes, &content.slices)?;
        Ok(spool)
    }

    /// Frees the memory of a part that is in the spool file.
    pub(crate) fn set_written(&self, spool: &Arc<OpenSpool>) {
        let content = std::mem::replace(&mut *self.content.lock(), PartContent::Written(spool.clone()));
        drop(content); // its leases are returned without the lock
    }
}

/// The target of a [`SpoolPart`].
#[derive(Debug)]
pub enum SpoolTarget {
    /// A new spool file, for a file meta of so many bytes.
    New {
        /// Bytes of the file meta.
        meta_bytes: u64,
    },
    /// One that has been begun.
    Open(Arc<OpenSpool>),
}

#[cfg(test)]
mod tests {
    use tidegate_storage::layout::Layout;
    use tidegate_storage::{CommitStrategy, Duplicates, FileAccess, Settings};

    use super::*;
    use crate::mailbox::WriterMailbox;

    fn store(directory: &tempfile::TempDir, name: &str, min_free_bytes: u64) -> Store {
        let settings = Settings {
            root: directory.path().join(name),
            layout: Layout::parse("{SOPInstanceUID}").unwrap(),
            durability: Durability::None,
            commit: CommitStrategy::Adaptive,
            duplicates: Duplicates::Replace,
            min_free_bytes,
            access: FileAccess::default(),
            requires_mark: false,
        };
        Store::open(settings).unwrap().0
    }

    fn part(spool: SpoolTarget, offset_bytes: u64) -> SpoolPart {
        let content = SpoolContent { slices: vec![Bytes::from_static(b"part")], leases: Vec::new() };
        SpoolPart { spool, offset_bytes, content: Mutex::new(PartContent::Held(content)) }
    }

    #[test]
    fn a_part_whose_write_failed_keeps_its_bytes_and_is_written_by_a_retry() {
        let directory = tempfile::tempdir().unwrap();
        let mailbox = WriterMailbox::new(1, 1, Arc::default());
        let part = part(SpoolTarget::New { meta_bytes: 0 }, 0);
        let full = store(&directory, "full", u64::MAX);
        assert!(matches!(part.write(&full, mailbox.spool_closer()), Err(StoreError::BelowMinFree { .. })));
        let spool = part.write(&store(&directory, "well", 0), mailbox.spool_closer()).unwrap();
        assert_eq!(spool.file_bytes(), 4);
    }

    #[test]
    fn a_part_that_was_written_is_not_written_again_and_names_the_file_it_is_in() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mailbox) = (store(&directory, "well", 0), WriterMailbox::new(1, 1, Arc::default()));
        let first = part(SpoolTarget::New { meta_bytes: 0 }, 0);
        let spool = first.write(&store, mailbox.spool_closer()).unwrap();
        first.set_written(&spool);
        assert!(
            Arc::ptr_eq(&first.write(&store, mailbox.spool_closer()).unwrap(), &spool),
            "not a new file without the bytes"
        );
        let second = part(SpoolTarget::Open(spool.clone()), 4);
        second.set_written(&second.write(&store, mailbox.spool_closer()).unwrap());
        assert!(Arc::ptr_eq(&second.write(&store, mailbox.spool_closer()).unwrap(), &spool));
        assert_eq!(spool.file_bytes(), 8);
    }
}
