//! What a store found when it opened, and did about it.

use std::fmt;
use std::path::PathBuf;

/// What a store found when it opened, and did about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Temp files removed: instances that were being written when the last process ended, none of them acknowledged.
    pub removed_files: u64,
    /// Bytes they held.
    pub removed_bytes: u64,
    /// Acknowledged instances whose files had not reached the disk, written again from the commit log.
    pub restored_files: u64,
    /// Files that people have changed, moved or removed since they were stored. They are left as they are.
    pub left_files: u64,
    /// Instances of the commit log that are not in their places: what a person has to look at.
    pub aside: Vec<Aside>,
    /// Files that could not be restored for want of space: their segment of the log is kept until a start finds room.
    pub waiting_files: u64,
    /// Files below `.tidegate/lost`, from this start and from earlier ones, that nobody has taken away.
    pub lost_files: u64,
}

/// An acknowledged instance that is not in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Where it belongs, relative to the root; where the log no longer says, the segment.
    pub path: PathBuf,
    /// Where its bytes are instead, relative to the root; `None` if they are lost.
    pub kept_as: Option<PathBuf>,
    /// Why.
    pub reason: Reason,
}

/// Why an acknowledged instance is not in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its path could not be looked at or written.
    Obstructed {
        /// The answer of the operating system.
        error: String,
    },
    /// Another file stands there, which people have changed or put there since.
    ChangedSince,
    /// The log was copied or restored together with the root: what stands there may be newer.
    ForeignLog,
    /// The disk has damaged the log, and the file is not whole either.
    DamagedLog,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obstructed { error } => write!(f, "its path cannot be written: {error}"),
            Self::ChangedSince => f.write_str("the file there was changed or replaced since"),
            Self::ForeignLog => f.write_str("the commit log was copied here, and another file stands there"),
            Self::DamagedLog => f.write_str("the commit log is damaged"),
        }
    }
}
