//! An instance to be stored, and the outcome of storing it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::digest::{Digest, Hasher, Receipt, Recorded};
use crate::error::StoreError;
use crate::fs::Handle;
use crate::head::Head;
use crate::meta::FileMeta;
use crate::settings::Placement;
use crate::spool::SpoolFile;
use crate::sync::Mutex;

/// The dataset of a small instance has at most so many bytes: beyond, writing it twice costs more than the syncs that the commit
/// log saves (`docs/performance.md`).
pub(crate) const SMALL_MAX_BYTES: u64 = 64 * 1024;

/// A file whose dataset is arriving: its start is known, and its digest is computed from the bytes as they arrive. The stored bytes are
/// compared with that digest later.
pub struct FileBuilder {
    meta: FileMeta,
    encoded_meta: Bytes,
    hasher: Hasher,
}

/// A received SOP Instance. A commit is idempotent: any thread may commit the instance again after a commit failed or its thread died, or
/// while another thread is still committing it. It is stored once.
#[derive(Debug)]
pub struct Instance<H: Handle = File> {
    /// The file meta information (PS3.10 §7.1).
    pub meta: FileMeta,
    /// The elements its path is made of.
    pub head: Head,
    /// The dataset.
    pub payload: Payload<H>,
    encoded_meta: Bytes,
    /// Of the whole file.
    digest: Digest,
    receipt: OnceLock<Receipt>,
    /// Where and how it is stored, if not as the store's settings have it.
    placement: Option<Arc<Placement>>,
    state: Mutex<CommitState>,
}

/// The dataset of an instance, exactly as received.
#[derive(Debug)]
pub enum Payload<H: Handle = File> {
    /// As a chain of slices.
    Memory(Vec<Bytes>),
    /// As the file is to be: what it begins with, then the dataset. As far as its slices are whole pages of memory, they need not be
    /// copied on their way to the disk.
    Contiguous(Vec<Bytes>),
    /// In a temp file of the store it is to be committed to.
    Spooled(Arc<SpoolFile<H>>),
}

/// A stored instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The outcome of the commit.
    pub outcome: Outcome,
    /// The path of the file, relative to the root.
    pub path: PathBuf,
}

/// The outcome of storing an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was stored under its SOP Instance UID.
    New,
    /// The same bytes were stored already; nothing was written.
    Identical,
    /// The instance replaced different bytes.
    Replaced,
    /// It was stored beside different bytes.
    KeptBoth {
        /// The number in its name: from 2, or a number made of its digest if many versions are stored.
        copy: u32,
    },
}

impl Outcome {
    /// Outcomes by name.
    pub const NAMES: [&str; 4] = ["new", "identical", "replaced", "kept_both"];

    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.position()]
    }

    /// Its position in [`Self::NAMES`].
    pub fn position(&self) -> usize {
        match self {
            Self::New => 0,
            Self::Identical => 1,
            Self::Replaced => 2,
            Self::KeptBoth { .. } => 3,
        }
    }
}

/// The outcome of cancelling an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancellation {
    /// It will not be stored.
    Cancelled,
    /// It is stored, as durably as the settings ask.
    TooLate(Stored),
    /// A thread is renaming it at this moment: it may become stored, whole, or not at all.
    Undecided,
}

/// The decision about an instance. Fencing: every rename asks it first. A writer that hung and was fenced may wake up at any later time,
/// when its instance may be stored, acknowledged and replaced by a newer one, which it must not replace in turn.
#[derive(Debug)]
enum CommitState {
    Open,
    Settled(Stored),
    Cancelled,
}

fn bytes_of(slices: &[Bytes]) -> u64 {
    slices.iter().map(|slice| slice.len() as u64).sum()
}

impl FileBuilder {
    /// A file that begins with `meta`.
    pub fn new(meta: FileMeta) -> Self {
        let encoded_meta = Bytes::from(meta.encode());
        let mut hasher = Hasher::default();
        hasher.update(&encoded_meta);
        Self { meta, encoded_meta, hasher }
    }

    /// The next bytes of the dataset.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The file meta information.
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// The bytes of the file in front of the dataset.
    pub fn encoded_meta(&self) -> &Bytes {
        &self.encoded_meta
    }
}

