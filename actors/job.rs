//! What associations hand to writers.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_memory::MemoryLease;
use tidegate_storage::{Durability, Instance, SpoolFile, StoreError, Stored};
use tokio::sync::oneshot;

/// Work for a writer. The association keeps its share of it, so that it outlives a writer: if `reply` is dropped instead of
/// answered, the writer is gone, and the work is handed to another.
#[derive(Debug)]
pub enum Job {
    /// Make an instance durable.
    Commit(CommitJob),
    /// Move part of a large dataset to its spool file.
    Append(AppendJob),
}

/// Which jobs stand behind which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Small instances to be made durable: one sync serves all that wait.
    Small,
    /// All else: the disk works at several at once.
    Large,
}

impl Lane {
    /// Where an instance waits that is to be as durable as that.
    pub(crate) fn of(instance: &Instance, durability: Durability) -> Self {
        if durability == Durability::Fsync && instance.is_small() { Self::Small } else { Self::Large }
    }
}

impl Job {
    /// Where it waits.
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Commit(job) => job.lane,
            Self::Append(_) => Lane::Large,
        }
    }

    /// Shows every lease that pays for the job's bytes.
    pub(crate) fn each_lease(&self, see: &mut dyn FnMut(&Arc<MemoryLease>)) {
        match self {
            Self::Commit(job) => job.store.leases.iter().for_each(see),
            Self::Append(job) => {
                job.part.content.lock().iter().for_each(|content| content.leases.iter().for_each(&mut *see))
            }
        }
    }
}

/// A complete dataset and the leases that pay for it.
#[derive(Debug)]
pub struct StoreInstance {
    /// What to store.
    pub instance: Instance,
    /// Pays for its slices.
    pub leases: Vec<Arc<MemoryLease>>,
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
    /// Where it waits.
    pub lane: Lane,
    /// The outcome.
    pub reply: oneshot::Sender<Result<Stored, StoreError>>,
}

/// Write part of a dataset to its spool file.
#[derive(Debug)]
pub struct AppendJob {
    /// Shared with the association.
    pub part: Arc<SpoolPart>,
    /// The spool file, with the bytes in it.
    pub reply: oneshot::Sender<Result<Arc<SpoolFile>, StoreError>>,
}

/// Part of a dataset on its way to the spool file. It may be written more than once, to the same place.
#[derive(Debug)]
pub struct SpoolPart {
    /// The spool file so far, or what a new one begins with.
    pub spool: SpoolTarget,
    /// Where in the file the part begins; the first one with the file meta.
    pub offset_bytes: u64,
    /// Taken out by the writer that has written it, so that its memory is free at once.
    pub content: Mutex<Option<SpoolContent>>,
}

/// Bytes, and the leases that pay for them.
#[derive(Clone, Debug)]
pub struct SpoolContent {
    /// The bytes, in order.
    pub slices: Vec<Bytes>,
    /// Pays for them.
    pub leases: Vec<Arc<MemoryLease>>,
}

/// Where a [`SpoolPart`] goes.
#[derive(Debug)]
pub enum SpoolTarget {
    /// A new spool file, for a file meta of so many bytes.
    New {
        /// Bytes of the file meta.
        meta_bytes: u64,
    },
    /// One that has been begun.
    Open(Arc<SpoolFile>),
}
