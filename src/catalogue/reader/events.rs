//! Events that are owed, and completeness.

use rusqlite::{Connection, OptionalExtension, Result, Row, ToSql};
use tidegate_database::Error;

use super::Reader;
use crate::events::{EventKind, OwedEvent, SinkRow};
use crate::record::StudyValues;

const SINKS: &str = "SELECT id, name, gone_ms, waiting, dead, published, asked_ms,
        (SELECT min(due_ms) FROM owed_event WHERE owed_event.sink = sink.id AND due_ms IS NOT NULL),
        (SELECT owed_ms FROM owed_event INDEXED BY owed_event_waiting WHERE owed_event.sink = sink.id AND state = 0 ORDER BY event LIMIT 1)
    FROM sink";

/// A query of [`OwedEvent`].
macro_rules! owed {
    ($rest:literal) => {
        owed!("", $rest)
    };
    ($index:literal, $rest:literal) => {
        concat!(
            "SELECT o.sink, o.event, kind, at_ms, data, o.owed_ms, o.attempts, ifnull(study.uid, ''), patient_id, patient_name, patient_birth_date,
                accession_number, study_date, description, o.state, o.due_ms, o.last_ms, o.why, subject, o.study
            FROM owed_event AS o ",
            $index,
            " CROSS JOIN event ON event.id = o.event LEFT JOIN study ON study.id = event.study ",
            $rest
        )
    };
}

/// An event that is owed, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// The event.
    pub event: OwedEvent,
    /// The name of the sink.
    pub sink: String,
    /// Whether it was given up.
    pub is_dead: bool,
    /// When it is tried next; `None`: it is dead, or behind an earlier one of its study.
    pub due_ms: Option<i64>,
    /// When it was tried last.
    pub last_ms: Option<i64>,
    /// Why that failed.
    pub why: Option<String>,
}

/// An event of the last ones, owed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEvent {
    /// Its number: ascending, and never used again.
    pub event: i64,
    /// What it tells.
    pub kind: EventKind,
    /// Study Instance UID.
    pub subject: String,
    /// When it came about, in milliseconds since 1970.
    pub at_ms: i64,
    /// A JSON object.
    pub data: String,
    /// Sinks to which it is owed.
    pub owed: u64,
}

/// Events, and how far they were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEventPage {
    /// The oldest first.
    pub events: Vec<PastEvent>,
    /// The number of the last one that was looked at, chosen or not.
    pub last: i64,
    /// How many were, chosen or not.
    pub looked_at: u64,
    /// Whether there may be more.
    pub has_more: bool,
}

/// Events that are looked at for a page of those of one kind.
pub const EVENTS_LOOKED_AT: u32 = 10_000;
/// Events that are looked through for the last ones of a kind. It takes some tens of milliseconds.
pub const EVENTS_LOOKED_THROUGH: i64 = 100_000;

fn past(row: &Row<'_>) -> Result<PastEvent> {
    Ok(PastEvent {
        event: row.get(0)?,
        kind: kind(row, 1)?,
        subject: row.get(2)?,
        at_ms: row.get(3)?,
        data: row.get(4)?,
        owed: row.get::<_, i64>(5)?.unsigned_abs(),
    })
}

fn sink(row: &Row<'_>) -> Result<SinkRow> {
    Ok(SinkRow {
        id: row.get(0)?,
        name: row.get(1)?,
        gone_ms: row.get(2)?,
        waiting: row.get(3)?,
        dead: row.get(4)?,
        published: row.get(5)?,
        asked_ms: row.get(6)?,
        due_ms: row.get(7)?,
        since_ms: row.get(8)?,
    })
}

/// All sinks, by name.
pub(crate) fn sinks(db: &Connection) -> Result<Vec<SinkRow>> {
    let mut statement = db.prepare_cached(&format!("{SINKS} ORDER BY name"))?;
    let rows = statement.query_map([], sink)?;
    rows.collect()
}

fn kind(row: &Row<'_>, at: usize) -> Result<EventKind> {
    EventKind::of(row.get(at)?).ok_or(rusqlite::Error::InvalidQuery)
}

fn owed(row: &Row<'_>) -> Result<OwedEvent> {
    Ok(OwedEvent {
        sink: row.get(0)?,
        event: row.get(1)?,
        kind: kind(row, 2)?,
        subject: row.get(18)?,
        at_ms: row.get(3)?,
        data: row.get(4)?,
        owed_ms: row.get(5)?,
        attempts: row.get(6)?,
        study_id: row.get(19)?,
        study: StudyValues::read(row, 7)?,
    })
}

