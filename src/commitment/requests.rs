//! The writer: requests are accepted, and come up again when they are due.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};
use tidegate_database::{Error, Writer};

use crate::design::DESIGN;
use crate::named;
use crate::request::{Asked, Counts, Due, Peer, Reference, Referenced, Request};
use crate::rows::{self, requests};
use crate::schedule::{LONGEST_WAIT, ms};

/// References of a request.
pub const MAX_REFERENCES: usize = 100_000;

/// Pending requests of a peer.
pub const MAX_PENDING_OF_PEER: u64 = 1_000;

/// Pending requests of an address, whatever AE titles it calls itself by: they cost it nothing.
pub const MAX_PENDING_OF_ADDRESS: u64 = 5_000;

/// Pending requests in all.
pub const MAX_PENDING: u64 = 10_000;

/// References of the pending requests of a peer.
pub const MAX_PENDING_REFERENCES_OF_PEER: u64 = 1_000_000;

/// Changes nothing, and is written to the disk.
const PROBE: &str = "UPDATE sqlite_sequence SET seq = seq WHERE name = 'request'";

/// References of all pending requests: three quarters of a gigabyte of disk.
pub const MAX_PENDING_REFERENCES: u64 = 10_000_000;

/// The record, open for its one writer. Each call is one transaction, and none after an error. What is accepted, refused and ordered by an operator is
/// durable when the call returns, with all before it. The rest outlives the process, and a power cut may undo it: it is evaluated and reported again.
/// A call blocks for at most [`BUSY_TIMEOUT`](tidegate_database::BUSY_TIMEOUT) on locks, and otherwise as long as the disk takes. All memory that is
/// kept between calls is the page cache, of 2 MiB.
#[derive(Debug)]
pub struct Requests {
    pub(crate) file: Writer,
    pub(crate) retry_for: Duration,
    /// The weight of all requests that have ended: [`rows::weight`].
    pub(crate) kept: u64,
}

/// Why a request was not accepted. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// The same AE title has a request with that Transaction UID, pending or kept.
    #[error("the transaction uid is in use by request {id} of the same ae title")]
    Duplicate {
        /// The other request.
        id: i64,
    },
    /// It names no instance.
    #[error("the request names no instance")]
    Empty,
    /// It names more than [`MAX_REFERENCES`].
    #[error("the request names {count} instances, and {MAX_REFERENCES} are taken at most")]
    TooManyReferences {
        /// How many it names.
        count: usize,
    },
    /// With it, the peer would have more than [`MAX_PENDING_OF_PEER`] requests or [`MAX_PENDING_REFERENCES_OF_PEER`] references pending.
    #[error("the peer has {requests} requests with {references} references pending")]
    PeerIsFull {
        /// Pending requests of the peer.
        requests: u64,
        /// References of them.
        references: u64,
    },
    /// With it, the address of the peer would have more than [`MAX_PENDING_OF_ADDRESS`] requests pending.
    #[error("the address of the peer has {requests} requests pending")]
    AddressIsFull {
        /// Pending requests of the address.
        requests: u64,
    },
    /// With it, more than [`MAX_PENDING`] requests or [`MAX_PENDING_REFERENCES`] references would be pending in all.
    #[error("{requests} requests with {references} references are pending")]
    Full {
        /// Pending requests.
        requests: u64,
        /// References of them.
        references: u64,
    },
    /// It could not be made durable.
    #[error(transparent)]
    File(#[from] Error),
}

