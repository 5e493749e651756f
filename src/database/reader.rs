//! Readers of a file. Each has a connection of its own and never waits for the writer.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;

use crate::design::{Design, QUERY_TIMEOUT};
use crate::error::Error;
use crate::file::Identity;

/// Virtual machine steps between two looks at the clock.
const STEPS_A_LOOK: i32 = 10_000;

/// A connection that reads.
pub struct Reader {
    design: &'static Design,
    path: PathBuf,
    connection: Connection,
    identity: Identity,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// Any but [`Error::Full`]. A file of an older schema is [`Error::Older`]: the writer brings it up to date.
    pub fn open(design: &'static Design, path: &Path) -> Result<Self, Error> {
        let connection = design.open_to_read(path)?;
        Ok(Self { design, path: path.to_owned(), connection, identity: Identity::of(design, path)? })
    }

    /// Asks a question. All its statements see one state of the file, and together they may take [`QUERY_TIMEOUT`].
    ///
    /// # Errors
    /// [`Error::Vanished`], [`Error::TooSlow`], and any other of SQLite.
    pub fn ask<T>(&mut self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let now = Identity::of(self.design, &self.path)?;
        if !self.identity.is_of_the_same_file(&now) {
            return Err(Error::Vanished { design: self.design, path: self.path.clone() });
        }
        let ask = || {
            let start = Instant::now();
            self.connection.progress_handler(STEPS_A_LOOK, Some(move || start.elapsed() > QUERY_TIMEOUT))?;
            let transaction = self.connection.transaction()?;
            question(&transaction)
        };
        ask().map_err(self.design.sqlite(&self.path))
    }
}