impl<H: Handle> AsRef<Self> for Instance<H> {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<H: Handle> Instance<H> {
    /// An instance to be committed, whose dataset has come to its end: `payload` holds the bytes that `arrived` was told of.
    pub fn new(arrived: FileBuilder, head: Head, payload: Payload<H>) -> Self {
        let FileBuilder { meta, encoded_meta, hasher } = arrived;
        let (digest, state) = (hasher.digest(), Mutex::new(CommitState::Open));
        Self { meta, head, payload, encoded_meta, digest, receipt: OnceLock::new(), placement: None, state }
    }

    /// The bytes of the file in front of the dataset.
    pub(crate) fn encoded_meta(&self) -> &[u8] {
        &self.encoded_meta
    }

    /// The digest of its file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives it the receipt that its file will have. Every attempt to store it uses the first one.
    pub fn set_receipt(&self, receipt: Receipt) {
        let _ = self.receipt.set(receipt);
    }

    /// Its receipt, if it has been given one.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.receipt.get()
    }

    /// What its file says of itself.
    pub(crate) fn recorded(&self) -> Recorded {
        Recorded { digest: self.digest, receipt: self.receipt().copied() }
    }

    /// The same, to be stored where and how `placement` has it. The head must have been read for its layout.
    #[must_use]
    pub fn with_placement(self, placement: Arc<Placement>) -> Self {
        Self { placement: Some(placement), ..self }
    }

    /// Where and how it is stored, if that was said.
    pub fn placement(&self) -> Option<&Placement> {
        self.placement.as_deref()
    }

    /// Bytes of the dataset.
    pub fn dataset_bytes(&self) -> u64 {
        match &self.payload {
            Payload::Memory(slices) => bytes_of(slices),
            Payload::Contiguous(slices) => bytes_of(slices).saturating_sub(self.encoded_meta.len() as u64),
            Payload::Spooled(spool) => spool.dataset_bytes(),
        }
    }

    /// Bytes of its file.
    pub fn file_bytes(&self) -> u64 {
        self.encoded_meta.len() as u64 + self.dataset_bytes()
    }

    /// The bytes of its file, as they lie in memory.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (meta, slices) = match &self.payload {
            Payload::Memory(slices) => (Some(&self.encoded_meta), slices.as_slice()),
            Payload::Contiguous(slices) => (None, slices.as_slice()),
            Payload::Spooled(_) => (None, &[][..]),
        };
        meta.into_iter().chain(slices).map(AsRef::as_ref)
    }

    /// The bytes of its dataset, as they lie in memory.
    pub(crate) fn dataset_pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut meta_left = self.encoded_meta.len();
        self.pieces().map(move |piece| {
            let (meta, dataset) = piece.split_at(meta_left.min(piece.len()));
            meta_left -= meta.len();
            dataset
        })
    }

    /// Whether it is in memory and so small that it is best stored together with others.
    pub fn is_small(&self) -> bool {
        !matches!(self.payload, Payload::Spooled(_)) && self.dataset_bytes() <= SMALL_MAX_BYTES
    }

    /// Cancels the instance: from now on no commit gives it a final name, unless one has done so or is doing so at this moment. Does not
    /// block.
    pub fn cancel(&self) -> Cancellation {
        let Some(mut state) = self.state.try_lock() else {
            return Cancellation::Undecided;
        };
        match &*state {
            CommitState::Settled(stored) => Cancellation::TooLate(stored.clone()),
            CommitState::Open | CommitState::Cancelled => {
                *state = CommitState::Cancelled;
                Cancellation::Cancelled
            }
        }
    }

    /// Runs `rename` if nothing is decided yet. Otherwise returns the decision as the error.
    pub(crate) fn rename_once<T>(&self, rename: impl FnOnce() -> T) -> Result<T, Result<Stored, StoreError>> {
        // A thread that hangs in the rename must not block the next one.
        let Some(state) = self.state.lock_in_time() else {
            return Err(Err(StoreError::Contended));
        };
        match &*state {
            CommitState::Open => Ok(rename()),
            CommitState::Settled(stored) => Err(Ok(stored.clone())),
            CommitState::Cancelled => Err(Err(StoreError::Cancelled)),
        }
    }

    /// Records that the instance is durably stored. The first record counts.
    pub(crate) fn settle(&self, stored: Stored) -> Stored {
        let mut state = self.state.lock();
        if let CommitState::Settled(first) = &*state {
            return first.clone();
        }
        *state = CommitState::Settled(stored.clone());
        stored
    }
}