impl Requests {
    /// Opens the file, or makes one, whose ids begin with the time. `retry_for` is how long a request waits for its instances, and after that its
    /// report is tried.
    ///
    /// # Errors
    /// Any: see [`Error::remedy`]. A file that is damaged, newer, in use or another program's is left as it is.
    pub fn open(path: &Path, retry_for: Duration, now_ms: i64) -> Result<Self, Error> {
        let mut file = Writer::open(&DESIGN, path)?;
        // An answer to a request of a former file must not end one of this file.
        let begin = "INSERT INTO sqlite_sequence (name, seq)
            SELECT 'request', ?1 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'request')";
        let kept = file.transact(|db| {
            db.execute(begin, [now_ms.max(0)])?;
            db.execute(PROBE, [])?;
            rows::kept(db)
        })?;
        Ok(Self { file, retry_for, kept })
    }

    /// Writes what is there already, so that a file that cannot be written is known before a request comes.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn probe(&mut self) -> Result<(), Error> {
        self.file.transact(|db| db.execute(PROBE, [])).map(drop)
    }

    /// How many rows were written since the file was opened: a call that has changed none proves nothing about the disk.
    pub fn changes(&self) -> u64 {
        self.file.connection().total_changes()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of the file and of its write-ahead log.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Gives back the page cache.
    pub fn release_memory(&self) {
        self.file.release_memory();
    }

    /// Makes a request durable, and returns its id. It is due at once. The references are read once, while they are written.
    ///
    /// # Errors
    /// [`NotAccepted`]: nothing of it is kept.
    pub fn accept(
        &mut self,
        asked: &Asked,
        references: impl ExactSizeIterator<Item = Reference>,
        now_ms: i64,
    ) -> Result<i64, NotAccepted> {
        let count = references.len();
        match count {
            0 => return Err(NotAccepted::Empty),
            1..=MAX_REFERENCES => {}
            _ => return Err(NotAccepted::TooManyReferences { count }),
        }
        let accepted = self.file.transact(|db| {
            if let Some(refused) = refused(db, asked, count as u64)? {
                return Ok(Err(refused));
            }
            insert(db, asked, references, now_ms).map(Ok)
        })?;
        // A file that was deleted just before the transaction ended has kept nothing.
        self.file.is_in_place()?;
        accepted
    }

    /// The requests that are due, at most `limit`: of each peer the one that is due for the longest time in each of the states
    /// [`Received`](crate::State::Received) and [`Evaluated`](crate::State::Evaluated), so that one with many requests delays no other. Those that
    /// `may` refuses are passed over: the caller knows which peers it is calling.
    ///
    /// Where the clock was set back, a request that would wait for longer than [`LONGEST_WAIT`] is made due when that has passed.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn due(&mut self, now_ms: i64, limit: usize, may: impl Fn(&Due) -> bool) -> Result<Vec<Due>, Error> {
        let latest_ms = now_ms.saturating_add(ms(LONGEST_WAIT));
        let are_late = "SELECT EXISTS (SELECT 1 FROM request WHERE state < 2 AND next_ms > ?1)";
        let bring_back = "UPDATE request SET next_ms = ?1 WHERE state < 2 AND next_ms > ?1";
        if self.ask(|db| db.prepare_cached(are_late)?.query_row([latest_ms], |row| row.get(0)))? {
            self.file.transact_unsynced(|db| db.execute(bring_back, [latest_ms]))?;
        }
        let sql = requests!(
            "(SELECT id AS due, min(next_ms) AS due_ms FROM request INDEXED BY request_pending
                WHERE state < 2 AND next_ms <= ?1 GROUP BY calling, address, state)
            JOIN request ON request.id = due ORDER BY due_ms, due"
        );
        self.file.is_in_place()?;
        self.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([now_ms], rows::request)?;
            rows.filter(|row| row.as_ref().map_or(true, &may)).take(limit).collect()
        })
    }

    /// When the next request is due, that none is waiting for now; `None` if none is pending.
    ///
    /// # Errors
    /// Those of a query.
    pub fn next_due_ms(&self, now_ms: i64) -> Result<Option<i64>, Error> {
        let sql = "SELECT min(next_ms) FROM request INDEXED BY request_pending WHERE state < 2 AND next_ms > ?1";
        let next = self.ask(|db| db.prepare_cached(sql)?.query_row([now_ms], |row| row.get::<_, Option<i64>>(0)))?;
        Ok(next.map(|next_ms| next_ms.min(now_ms.saturating_add(ms(LONGEST_WAIT)))))
    }

    /// One request.
    ///
    /// # Errors
    /// Those of a query.
    pub fn request(&self, id: i64) -> Result<Option<Request>, Error> {
        self.ask(|db| rows::find(db, id))
    }

    /// The references of a request from a position on, at most `limit`, for an evaluation and for a report.
    ///
    /// # Errors
    /// Those of a query.
    pub fn references(&self, id: i64, from: u32, limit: u32) -> Result<Vec<Referenced>, Error> {
        self.ask(|db| rows::references(db, id, from, limit))
    }

    /// Looks at each request that is pending, in no order.
    ///
    /// # Errors
    /// Those of a query.
    pub fn each_pending(&self, mut look: impl FnMut(Request)) -> Result<(), Error> {
        self.ask(|db| {
            let mut statement = db.prepare_cached(requests!("request INDEXED BY request_pending WHERE state < 2"))?;
            for request in statement.query_map([], rows::request)? {
                look(request?);
            }
            Ok(())
        })
    }

    /// What the record has in all.
    ///
    /// # Errors
    /// Those of a query.
    pub fn counts(&self) -> Result<Counts, Error> {
        self.ask(rows::counts)
    }

    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        question(self.file.connection()).map_err(DESIGN.sqlite(self.file.path()))
    }
}

