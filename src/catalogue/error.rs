//! What can go wrong with the file, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

/// What to do about an [`Error`]. Until it is done, instances are stored and acknowledged as before, and are missed by the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Try the same again later: nothing was entered.
    Retry,
    /// Drop the catalogue and its readers, and open it again; then catch up.
    Reopen,
    /// Drop the catalogue and its readers, [`set_aside`](crate::set_aside) the file, and open a new one; then catch up.
    SetAside,
    /// An operator has to act: [`Error::advice`] says how.
    Operator,
}

/// A failure of the catalogue. Its texts name the file, never a value of a dataset. What to do about it, [`Error::advice`] says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds a lock on the file for longer than [`BUSY_TIMEOUT`](crate::BUSY_TIMEOUT).
    #[error("the catalogue {} is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// No space or inodes are left on its filesystem, or a quota is reached.
    #[error("no space is left for the catalogue {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file, its directory or its mount can only be read.
    #[error("the catalogue {} cannot be written: {cause}", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// It was deleted, moved or replaced while it was open.
    #[error("the catalogue {} was deleted or replaced while it was in use", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged, or its tables are not as the node made them.
    #[error("the catalogue {} is damaged: {cause}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A newer Tidegate made it.
    #[error("the catalogue {} has schema version {found}, and this node knows {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// An older Tidegate made it, and only a writer changes that.
    #[error("the catalogue {} has schema version {found}, and this program reads {known}", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// The version in it; 0 for an empty file.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// It is a database of another program, or none. A catalogue whose first page is damaged looks so, too: the caller may set aside what
    /// stands at a path that no operator has named.
    #[error("{} is not a catalogue of tidegate", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Something else stands at its path, or at that of a file that is kept beside it. No link is followed there: SQLite would follow it, and keep
    /// the others beside where it leads.
    #[error("the catalogue {} cannot be used: {found} stands at {}, where a file is needed", path.display(), at.display())]
    Obstacle {
        /// The file.
        path: PathBuf,
        /// Where it stands.
        at: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It has the instances of another storage root. Compared with this one, all of them would be gone.
    #[error("the catalogue {} has the instances of another storage root{}", path.display(), named(.root))]
    OtherRoot {
        /// The file.
        path: PathBuf,
        /// The root that used it last, if that is known.
        root: Option<PathBuf>,
    },
    /// Another process has it open: it has one writer.
    #[error("the catalogue {} is in use by another process{}", path.display(), for_root(.root))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The storage root of that process, if it has said so.
        root: Option<PathBuf>,
    },
    /// A query took longer than [`QUERY_TIMEOUT`](crate::QUERY_TIMEOUT).
    #[error("a query of the catalogue {} took too long and was stopped", path.display())]
    TooSlow {
        /// The file.
        path: PathBuf,
    },
    /// The disk or the system failed.
    #[error("the catalogue {} cannot be used: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
}

fn named(root: &Option<PathBuf>) -> String {
    root.as_ref().map(|root| format!(", {}", root.display())).unwrap_or_default()
}

fn for_root(root: &Option<PathBuf>) -> String {
    root.as_ref().map(|root| format!(", for the storage root {}", root.display())).unwrap_or_default()
}

impl Error {
    /// What the caller can do.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Locked { .. } | Self::Full { .. } | Self::TooSlow { .. } => Remedy::Retry,
            // After a failed read or write the connection may hold pages that the disk does not.
            Self::Vanished { .. } | Self::Io { .. } => Remedy::Reopen,
            Self::Corrupt { .. } => Remedy::SetAside,
            Self::ReadOnly { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Foreign { .. }
            | Self::Obstacle { .. }
            | Self::OtherRoot { .. }
            | Self::InUse { .. } => Remedy::Operator,
        }
    }

    /// What a person can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::ReadOnly { .. } => "make the file and its directory writable for the node",
            Self::Newer { .. } => {
                "start a newer tidegate, or move the file away, and the node makes a new one from the stored files"
            }
            Self::Older { .. } => "start the node, which brings it up to date",
            Self::OtherRoot { .. } => {
                "mount that storage root and start the node again, or move the file away, or set catalogue.path to another file"
            }
            Self::InUse { .. } => "set catalogue.path of one of the two nodes to another file",
            Self::Foreign { .. } => "set catalogue.path to another file",
            Self::Obstacle { .. } => {
                "move that away, and the node makes what it needs; a catalogue on another disk is named by catalogue.path"
            }
            Self::Corrupt { .. } => "move the file away, and the node makes a new one from the stored files",
            Self::Vanished { .. } | Self::Io { .. } => "look after the directory and the disk of the file",
            Self::Full { .. } => "free space on the filesystem of the file",
            Self::Locked { .. } => "end the program that holds the file",
            Self::TooSlow { .. } => "search for less",
        }
    }

    pub(crate) fn corrupt(path: &Path, cause: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), cause: cause.into() }
    }

    /// A failed call of the system on `path`.
    pub(crate) fn system(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| {
            let (path, cause) = (path.to_owned(), error.to_string());
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
                io::ErrorKind::IsADirectory => Self::Foreign { path },
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, cause },
                _ => Self::Io { path, cause },
            }
        }
    }

    /// A failure of SQLite on `path`.
    pub(crate) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self {
        move |error| {
            let path = path.to_owned();
            let rusqlite::Error::SqliteFailure(failure, text) = &error else {
                // A column without the type that the schema gives it.
                return Self::Corrupt { path, cause: "a row is not as this node writes it".to_owned() };
            };
            let cause = text.clone().unwrap_or_else(|| failure.to_string());
            match (failure.code, failure.extended_code) {
                (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed, _) => {
                    Self::Locked { path }
                }
                (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Self::Full { path },
                (_, ffi::SQLITE_READONLY_DBMOVED) => Self::Vanished { path },
                (ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied, _) => {
                    Self::ReadOnly { path, cause }
                }
                (ErrorCode::NotADatabase, _) => Self::Foreign { path },
                (ErrorCode::OperationInterrupted, _) => Self::TooSlow { path },
                // The file ends where its own header says that it does not.
                (_, ffi::SQLITE_IOERR_SHORT_READ) => Self::Corrupt { path, cause: "the file is too short".to_owned() },
                (ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::OutOfMemory, _) => {
                    Self::Io { path, cause }
                }
                // All statements are constant: one that fails otherwise met tables that are not as the node made them.
                _ => Self::Corrupt { path, cause },
            }
        }
    }
}
