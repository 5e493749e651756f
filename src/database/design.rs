//! What a file is.

use std::fmt;
use std::time::Duration;

use rusqlite::Connection;

/// A statement waits so long for a lock of another process.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// A query of a reader is stopped after that time.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Fills the new tables of a migration from the old ones.
pub type Fill = fn(&Connection) -> rusqlite::Result<()>;

/// A kind of file. There is one constant of each, which errors refer to.
pub struct Design {
    /// How texts call the file.
    pub words: Words,
    /// In the header of the file.
    pub application_id: i64,
    /// The steps from each version to the next: statements, and what fills the new tables from the old ones. The last makes the version of this
    /// program; none is ever changed.
    pub migrations: &'static [(&'static str, Fill)],
    /// Statements that make the views which a file of this version lacks: `CREATE VIEW IF NOT EXISTS`. Views that come later need no version.
    pub views: &'static str,
    /// One query that looks at the ends of each large tree: a cheap look for damage. What it does not see is met later, as an error of the statement
    /// that needs the page.
    pub probe: &'static str,
    /// Page cache of the writer, in KiB: what its connection holds of the file, and of a transaction that is not yet committed.
    pub writer_cache_kib: i64,
}

/// The words of a kind of file, for the texts of [`Error`](crate::Error).
pub struct Words {
    /// A noun without article: `catalogue`.
    pub name: &'static str,
    /// What an operator does about a file of a newer program.
    pub newer: &'static str,
    /// What an operator does about a file of another program in its place.
    pub foreign: &'static str,
    /// What an operator does about two nodes with one file.
    pub in_use: &'static str,
    /// What an operator does about a link, a directory or a pipe in its place, or in that of a file beside it.
    pub obstacle: &'static str,
    /// What an operator does about a damaged file, where the program does nothing.
    pub damaged: &'static str,
}

impl fmt::Debug for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Design").field(&self.words.name).finish()
    }
}

impl Design {
    /// The version of the schema.
    pub const fn version(&self) -> i64 {
        self.migrations.len() as i64
    }
}
