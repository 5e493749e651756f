//! Opens the file: its settings, its schema and its version.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rustix::fs::Access;

use crate::error::Error;
use crate::{file, names};

/// A statement waits so long for a lock of another process.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// A query of a reader is stopped after that time.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// In the header of the file: `TGCA`.
const APPLICATION_ID: i64 = 0x5447_4341;

/// Page caches: what a connection holds of the file, however large it is.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
const READER_CACHE_KIB: i64 = 2 * 1024;

/// The write-ahead log is copied into the file when it has so many pages of 4 KiB: seldom enough that pages which change in each batch are
/// copied once for several, and early enough that a start after a crash reads little.
const CHECKPOINT_PAGES: i64 = 4096;

/// Statements that are kept prepared.
const STATEMENTS: usize = 64;

/// Virtual machine steps between two looks at the clock.
const STEPS_A_LOOK: i32 = 10_000;

/// The steps from each version to the next: statements, and what fills the new tables from the old ones. The last makes the version of this
/// program; none is ever changed.
const MIGRATIONS: [(&str, Fill); 3] = [
    (concat!(include_str!("schema.sql"), include_str!("views.sql")), |_| Ok(())),
    (include_str!("migration-2.sql"), |_| Ok(())), // the next one fills it
    (include_str!("migration-3.sql"), names::enter_all),
];

type Fill = fn(&Connection) -> rusqlite::Result<()>;

/// The version of the schema.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// The connection of the writer. The file is made if there is none.
pub(crate) fn writer(path: &Path) -> Result<Connection, Error> {
    file::create(path)?;
    file::close_to_others(path)?;
    let failed = Error::sqlite(path);
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Before anything is written: the file may be another program's.
    let version = version(&connection, path)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(&failed)?;
    if mode != "wal" {
        let cause = "its filesystem has no shared memory for the write-ahead log".to_owned();
        return Err(Error::ReadOnly { path: path.to_owned(), cause });
    }
    let settings = format!(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF; -- the writer makes each row before the rows that name it; `check` proves it
         PRAGMA secure_delete = FAST;
         PRAGMA cache_size = -{WRITER_CACHE_KIB};
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA journal_size_limit = {};",
        CHECKPOINT_PAGES * 4096
    );
    connection.execute_batch(&settings).map_err(&failed)?;
    migrate(&mut connection, version, path)?;
    probe(&connection, path)?;
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let settings = format!("PRAGMA query_only = ON; PRAGMA cache_size = -{READER_CACHE_KIB};");
    connection.execute_batch(&settings).map_err(Error::sqlite(path))?;
    match version(&connection, path)? {
        SCHEMA_VERSION => Ok(connection),
        found => Err(Error::Older { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, Error> {
    file::check_access(path, Access::READ_OK)?;
    let failed = Error::sqlite(path);
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(&failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(&failed)?;
    // The file may have been changed by anybody: no code in its schema runs, each cell is checked, and it is not mapped, so that
    // a truncation is an error and not a signal. Sorts stay in memory, since they hold patients' names.
    let settings =
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;";
    connection.execute_batch(settings).map_err(&failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Stops the statements of `connection` that are running when `timeout` has passed from now.
pub(crate) fn limit_time(connection: &mut Connection, timeout: Duration) -> Result<(), rusqlite::Error> {
    let start = Instant::now();
    connection.progress_handler(STEPS_A_LOOK, Some(move || start.elapsed() > timeout))
}

/// The version of the schema; 0 of an empty file.
fn version(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let failed = Error::sqlite(path);
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(&failed);
    let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    match application {
        APPLICATION_ID if version > SCHEMA_VERSION => {
            Err(Error::Newer { path: path.to_owned(), found: version, known: SCHEMA_VERSION })
        }
        APPLICATION_ID if version > 0 => Ok(version),
        0 if version == 0 && tables == 0 => Ok(0),
        _ => Err(Error::Foreign { path: path.to_owned() }),
    }
}

fn migrate(connection: &mut Connection, from: i64, path: &Path) -> Result<(), Error> {
    let failed = Error::sqlite(path);
    if from == SCHEMA_VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    // Another process may have done it meanwhile.
    let from = usize::try_from(version(&transaction, path)?).unwrap_or(0);
    for (statements, fill) in &MIGRATIONS[from..] {
        transaction.execute_batch(statements).and_then(|()| fill(&transaction)).map_err(&failed)?;
    }
    let header = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};");
    transaction.execute_batch(&header).map_err(&failed)?;
    transaction.commit().map_err(&failed)
}

/// A cheap look for damage: the schema, and the first and last entry of each large tree. What it does not see is met later, as an error of
/// the statement that needs the page.
fn probe(connection: &Connection, path: &Path) -> Result<(), Error> {
    let ends = "SELECT (SELECT max(id) FROM instance), (SELECT min(id) FROM instance),
        (SELECT hex(max(uid)) FROM instance), (SELECT hex(min(uid)) FROM instance),
        (SELECT max(series) FROM instance), (SELECT min(series) FROM instance),
        (SELECT max(directory) FROM instance), (SELECT min(directory) FROM instance),
        (SELECT max(last_ms) FROM study), (SELECT min(uid) FROM study), (SELECT max(id) FROM series),
        (SELECT max(path) FROM directory), (SELECT count(*) FROM gap WHERE closed_ms IS NULL), (SELECT count(*) FROM mark)";
    connection.query_row(ends, [], |_| Ok(())).map_err(Error::sqlite(path))
}
