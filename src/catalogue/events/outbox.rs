//! The rows of events within a transaction.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Params, Result};

use super::{EventKind, Told};
use crate::completeness::Following;

/// Events that are kept beside those that are owed, for people.
const KEPT: i64 = 10_000;
/// Events between two looks at what need not be kept.
const PRUNING: i64 = 1000;

/// For so long, something that is told again is the same.
const TOLD_MS: i64 = 24 * 3600 * 1000;

/// The events of one transaction.
pub(crate) struct Outbox<'a> {
    db: &'a Connection,
    following: &'a Following,
    /// The rows of the sinks, by their place in the settings.
    sinks: HashMap<usize, i64>,
    pub(crate) has_changed: bool,
}

impl Following {
    /// Whether events of that kind are written. All are, for people, but one an instance would push the others out of what is kept.
    pub(crate) fn writes(&self, kind: EventKind) -> bool {
        kind != EventKind::InstanceStored || self.sinks.iter().any(|sink| sink.kinds.contains(&kind))
    }
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(db: &'a Connection, following: &'a Following) -> Self {
        Self { db, following, sinks: HashMap::new(), has_changed: false }
    }

    /// Writes an event of a study, and owes it to each sink that wants it. `data` is a JSON object.
    pub(crate) fn emit(&mut self, kind: EventKind, study: i64, subject: &str, at_ms: i64, data: &str) -> Result<()> {
        self.write(kind, Some(study), subject, at_ms, data)
    }

    /// Writes what another part of the node tells, if it has not told it before.
    pub(crate) fn tell(&mut self, told: &Told) -> Result<()> {
        let Told { kind, ref origin, ref subject, at_ms, ref data } = *told;
        let sql = "INSERT OR IGNORE INTO told (origin, at_ms) VALUES (?1, ?2)";
        if self.db.prepare_cached(sql)?.execute((origin, at_ms))? == 0 {
            return Ok(());
        }
        self.write(kind, None, subject, at_ms, data)
    }

    fn write(&mut self, kind: EventKind, study: Option<i64>, subject: &str, at_ms: i64, data: &str) -> Result<()> {
        let sql = "INSERT INTO event (kind, study, subject, at_ms, data) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.db.prepare_cached(sql)?.execute((kind.number(), study, subject, at_ms, data))?;
        let event = self.db.last_insert_rowid();
        self.has_changed = true;
        let wanted = |(_, sink): &(usize, &crate::Subscription)| sink.kinds.contains(&kind);
        for (at, subscription) in self.following.sinks.iter().enumerate().filter(wanted) {
            let sink = match self.sinks.get(&at) {
                Some(sink) => *sink,
                None => {
                    let sink = row_of(self.db, &subscription.sink)?;
                    self.sinks.insert(at, sink);
                    sink
                }
            };
            owe(self.db, sink, event, study, at_ms)?;
        }
        if event % PRUNING == 0 {
            // What is owed longer goes when it is owed no more.
            let sql = "DELETE FROM event WHERE id > ?1 AND id <= ?2 AND NOT EXISTS (SELECT 1 FROM owed_event WHERE owed_event.event = event.id)";
            self.db.prepare_cached(sql)?.execute([event - KEPT - 2 * PRUNING, event - KEPT])?;
            let sql = "DELETE FROM told WHERE at_ms < (SELECT max(at_ms) FROM told) - ?1";
            self.db.prepare_cached(sql)?.execute([TOLD_MS])?;
        }
        Ok(())
    }
}

/// The row of the sink of that name, made if there is none.
pub(crate) fn row_of(db: &Connection, name: &str) -> Result<i64> {
    let sql = "SELECT id FROM sink WHERE name = ?1";
    if let Some(id) = db.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    db.execute("INSERT INTO sink (name) VALUES (?1)", [name])?;
    Ok(db.last_insert_rowid())
}

/// An event waits for a sink, behind the earlier ones of its study.
fn owe(db: &Connection, sink: i64, event: i64, study: Option<i64>, at_ms: i64) -> Result<()> {
    let sql = "INSERT INTO owed_event (sink, event, study, owed_ms, due_ms) VALUES (?1, ?2, ?3, ?4,
        iif(EXISTS (SELECT 1 FROM owed_event INDEXED BY owed_event_study WHERE sink = ?1 AND study = ?3 AND state = 0), NULL, 0))";
    db.prepare_cached(sql)?.execute((sink, event, study, at_ms))?;
    db.prepare_cached("UPDATE sink SET waiting = waiting + 1 WHERE id = ?1")?.execute([sink])?;
    Ok(())
}

/// An event is not owed to a sink any more.
pub(crate) fn remove(db: &Connection, sink: i64, event: i64) -> Result<()> {
    db.prepare_cached("DELETE FROM owed_event WHERE sink = ?1 AND event = ?2")?.execute((sink, event))?;
    let sql = "DELETE FROM event WHERE id = ?1 AND id <= (SELECT max(id) FROM event) - ?2
        AND NOT EXISTS (SELECT 1 FROM owed_event WHERE owed_event.event = ?1)";
    db.prepare_cached(sql)?.execute((event, KEPT + PRUNING)).map(drop)
}

/// A JSON text, made by SQLite: `expression` is of its JSON functions.
pub(crate) fn json(db: &Connection, expression: &str, values: impl Params) -> Result<String> {
    db.prepare_cached(&format!("SELECT {expression}"))?.query_row(values, |row| row.get(0))
}

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms(db: &Connection) -> Result<i64> {
    db.prepare_cached("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")?.query_row([], |row| row.get(0))
}
