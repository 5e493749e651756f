//! Search for studies, newest first.
//!
//! 1. The newest studies are looked at, a bounded number: of a condition that many fit, they have a page.
//! 2. Otherwise the indices yield the studies that fit each condition, as sets of ids, and what is in all of them is the answer. If it is short it is
//!    looked up and sorted; if not, the index of the times is walked from the newest study. Only indices are read, and no row but those of the page.

use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension, Result};

use super::Reader;
use super::condition::{COLUMNS, Condition};
use super::ids::StudyIds;
use super::study::{StudyRow, summary};
use tidegate_database::Error;

/// The newest studies that are looked at before any index of a condition.
const LOOKED_AT: usize = 1000;

/// Studies that are looked up one by one. Of more, so many entries of the index of times are read in the time of one look.
const LOOKED_UP: u64 = 1000;

/// What to search for. All that is given must fit; texts fit where a value begins with them, in upper or lower case: of names, in those of all scripts,
/// of all other values in those of ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// What a person types: the beginning of a patient ID, of a component of a name, of an accession number or of a Study Instance UID, or a whole AE
    /// title.
    pub text: Option<String>,
    /// The beginning of a patient ID or of a component of a name, with those that follow.
    pub patient: Option<String>,
    /// The beginning of an accession number.
    pub accession: Option<String>,
    /// A calling AE title, whole.
    pub source: Option<String>,
    /// An instance was received at that time or later.
    pub since_ms: Option<i64>,
    /// The last instance was received before.
    pub until_ms: Option<i64>,
    /// The first and the last study date, as `YYYYMMDD`.
    pub study_date: Option<(String, String)>,
    /// Something of it is owed to a destination.
    pub is_undelivered: bool,
    /// It is open, or open again.
    pub is_open: bool,
    /// It is complete.
    pub is_complete: bool,
}

/// Where a page ends. Its text may be given to a client and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    last_ms: i64,
    id: i64,
}

/// A page of studies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Newest first: by the time of the last instance received.
    pub studies: Vec<StudyRow>,
    /// Where the next page begins, if there is one. A study that receives an instance meanwhile moves to the first page.
    pub next: Option<Cursor>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.last_ms, self.id)
    }
}

/// The text is not one of a [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the beginning of a page")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> std::result::Result<Self, NotACursor> {
        let (last_ms, id) = text.split_once('.').ok_or(NotACursor)?;
        let number = |text: &str| text.parse().map_err(|_| NotACursor);
        Ok(Self { last_ms: number(last_ms)?, id: number(id)? })
    }
}

impl Reader {
    /// The studies that fit, newest first, at most `limit`, from `after` on.
    pub fn studies(
        &mut self,
        search: &Search,
        after: Option<Cursor>,
        limit: usize,
    ) -> std::result::Result<Page, Error> {
        self.file.ask(|db| {
            let mut found = find(db, search, after, limit + 1, LOOKED_AT)?;
            let has_more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().copied().filter(|_| has_more);
            let studies = found.iter().map(|cursor| summary(db, cursor.id)).collect::<Result<_>>()?;
            Ok(Page { studies, next })
        })
    }
}

/// The first `limit` of the studies that fit, newest first.
fn find(
    db: &Connection,
    search: &Search,
    after: Option<Cursor>,
    limit: usize,
    looked_at: usize,
) -> Result<Vec<Cursor>> {
    let (times, conditions) = (Times::of(search, after), conditions(search));
    if conditions.is_empty() {
        return times.walk(db, limit, |_| true);
    }
    let (newest, is_all) = times.look(db, &conditions, limit, looked_at)?;
    if is_all || newest.len() >= limit {
        return Ok(newest);
    }
    let mut fitting: Option<StudyIds> = None;
    for condition in &conditions {
        let ids = condition.ids(db)?;
        match &mut fitting {
            Some(fitting) => fitting.intersect(&ids),
            none => *none = Some(ids),
        }
    }
    let fitting = fitting.unwrap_or_default();
    if fitting.count() <= LOOKED_UP {
        times.sort(db, &fitting, limit)
    } else {
        times.walk(db, limit, |id| fitting.contains(id))
    }
}

