//! Readers: the questions that people ask. Each has a connection of its own and never waits for the writer.

mod condition;
pub(crate) mod events;
mod had;
mod ids;
mod instance;
mod outbox;
mod progress;
mod reconcile;
mod search;
mod stored;
mod study;

use std::path::Path;

use rusqlite::{OptionalExtension, Row};
use tidegate_database::Error;

use crate::batch::find;
use crate::catalogue::{Gap, ROOT};
use crate::open::DESIGN;
use crate::record::State;
pub use events::{EVENTS_LOOKED_AT, EVENTS_LOOKED_THROUGH, EventRow, PastEvent, PastEventPage};
pub use had::{HadInstance, HadStudy};
pub use instance::{InstanceRow, Place};
pub use outbox::{Deliveries, DeliveryCursor, DeliveryRow, DeliverySearch, NotADelivery};
pub use progress::{InstanceDelivery, InstanceProgress, StudyDelivery};
pub use reconcile::{NotDelivered, Reconciled};
pub use search::{Cursor, NotACursor, Page, Search};
pub use stored::{MAX_VERSIONS, Owing, StoredFile};
pub use study::{ArrivalRow, Numbers, OriginRow, SeriesRow, Study, StudyRow};

/// A connection that reads. A query takes at most [`QUERY_TIMEOUT`](crate::QUERY_TIMEOUT), and holds a bounded part of the catalogue in memory.
#[derive(Debug)]
pub struct Reader {
    file: tidegate_database::Reader,
}

/// What the catalogue knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// Of the file.
    pub bytes: u64,
    /// XXH3-128 of the file.
    pub digest: Option<u128>,
    /// When it was received.
    pub received_ms: i64,
    /// Whether it is there.
    pub state: State,
}

/// What the catalogue has in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Studies.
    pub studies: u64,
    /// Series.
    pub series: u64,
    /// Files that are there; each version of an instance counts.
    pub instances: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that are not there any more.
    pub gone: u64,
}

impl Reader {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// Any but [`Error::Full`]. A file of an older schema is [`Error::Older`]: the writer brings it up to date.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { file: tidegate_database::Reader::open(&DESIGN, path)? })
    }

    /// What is known of the file at `path`, below the root. `verify` holds a file against it that has no digest of its own.
    pub fn file(&mut self, path: &Path) -> Result<Option<FileRow>, Error> {
        self.file.ask(|db| {
            let known = find(db, path)?;
            Ok(known.map(|known| FileRow {
                bytes: known.bytes,
                digest: known.digest,
                received_ms: known.received_ms,
                state: known.state,
            }))
        })
    }

    /// The id of the storage root that it was claimed for.
    pub fn root(&mut self) -> Result<Option<u64>, Error> {
        let sql = "SELECT value FROM mark WHERE name = ?1";
        self.file.ask(|db| {
            db.query_row(sql, [ROOT], |row| row.get::<_, i64>(0)).optional().map(|id| id.map(i64::cast_unsigned))
        })
    }

    /// What the catalogue has in all.
    pub fn totals(&mut self) -> Result<Totals, Error> {
        let sql = "SELECT (SELECT count(*) FROM study), count(*), ifnull(sum(instances), 0), ifnull(sum(bytes), 0), ifnull(sum(gone), 0)
            FROM series";
        self.file.ask(|db| {
            db.prepare_cached(sql)?.query_row([], |row| {
                let [studies, series, instances, bytes, gone] = counts(row)?;
                Ok(Totals { studies, series, instances, bytes, gone })
            })
        })
    }

    /// The second of the day, by the local time of this host: SQLite asks the C library, as nothing else here does.
    pub fn local_second_of_day(&mut self) -> Result<u32, Error> {
        let sql = "SELECT strftime('%H', 'now', 'localtime') * 3600 + strftime('%M', 'now', 'localtime') * 60
            + strftime('%S', 'now', 'localtime')";
        self.file.ask(|db| db.prepare_cached(sql)?.query_row([], |row| row.get(0)))
    }

    /// The last gaps, newest first, at most `limit`.
    pub fn gaps(&mut self, limit: u32) -> Result<Vec<Gap>, Error> {
        let sql = "SELECT id, opened_ms, reason, missed, closed_ms FROM gap ORDER BY id DESC LIMIT ?1";
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let gaps = statement.query_map([limit], |row| {
                Ok(Gap {
                    id: row.get(0)?,
                    opened_ms: row.get(1)?,
                    reason: row.get(2)?,
                    missed: row.get::<_, i64>(3)?.unsigned_abs(),
                    closed_ms: row.get(4)?,
                })
            })?;
            gaps.collect()
        })
    }
}

/// Five columns that count something.
fn counts(row: &Row<'_>) -> rusqlite::Result<[u64; 5]> {
    let count = |at| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    Ok([count(0)?, count(1)?, count(2)?, count(3)?, count(4)?])
}
