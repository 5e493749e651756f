//! The report of recovery: the findings of a store at its opening, and its actions.

use std::fmt;
use std::path::PathBuf;

/// The findings of a store at its opening, and its actions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Temp files removed. They held unacknowledged instances that the last process was writing when it ended.
    pub removed_files: u64,
    /// Bytes of the removed temp files.
    pub removed_bytes: u64,
    /// Acknowledged instances whose files were not on the disk; replay rewrote them from the commit log.
    pub restored_files: u64,
    /// Files that people changed, moved or removed after they were stored. Replay left them as they are.
    pub left_files: u64,
    /// Instances of the commit log that are not at their paths. An operator has to examine them.
    pub aside: Vec<Aside>,
    /// Files that could not be restored for lack of space. Their log segment is kept until a start has room for them.
    pub waiting_files: u64,
    /// Files quarantined below `.tidegate/lost`, by this start and by earlier ones, and not yet removed by an operator.
    pub lost_files: u64,
    /// Whether no store had used the root before.
    pub is_new: bool,
}

impl Recovery {
    /// Adds the findings of another checkpoint.
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            removed_files,
            removed_bytes,
            restored_files,
            left_files,
            aside,
            waiting_files,
            lost_files,
            is_new: _,
        } = other;
        self.removed_files += removed_files;
        self.removed_bytes += removed_bytes;
        self.restored_files += restored_files;
        self.left_files += left_files;
        self.aside.extend(aside);
        self.waiting_files += waiting_files;
        self.lost_files += lost_files;
    }
}

/// An acknowledged instance that is not at its path: set aside, or lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The path of the instance, relative to the root. If the log no longer holds it, the path of the log segment.
    pub path: PathBuf,
    /// The path at which its bytes are quarantined, relative to the root; `None` if they are lost.
    pub kept_as: Option<PathBuf>,
    /// Why the instance is not at its path.
    pub reason: Reason,
}

/// Why an acknowledged instance is not at its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The path could not be examined or written.
    Obstructed {
        /// The error of the operating system.
        error: String,
    },
    /// The path has another file, which was changed or put there since.
    ChangedSince,
    /// The log was copied or restored together with the root. The file at the path may be newer than the log.
    ForeignLog,
    /// The log is damaged on the disk, and the file is incomplete as well.
    DamagedLog,
    /// A segment of the log was removed, or overwritten with zeros, since the last process wrote to it.
    MissingLog,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obstructed { error } => write!(f, "its path cannot be written: {error}"),
            Self::ChangedSince => f.write_str("the file there was changed or replaced since"),
            Self::ForeignLog => f.write_str("the commit log was copied here, and another file stands there"),
            Self::DamagedLog => f.write_str("the commit log is damaged"),
            Self::MissingLog => f.write_str("the commit log was removed, or overwritten with zeros"),
        }
    }
}