/// The conditions of a search, but for its times, which an index has in the order of the answer.
fn conditions(search: &Search) -> Vec<Condition<'_>> {
    let conditions = [
        search.accession.as_deref().map(Condition::Accession),
        search.patient.as_deref().map(Condition::patient),
        search.text.as_deref().map(Condition::text),
        search.study_date.as_ref().map(|(from, to)| Condition::Date(from, to)),
        search.source.as_deref().map(Condition::Source),
        search.is_undelivered.then_some(Condition::Undelivered),
        search.is_open.then_some(Condition::Open),
        search.is_complete.then_some(Condition::Complete),
    ];
    conditions.into_iter().flatten().collect()
}

/// The part of the order of the studies that an answer is from.
struct Times {
    /// Behind it.
    after: Cursor,
    since_ms: i64,
}

const WALK: &str =
    "SELECT last_ms, id FROM study WHERE (last_ms, id) < (?1, ?2) AND last_ms >= ?3 ORDER BY last_ms DESC, id DESC";

impl Times {
    fn of(search: &Search, after: Option<Cursor>) -> Self {
        let end = Cursor { last_ms: i64::MAX, id: i64::MAX };
        // No id is less than 1.
        let until = search.until_ms.map_or(end, |last_ms| Cursor { last_ms, id: 0 });
        Self { after: after.unwrap_or(end).min(until), since_ms: search.since_ms.unwrap_or(i64::MIN) }
    }

    /// The newest that fit, by a look at the rows of so many; and whether there are no more rows.
    fn look(
        &self,
        db: &Connection,
        conditions: &[Condition<'_>],
        limit: usize,
        looked_at: usize,
    ) -> Result<(Vec<Cursor>, bool)> {
        let sql = format!(
            "SELECT {COLUMNS}, last_ms FROM study WHERE (last_ms, id) < (?1, ?2) AND last_ms >= ?3
            ORDER BY last_ms DESC, id DESC LIMIT ?4"
        );
        let (mut found, mut seen) = (Vec::new(), 0);
        let mut statement = db.prepare_cached(&sql)?;
        let most = i64::try_from(looked_at).unwrap_or(i64::MAX);
        let mut rows = statement.query((self.after.last_ms, self.after.id, self.since_ms, most))?;
        while let Some(row) = rows.next()? {
            seen += 1;
            let mut fits = true;
            for condition in conditions {
                fits = fits && condition.fits(db, row)?;
            }
            if fits {
                found.push(Cursor { last_ms: row.get("last_ms")?, id: row.get("id")? });
                if found.len() >= limit {
                    break;
                }
            }
        }
        Ok((found, seen < looked_at))
    }

    /// The newest that fit, by a walk over the index of times.
    fn walk(&self, db: &Connection, limit: usize, fits: impl Fn(i64) -> bool) -> Result<Vec<Cursor>> {
        let mut found = Vec::new();
        let mut statement = db.prepare_cached(WALK)?;
        let mut rows = statement.query((self.after.last_ms, self.after.id, self.since_ms))?;
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            let cursor = Cursor { last_ms: row.get(0)?, id: row.get(1)? };
            if fits(cursor.id) {
                found.push(cursor);
            }
        }
        Ok(found)
    }

    /// The newest of `ids`.
    fn sort(&self, db: &Connection, ids: &StudyIds, limit: usize) -> Result<Vec<Cursor>> {
        let mut statement = db.prepare_cached("SELECT last_ms FROM study WHERE id = ?1")?;
        let mut found = Vec::new();
        for id in ids.iter() {
            // `study_source` and `study_name` may name no other study, but the file is not trusted.
            let last_ms: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
            let cursor = last_ms.map(|last_ms| Cursor { last_ms, id });
            found.extend(cursor.filter(|cursor| *cursor < self.after && cursor.last_ms >= self.since_ms));
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.truncate(limit);
        Ok(found)
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
