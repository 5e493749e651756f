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

/// The comparison of a file with its recorded digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digested {
    /// The bytes are those that were committed.
    Matches,
    /// They are not.
    Differs,
    /// Nothing was recorded, or a copy of the file has lost it.
    NotRecorded,
}

/// The condition of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// No fault.
    Whole,
    /// Its dataset breaks the standard's rules, and did so when it arrived: the bytes are those that were committed.
    MalformedAsReceived,
    /// It is not what was committed, or cannot be proved to be.
    Damaged,
    /// It is no DICOM file, has no recorded digest, and is where no layout puts one.
    Foreign,
}

impl Verdict {
    /// The condition of the file.
    pub fn condition(&self) -> Condition {
        let of_the_sender = |fault: &Fault| matches!(fault, Fault::Dataset(_));
        if self.faults.is_empty() {
            Condition::Whole
        } else if self.faults == [Fault::Foreign] {
            Condition::Foreign
        } else if self.digested == Digested::Matches && self.faults.iter().all(of_the_sender) {
            Condition::MalformedAsReceived
        } else {
            Condition::Damaged
        }
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
        Mismatch::SopClass => "sop class uid differs between file meta and dataset",
        Mismatch::SopInstance => "sop instance uid differs between file meta and dataset",
    })]
    Mismatch(Mismatch),
    /// The instance in it belongs elsewhere.
    #[error("the instance in it belongs at {}", belongs_at.display())]
    Misplaced {
        /// Where the layout puts it.
        belongs_at: PathBuf,
    },
    /// It is no file of a store.
    #[error("not a DICOM file, and at no path of the layout")]
    Foreign,
    /// A byte has changed since the commit.
    #[error("its bytes are not those that were committed: the recorded digest differs")]
    Digest,
}