/// Why a request with so many references is not accepted.
fn refused(db: &Connection, asked: &Asked, count: u64) -> rusqlite::Result<Option<NotAccepted>> {
    let Peer { calling, address } = &asked.peer;
    let same = "SELECT id FROM request WHERE calling = ?1 AND transaction_uid = ?2";
    let mut same = db.prepare_cached(same)?;
    if let Some(row) = same.query((calling, &asked.transaction_uid))?.next()? {
        return Ok(Some(NotAccepted::Duplicate { id: row.get(0)? }));
    }
    let of_peer = "SELECT count(*), ifnull(sum(instances), 0) FROM request INDEXED BY request_pending
        WHERE state < 2 AND calling = ?1 AND address = ?2";
    let in_all = "SELECT count(*), ifnull(sum(instances), 0) FROM request INDEXED BY request_pending WHERE state < 2";
    let pending =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()));
    let (requests, references) = db.prepare_cached(of_peer)?.query_row((calling, address), pending)?;
    if requests >= MAX_PENDING_OF_PEER || references + count > MAX_PENDING_REFERENCES_OF_PEER {
        return Ok(Some(NotAccepted::PeerIsFull { requests, references }));
    }
    let of_address = "SELECT count(*) FROM request INDEXED BY request_pending WHERE state < 2 AND address = ?1";
    let requests: u64 = db.prepare_cached(of_address)?.query_row([address], |row| row.get::<_, i64>(0))?.unsigned_abs();
    if requests >= MAX_PENDING_OF_ADDRESS {
        return Ok(Some(NotAccepted::AddressIsFull { requests }));
    }
    let (requests, references) = db.prepare_cached(in_all)?.query_row([], pending)?;
    let is_full = requests >= MAX_PENDING || references + count > MAX_PENDING_REFERENCES;
    Ok(is_full.then_some(NotAccepted::Full { requests, references }))
}

fn insert(
    db: &Connection,
    asked: &Asked,
    references: impl ExactSizeIterator<Item = Reference>,
    now_ms: i64,
) -> rusqlite::Result<i64> {
    let Asked { transaction_uid, peer: Peer { calling, address }, called, association } = asked;
    let request =
        "INSERT INTO request (transaction_uid, calling, called, address, association, received_ms, state, instances,
        next_ms, counted_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?6, ?6)";
    let instances = references.len() as u64 as i64;
    let row = params![transaction_uid, calling, called, address, association, now_ms, instances];
    db.prepare_cached(request)?.execute(row)?;
    let id = db.last_insert_rowid();
    let reference = "INSERT INTO reference (request, position, sop_class, sop_instance) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = db.prepare_cached(reference)?;
    let mut instances = Vec::with_capacity(references.len());
    for (position, Reference { sop_class, sop_instance }) in references.enumerate() {
        let position = position as u64 as i64;
        statement.execute((id, position, sop_class.as_bytes(), sop_instance.as_bytes()))?;
        instances.push(named::number(sop_instance.as_bytes()));
    }
    named::insert(db, id, instances)?;
    Ok(id)
}