fn page<T>(db: &Connection, sql: &str, values: &[&dyn ToSql], read: fn(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(values, read)?;
    rows.collect()
}

impl Reader {
    /// The sink of that name; `None`: no node has followed studies for it.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn sink(&mut self, name: &str) -> std::result::Result<Option<SinkRow>, Error> {
        let sql = format!("{SINKS} WHERE name = ?1");
        self.file.ask(|db| db.prepare_cached(&sql)?.query_row([name], sink).optional())
    }

    /// All sinks, by name.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn sinks(&mut self) -> std::result::Result<Vec<SinkRow>, Error> {
        self.file.ask(sinks)
    }

    /// The events that are due at a sink, the first of each study, at most `limit`.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn due_events(&mut self, sink: i64, now_ms: i64, limit: u32) -> std::result::Result<Vec<OwedEvent>, Error> {
        let sql = owed!("WHERE o.sink = ?1 AND o.due_ms <= ?2 ORDER BY o.due_ms, o.event LIMIT ?3");
        self.file.ask(|db| page(db, sql, &[&sink, &now_ms, &limit], owed))
    }

    /// The events of a study that wait for a sink behind another one, in their order, at most `limit`.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn events_behind(
        &mut self,
        sink: i64,
        study: i64,
        event: i64,
        limit: u32,
    ) -> std::result::Result<Vec<OwedEvent>, Error> {
        let sql = owed!(
            "INDEXED BY owed_event_study",
            "WHERE o.sink = ?1 AND o.study = ?2 AND o.state = 0 AND o.event > ?3 ORDER BY o.event LIMIT ?4"
        );
        self.file.ask(|db| page(db, sql, &[&sink, &study, &event, &limit], owed))
    }

    /// Events that are owed to a sink, or to all, from behind `after`, at most `limit`, and further sinks of the last one; only dead ones if `is_dead`.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn owed_events(
        &mut self,
        sink: Option<&str>,
        is_dead: bool,
        after: i64,
        limit: u32,
    ) -> std::result::Result<Vec<EventRow>, Error> {
        let sql = match is_dead {
            true => owed!(
                "INDEXED BY owed_event_dead",
                "WHERE o.sink = ?1 AND o.event > ?2 AND o.state = 1 ORDER BY o.event LIMIT ?3"
            ),
            false => owed!("WHERE o.sink = ?1 AND o.event > ?2 ORDER BY o.event LIMIT ?3"),
        };
        let names = "SELECT id, name FROM sink WHERE ?1 IS NULL OR name = ?1";
        self.file.ask(|db| {
            let mut names = db.prepare_cached(names)?;
            let names = names.query_map([sink], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
            let mut statement = db.prepare_cached(sql)?;
            let mut found = Vec::new();
            for of in names {
                let (id, name) = of?;
                let rows = statement.query_map((id, after, limit), |row| {
                    Ok(EventRow {
                        sink: name.clone(),
                        event: owed(row)?,
                        is_dead: row.get(14)?,
                        due_ms: row.get(15)?,
                        last_ms: row.get(16)?,
                        why: row.get(17)?,
                    })
                })?;
                found.extend(rows.collect::<Result<Vec<_>>>()?);
            }
            found.sort_by_key(|row| (row.event.event, row.event.sink));
            // The next page begins behind the last event: all that are owed that one are on this page.
            let last = found.get((limit as usize).saturating_sub(1)).map(|row| row.event.event);
            found.retain(|row| last.is_none_or(|last| row.event.event <= last));
            Ok(found)
        })
    }

    /// The events from behind `after`, at most `limit`: all, or those of one kind of the next [`EVENTS_LOOKED_AT`]. Those that nobody is owed are kept for
    /// a while.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn events(
        &mut self,
        after: i64,
        only: Option<EventKind>,
        limit: u32,
    ) -> std::result::Result<PastEventPage, Error> {
        let of_next =
            "SELECT ifnull(max(id), ?1), count(*) FROM (SELECT id FROM event WHERE id > ?1 ORDER BY id LIMIT ?2)";
        let of_events =
            "SELECT id, kind, subject, at_ms, data, (SELECT count(*) FROM owed_event WHERE event = event.id)
            FROM event WHERE id > ?1 AND id <= ?2 AND (?3 IS NULL OR kind = ?3) ORDER BY id LIMIT ?4";
        let of_read = "SELECT count(*) FROM event WHERE id > ?1 AND id <= ?2";
        let most = if only.is_some() { EVENTS_LOOKED_AT } else { limit };
        self.file.ask(|db| {
            let next = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
            let (end, there) = db.prepare_cached(of_next)?.query_row((after, most), next)?;
            let number = only.map(EventKind::number);
            let events = page(db, of_events, &[&after, &end, &number, &limit], past)?;
            let is_full = events.len() >= limit as usize;
            let last = events.last().filter(|_| is_full).map_or(end, |event| event.event);
            let looked_at: i64 = db.prepare_cached(of_read)?.query_row((after, last), |row| row.get(0))?;
            let has_more = is_full || there >= i64::from(most);
            Ok(PastEventPage { events, last, looked_at: looked_at.unsigned_abs(), has_more })
        })
    }

    /// The event behind which the last `count` ones are, of one kind or of all; behind which all are that are looked through if there are fewer of them in
    /// the last [`EVENTS_LOOKED_THROUGH`].
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn before_last_events(&mut self, count: u32, only: Option<EventKind>) -> std::result::Result<i64, Error> {
        let sql = "SELECT id FROM event WHERE id > ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY id DESC LIMIT 1 OFFSET ?3";
        let last = self.last_event()?;
        let Some(others) = count.checked_sub(1) else { return Ok(last) };
        let least = (last - EVENTS_LOOKED_THROUGH).max(0);
        self.file.ask(|db| {
            let values = (least, only.map(EventKind::number), others);
            let first: Option<i64> = db.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
            Ok(first.map_or(least, |first| first - 1))
        })
    }

    /// The number of the last event; 0: there was none.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn last_event(&mut self) -> std::result::Result<i64, Error> {
        self.file.ask(|db| db.query_row("SELECT ifnull(max(id), 0) FROM event", [], |row| row.get(0)))
    }
}
