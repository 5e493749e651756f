//! How a file is opened: its settings, its schema and its version.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior};
use rustix::fs::Access;

use crate::design::{BUSY_TIMEOUT, Design};
use crate::error::Error;
use crate::file;

/// Page cache of a reader: what it holds of the file, however large that is.
const READER_CACHE_KIB: i64 = 2 * 1024;

/// The write-ahead log is copied into the file when it has so many pages of 4 KiB: seldom enough that pages which change in each batch are
/// copied once for several, and early enough that a start after a crash reads little.
const CHECKPOINT_PAGES: i64 = 4096;

/// Statements that are kept prepared.
const STATEMENTS: usize = 64;

impl Design {
    /// The connection of the writer. The file is made if there is none.
    pub(crate) fn open_to_write(&'static self, path: &Path) -> Result<Connection, Error> {
        file::create(self, path)?;
        file::close_to_others(self, path)?;
        let failed = self.sqlite(path);
        let mut connection = self.connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let is_read_only = || connection.is_readonly(MAIN_DB).map_err(&failed);
        let was_read_only = is_read_only()?;
        // Before anything is written: the file may be another program's.
        let version = self.version_of(&connection, path)?;
        // The system lets it be written, and its header asks for a newer SQLite.
        if is_read_only()? && !was_read_only {
            return Err(self.corrupt(path, "its header forbids to write it"));
        }
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&failed)?;
        if mode != "wal" {
            let cause = "its filesystem has no shared memory for the write-ahead log".to_owned();
            return Err(Error::ReadOnly { design: self, path: path.to_owned(), cause });
        }
        let settings = format!(
            "PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = OFF; -- the writer makes each row before the rows that name it
             PRAGMA secure_delete = FAST;
             PRAGMA cache_size = -{};
             PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
             PRAGMA journal_size_limit = {};",
            self.writer_cache_kib,
            CHECKPOINT_PAGES * 4096
        );
        connection.execute_batch(&settings).map_err(&failed)?;
        self.migrate(&mut connection, version, path)?;
        connection.execute_batch(self.views).map_err(&failed)?;
        connection.query_row(self.probe, [], |_| Ok(())).map_err(failed)?;
        Ok(connection)
    }

    /// A connection that only reads.
    pub(crate) fn open_to_read(&'static self, path: &Path) -> Result<Connection, Error> {
        let connection = self.connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let settings = format!("PRAGMA query_only = ON; PRAGMA cache_size = -{READER_CACHE_KIB};");
        connection.execute_batch(&settings).map_err(self.sqlite(path))?;
        match self.version_of(&connection, path)? {
            found if found == self.version() => Ok(connection),
            found => Err(Error::Older { design: self, path: path.to_owned(), found, known: self.version() }),
        }
    }

    fn connect(&'static self, path: &Path, mode: OpenFlags) -> Result<Connection, Error> {
        file::check_access(self, path, Access::READ_OK)?;
        let failed = self.sqlite(path);
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(&failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(&failed)?;
        // A plan does not depend on what is bound: otherwise a statement over a table with partial indexes is prepared anew each time that other values
        // are bound, which costs more than the statement (sqlite.org/queryplanner-ng.html, §4).
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(&failed)?;
        // The file may have been changed by anybody: no code in its schema runs, each cell is checked, and it is not mapped, so that
        // a truncation is an error and not a signal. Sorts stay in memory, since they hold patients' names.
        let settings = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;";
        connection.execute_batch(settings).map_err(&failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    /// The version of the schema of an open file; 0 of an empty one.
    fn version_of(&'static self, connection: &Connection, path: &Path) -> Result<i64, Error> {
        // One statement sees one state of the file: a node may be making it.
        let header = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
            FROM pragma_application_id, pragma_user_version";
        let read = connection.query_row(header, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let (application, version, tables): (i64, i64, i64) = read.map_err(self.sqlite(path))?;
        if application == self.application_id && version > self.version() {
            return Err(Error::Newer { design: self, path: path.to_owned(), found: version, known: self.version() });
        }
        let is_own = application == self.application_id && version > 0;
        let is_empty = application == 0 && version == 0 && tables == 0;
        if is_own || is_empty { Ok(version) } else { Err(Error::Foreign { design: self, path: path.to_owned() }) }
    }

    fn migrate(&'static self, connection: &mut Connection, from: i64, path: &Path) -> Result<(), Error> {
        let failed = self.sqlite(path);
        if from == self.version() {
            return Ok(());
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        // Another process may have done it meanwhile.
        let from = usize::try_from(self.version_of(&transaction, path)?).unwrap_or(0);
        for (statements, fill) in &self.migrations[from..] {
            transaction.execute_batch(statements).and_then(|()| fill(&transaction)).map_err(&failed)?;
        }
        let header =
            format!("PRAGMA application_id = {}; PRAGMA user_version = {};", self.application_id, self.version());
        transaction.execute_batch(&header).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }
}
