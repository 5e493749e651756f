//! What can go wrong with the file, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

use crate::design::Design;

/// What to do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Try the same again later: nothing was written.
    Retry,
    /// Drop the writer and the readers, and open the file again.
    Reopen,
    /// Drop the writer and the readers, [`set_aside`](Design::set_aside) the file, and open a new one.
    SetAside,
    /// An operator has to act: [`Error::advice`] says how.
    Operator,
}

/// A failure of a file. Its texts say which kind of file it is and where, never a value of a dataset. What to do about it, [`Error::advice`] says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds a lock on the file for longer than [`BUSY_TIMEOUT`](crate::BUSY_TIMEOUT).
    #[error("the {} {} is locked by another process", design.words.name, path.display())]
    Locked {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
    },
    /// No space or inodes are left on its filesystem, or a quota is reached.
    #[error("no space is left for the {} {}", design.words.name, path.display())]
    Full {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
    },
    /// The file, its directory or its mount can only be read.
    #[error("the {} {} cannot be written: {cause}", design.words.name, path.display())]
    ReadOnly {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// It was deleted, moved or replaced while it was open.
    #[error("the {} {} was deleted or replaced while it was in use", design.words.name, path.display())]
    Vanished {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
    },
    /// It is damaged, or its tables are not as the node made them.
    #[error("the {} {} is damaged: {cause}", design.words.name, path.display())]
    Corrupt {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A newer Tidegate made it.
    #[error("the {} {} has schema version {found}, and this node knows {known}", design.words.name, path.display())]
    Newer {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// An older Tidegate made it, and only a writer changes that.
    #[error("the {} {} {}", design.words.name, path.display(), of_version(*found, *known))]
    Older {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// The version in it; 0 for an empty file.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// It is a database of another program, or none. A file whose first page is damaged looks so, too: the caller may set aside what
    /// stands at a path that no operator has named.
    #[error("{} is not a {} of tidegate", path.display(), design.words.name)]
    Foreign {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
    },
    /// Something else stands at its path, or at that of a file that is kept beside it. No link is followed there: SQLite would follow it, and keep
    /// the others beside where it leads.
    #[error("the {} {} cannot be used: {found} stands at {}, where a file is needed", design.words.name, path.display(), at.display())]
    Obstacle {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// Where it stands.
        at: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It has the instances of another storage root. Compared with this one, all of them would be gone.
    #[error("the {} {} has the instances of another storage root{}", design.words.name, path.display(), named(.root))]
    OtherRoot {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// The root that used it last, if that is known.
        root: Option<PathBuf>,
    },
    /// Another process has it open: it has one writer.
    #[error("the {} {} is in use by another process{}", design.words.name, path.display(), for_root(.root))]
    InUse {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// The storage root of that process, if it has said so.
        root: Option<PathBuf>,
    },
    /// A query took longer than [`QUERY_TIMEOUT`](crate::QUERY_TIMEOUT).
    #[error("a query of the {} {} took too long and was stopped", design.words.name, path.display())]
    TooSlow {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
    },
    /// The disk or the system failed.
    #[error("the {} {} cannot be used: {cause}", design.words.name, path.display())]
    Io {
        /// What it should be.
        design: &'static Design,
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

fn of_version(found: i64, known: i64) -> String {
    match found {
        0 => "is empty".to_owned(),
        found => format!("has schema version {found}, and this program reads {known}"),
    }
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
            Self::Newer { design, .. } => design.words.newer,
            Self::Older { .. } => "start the node, which brings it up to date",
            Self::OtherRoot { .. } => {
                "mount that storage root and start the node again, or move the file away, or set catalogue.path to another file"
            }
            Self::InUse { design, .. } => design.words.in_use,
            Self::Foreign { design, .. } => design.words.foreign,
            Self::Obstacle { design, .. } => design.words.obstacle,
            Self::Corrupt { design, .. } => design.words.damaged,
            Self::Vanished { .. } | Self::Io { .. } => "look after the directory and the disk of the file",
            Self::Full { .. } => "free space on the filesystem of the file",
            Self::Locked { .. } => "end the program that holds the file",
            Self::TooSlow { .. } => "search for less",
        }
    }
}

impl Design {
    /// Damage that a caller has found.
    pub fn corrupt(&'static self, path: &Path, cause: impl Into<String>) -> Error {
        Error::Corrupt { design: self, path: path.to_owned(), cause: cause.into() }
    }

    /// A failed call of the system on `path`.
    pub fn system(&'static self, path: &Path) -> impl Fn(io::Error) -> Error {
        move |error| {
            let (path, cause) = (path.to_owned(), error.to_string());
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { design: self, path },
                io::ErrorKind::IsADirectory => Error::Foreign { design: self, path },
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Error::ReadOnly { design: self, path, cause }
                }
                _ => Error::Io { design: self, path, cause },
            }
        }
    }

    /// A failure of SQLite on `path`.
    pub fn sqlite(&'static self, path: &Path) -> impl Fn(rusqlite::Error) -> Error {
        move |error| {
            let path = path.to_owned();
            let rusqlite::Error::SqliteFailure(failure, text) = &error else {
                let cause = match &error {
                    // A statement that the tables do not fit.
                    rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
                    // A column without the type that the schema gives it.
                    _ => "a row is not as this node writes it".to_owned(),
                };
                return Error::Corrupt { design: self, path, cause };
            };
            let cause = text.clone().unwrap_or_else(|| failure.to_string());
            match (failure.code, failure.extended_code) {
                (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed, _) => {
                    Error::Locked { design: self, path }
                }
                (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Error::Full { design: self, path },
                (_, ffi::SQLITE_READONLY_DBMOVED) => Error::Vanished { design: self, path },
                (ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied, _) => {
                    Error::ReadOnly { design: self, path, cause }
                }
                (ErrorCode::NotADatabase, _) => Error::Foreign { design: self, path },
                (ErrorCode::OperationInterrupted, _) => Error::TooSlow { design: self, path },
                // The file ends where its own header says that it does not.
                (_, ffi::SQLITE_IOERR_SHORT_READ) => {
                    Error::Corrupt { design: self, path, cause: "the file is too short".to_owned() }
                }
                (ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::OutOfMemory, _) => {
                    Error::Io { design: self, path, cause }
                }
                // All statements are constant: one that fails otherwise met tables that are not as the node made them.
                _ => Error::Corrupt { design: self, path, cause },
            }
        }
    }
}
