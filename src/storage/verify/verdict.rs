//! The verdict about one file.

use std::path::PathBuf;

use crate::fs::Errno;
use crate::head::walk::DatasetFault;
use crate::head::{HeadError, Mismatch};
use crate::meta::MetaFault;

/// The verdict about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Relative to the root.
    pub path: PathBuf,
    /// Bytes read.
    pub bytes: u64,
    /// The comparison with its digest.
    pub digested: Digested,
    /// Its faults; none for most files.
    pub faults: Vec<Fault>,
}

/// The comparison of a file with its recorded digest, or with one known from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digested {
    /// The bytes are those that were committed.
    Matches,
    /// They are not.
    Differs,
    /// Nothing was recorded, or a copy of the file has lost it, and none is known from elsewhere.
    NotRecorded,
}

/// The condition of a file, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// No fault.
    Whole,
    /// It is no DICOM file, has no recorded digest, and is where no layout puts one.
    Foreign,
    /// Its dataset breaks the standard's rules, and did so when it arrived: the bytes are those that were committed.
    MalformedAsReceived,
    /// Its path is not that of the layouts. Its bytes are those that were committed; without a recorded digest its structure is whole.
    Misplaced,
    /// It is in a list of stored files, and is not there.
    Missing,
    /// It is not what was committed, or cannot be proved to be.
    Damaged,
}

impl Verdict {
    /// The condition of the file, the worst that its faults tell.
    pub fn condition(&self) -> Condition {
        let is_proved = self.digested == Digested::Matches;
        let conditions = self.faults.iter().map(|fault| match fault {
            Fault::Foreign => Condition::Foreign,
            Fault::Dataset(_) if is_proved => Condition::MalformedAsReceived,
            Fault::Misplaced { .. } => Condition::Misplaced,
            Fault::Missing => Condition::Missing,
            _ => Condition::Damaged,
        });
        conditions.max().unwrap_or(Condition::Whole)
    }
}

/// Something wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be opened or read.
    #[error("cannot be read after {after_bytes} bytes: {error}")]
    Unreadable {
        /// Bytes that were read before the error.
        after_bytes: u64,
        /// The system's reason.
        error: Errno,
    },
    /// It does not begin with valid file meta.
    #[error(transparent)]
    Meta(#[from] MetaFault),
    /// Its dataset is not whole.
    #[error(transparent)]
    Dataset(#[from] DatasetFault),
    /// The elements it is filed by cannot be read.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// File meta and dataset are of two instances.
    #[error("{}", match .0 {
        Mismatch::SopClass { .. } => "sop class uid differs between file meta and dataset",
        Mismatch::SopInstance { .. } => "sop instance uid differs between file meta and dataset",
    })]
    Mismatch(Mismatch),
    /// No layout puts the instance in it there.
    #[error("elsewhere than the layout puts it: {}", belongs_at.display())]
    Misplaced {
        /// Where the first layout puts it.
        belongs_at: PathBuf,
    },
    /// It is no file of a store.
    #[error("not a DICOM file, and at no path of the layout")]
    Foreign,
    /// It is in a list of stored files, and is not there.
    #[error("it was stored, and is not there any more")]
    Missing,
    /// It has another length than what was committed.
    #[error("it had {committed} bytes when it was committed, and has {bytes}")]
    Length {
        /// Bytes read.
        bytes: u64,
        /// Bytes known from elsewhere.
        committed: u64,
    },
    /// A byte has changed since the commit.
    #[error("its bytes are not those that were committed: the recorded digest differs")]
    Digest,
}
