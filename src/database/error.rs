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
    /// An operator has to act. The text says how.
    Operator,
}

/// A failure of a file. Its texts say which kind of file it is and where, never a value of a dataset.
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
    #[error("the {} {} cannot be written: {cause}; make the file and its directory writable for the node", design.words.name, path.display())]
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
    #[error("the {} {} has schema version {found}, and this node knows {known}: start a newer tidegate, or {}", design.words.name, path.display(), design.words.newer)]
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
    #[error("the {} {} has schema version {found}, and this program reads {known}: start the node, which brings it up to date", design.words.name, path.display())]
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
    #[error("{} is not a {} of tidegate: {}", path.display(), design.words.name, design.words.foreign)]
    Foreign {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
    },
    /// It has the instances of another storage root. Compared with this one, all of them would be gone.
    #[error("the {} {} has the instances of another storage root{}: mount that root and start the node again, or move the file away, or set catalogue.path to another file", design.words.name, path.display(), named(.root))]
    OtherRoot {
        /// What it should be.
        design: &'static Design,
        /// The file.
        path: PathBuf,
        /// The root that used it last, if that is known.
        root: Option<PathBuf>,
    },
    /// Another process has it open: it has one writer.
    #[error("the {} {} is in use by another process{}: two nodes cannot have one {}; {}", design.words.name, path.display(), for_root(.root), design.words.name, design.words.in_use)]
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
            | Self::OtherRoot { .. }
            | Self::InUse { .. } => Remedy::Operator,
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
                // A column without the type that the schema gives it.
                return Error::Corrupt { design: self, path, cause: "a row is not as this node writes it".to_owned() };
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
