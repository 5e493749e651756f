//! The one writer of a file.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::design::Design;
use crate::error::Error;
use crate::file::{self, Identity};
use crate::lock::Lock;

/// A file, open for its one writer. A call blocks for at most [`BUSY_TIMEOUT`](crate::BUSY_TIMEOUT) on locks, and otherwise as long as the disk
/// takes.
pub struct Writer {
    design: &'static Design,
    path: PathBuf,
    connection: Connection,
    /// Whether the next transaction is synced when it is committed.
    syncs: bool,
    identity: Identity,
    /// Dropped last: the file is closed when another may open it.
    lock: Lock,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Writer {
    /// Opens the file, or makes one. Other users lose their access to it.
    ///
    /// # Errors
    /// Any: see [`Error::remedy`]. A file that is damaged, newer, in use or another program's is left as it is.
    pub fn open(design: &'static Design, path: &Path) -> Result<Self, Error> {
        let lock = Lock::take(design, path)?;
        let connection = design.open_to_write(path)?;
        let identity = Identity::of(design, path)?;
        Ok(Self { design, path: path.to_owned(), connection, syncs: true, identity, lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file and of its write-ahead log. A reader that holds a transaction open keeps the log from being reused.
    pub fn bytes(&self) -> u64 {
        file::bytes(&self.path)
    }

    /// The storage root that held the lock last, if it has said so.
    pub fn former_root(&self) -> Option<PathBuf> {
        self.lock.former()
    }

    /// Says in the lock, for people, which storage root holds it.
    pub fn name_root(&mut self, root: &Path) {
        self.lock.name(root);
    }

    /// Lets the page cache grow to so many bytes at most. It is that of the [`Design`] unless this was called.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn limit_cache(&self, bytes: u64) -> Result<(), Error> {
        let pages = format!("PRAGMA cache_size = -{}", bytes / 1024);
        self.connection.execute_batch(&pages).map_err(self.design.sqlite(&self.path))
    }

    /// Gives back as much memory as can be had again from the file.
    pub fn release_memory(&self) {
        // It cannot fail, and what it cannot free stays in use.
        let _ = self.connection.release_memory();
    }

    /// Removes what was set aside earlier.
    ///
    /// # Errors
    /// Those of the system.
    pub fn remove_set_aside(&self) -> Result<(), Error> {
        file::remove_set_aside(self.design, &self.path)
    }

    /// The connection, for reading in turns with writing.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// # Errors
    /// [`Error::Vanished`]: what is open is not what stands at the path.
    pub fn is_in_place(&self) -> Result<(), Error> {
        if Identity::of(self.design, &self.path)? == self.identity {
            Ok(())
        } else {
            Err(Error::Vanished { design: self.design, path: self.path.clone() })
        }
    }

    /// Runs `work` as one transaction: durable when this returns, and none after an error. So is what was done before it.
    ///
    /// # Errors
    /// [`Error::Vanished`] before anything is written; any of SQLite.
    pub fn transact<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.run(true, work)
    }

    /// Runs `work` as one transaction that waits for no disk: it outlives the process, and a power cut may undo it with all that came after it. For what
    /// is found out again.
    ///
    /// # Errors
    /// Those of [`transact`](Self::transact).
    pub fn transact_unsynced<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.run(false, work)
    }

    fn run<T>(&mut self, syncs: bool, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        self.is_in_place()?;
        let run = || {
            if syncs != self.syncs {
                // The log is synced at each commit, or before it is copied into the file (sqlite.org/pragma.html#pragma_synchronous).
                let level = if syncs { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
                self.connection.execute_batch(level)?;
                self.syncs = syncs;
            }
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(self.design.sqlite(&self.path))
    }
}
