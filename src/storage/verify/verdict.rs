//! What there is to say about one file.

use std::path::PathBuf;

use super::walk::DatasetFault;
use crate::fs::Errno;
use crate::head::{HeadError, Mismatch};
use crate::meta::MetaFault;

/// What there is to say about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Relative to the root.
    pub path: PathBuf,
    /// Bytes read.
    pub bytes: u64,
    /// What its digest says.
    pub digested: Digested,
    /// What is wrong with it; nothing, for most.
    pub faults: Vec<Fault>,
}

/// What the digest that was recorded with a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digested {
    /// The bytes are those that were committed.
    Matches,
    /// They are not.
    Differs,
    /// Nothing was recorded, or a copy of the file has lost it.
    NotRecorded,
}

/// How a file came off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is wrong with it.
    Whole,
    /// Its dataset breaks the standard's rules, and did so when it arrived: the bytes are those that were committed.
    MalformedAsReceived,
    /// It is not what was committed, or cannot be proved to be.
    Damaged,
}

impl Verdict {
    /// How the file came off.
    pub fn condition(&self) -> Condition {
        let of_the_sender = |fault: &Fault| matches!(fault, Fault::Dataset(_));
        if self.faults.is_empty() {
            Condition::Whole
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
        /// What could be read.
        after_bytes: u64,
        /// The system's reason.
        error: Errno,
    },
    /// Its front is no file meta.
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
    /// A byte has changed since the commit.
    #[error("its bytes are not those that were committed: the recorded digest differs")]
    Digest,
}
