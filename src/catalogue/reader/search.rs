//! Search for studies, newest first.

use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, Result, named_params};

use super::Reader;
use super::study::{StudyRow, summary};
use crate::error::Error;

/// Studies that an index may yield for a condition. They are sorted; of more, so many fit that a walk from the newest study soon has a page.
const MAX_NARROW: usize = 10_000;

/// What to search for. All that is given must fit; texts fit where a value begins with them, in upper or lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// What a person types: the beginning of a patient ID or name, an accession number, a Study Instance UID, or a whole AE title.
    pub text: Option<String>,
    /// The beginning of a patient ID or name.
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
        self.ask(|db| {
            let after = after.unwrap_or(Cursor { last_ms: i64::MAX, id: i64::MAX });
            let mut found = match narrow(db, search)? {
                Some(ids) => sorted(db, &ids, search, after, limit + 1)?,
                None => walked(db, search, after, limit + 1)?,
            };
            let has_more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().copied().filter(|_| has_more);
            let studies = found.iter().map(|cursor| summary(db, cursor.id)).collect::<Result<_>>()?;
            Ok(Page { studies, next })
        })
    }
}

/// The texts that begin with `prefix` are not less than it, and less than this.
fn end_of(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

/// The studies that fit the condition which an index answers best, if they are few.
fn narrow(db: &Connection, search: &Search) -> Result<Option<Vec<i64>>> {
    const ACCESSION: &str = "SELECT id FROM study WHERE accession_number >= ?1 AND accession_number < ?2";
    const PATIENT_ID: &str = "SELECT id FROM study WHERE patient_id >= ?1 AND patient_id < ?2";
    const PATIENT_NAME: &str = "SELECT id FROM study WHERE patient_name >= ?1 AND patient_name < ?2";
    const UID: &str = "SELECT id FROM study WHERE uid >= ?1 AND uid < ?2";
    const SOURCE: &str = "SELECT study FROM study_source WHERE ?2 <> '' AND source IN
        (SELECT id FROM source WHERE calling_ae_title = ?1 COLLATE NOCASE)";
    let conditions: [(&Option<String>, &[&str]); 4] = [
        (&search.accession, &[ACCESSION]),
        (&search.patient, &[PATIENT_ID, PATIENT_NAME]),
        (&search.text, &[ACCESSION, PATIENT_ID, PATIENT_NAME, UID, SOURCE]),
        (&search.source, &[SOURCE]),
    ];
    for (value, queries) in conditions {
        let Some(value) = value else { continue };
        let mut ids = Vec::new();
        for query in queries {
            let sql = format!("{query} LIMIT {}", MAX_NARROW + 1);
            let mut statement = db.prepare_cached(&sql)?;
            for id in statement.query_map([value, &end_of(value)], |row| row.get::<_, i64>(0))? {
                ids.push(id?);
            }
            if ids.len() > MAX_NARROW {
                break;
            }
        }
        if ids.len() <= MAX_NARROW {
            ids.sort_unstable();
            ids.dedup();
            return Ok(Some(ids));
        }
    }
    Ok(None)
}

/// All conditions. What is not asked for is NULL.
const FITS: &str = "
    (last_ms, id) < (:last_ms, :id)
    AND (:patient IS NULL OR patient_id >= :patient AND patient_id < :patient_end
        OR patient_name >= :patient AND patient_name < :patient_end)
    AND (:accession IS NULL OR accession_number >= :accession AND accession_number < :accession_end)
    AND (:source IS NULL OR EXISTS (SELECT 1 FROM study_source JOIN source ON source.id = study_source.source
        WHERE study_source.study = study.id AND calling_ae_title = :source COLLATE NOCASE))
    AND (:text IS NULL OR patient_id >= :text AND patient_id < :text_end
        OR patient_name >= :text AND patient_name < :text_end
        OR accession_number >= :text AND accession_number < :text_end
        OR uid >= :text AND uid < :text_end
        OR EXISTS (SELECT 1 FROM study_source JOIN source ON source.id = study_source.source
            WHERE study_source.study = study.id AND calling_ae_title = :text COLLATE NOCASE))
    AND (:since_ms IS NULL OR last_ms >= :since_ms)
    AND (:until_ms IS NULL OR last_ms < :until_ms)
    AND (:date_from IS NULL OR study_date >= :date_from AND study_date <= :date_to)";

/// Those of `ids` that fit, newest first.
fn sorted(db: &Connection, ids: &[i64], search: &Search, after: Cursor, limit: usize) -> Result<Vec<Cursor>> {
    let sql = format!("SELECT last_ms, id FROM study WHERE id = :candidate AND {FITS}");
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for id in ids {
        found.extend(fitting(&mut statement, search, after, (":candidate", id))?);
        // Sorted now and then, so that a page takes no more memory than a few.
        if found.len() >= 4 * limit {
            newest(&mut found, limit);
        }
    }
    newest(&mut found, limit);
    Ok(found)
}

fn newest(found: &mut Vec<Cursor>, limit: usize) {
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.truncate(limit);
}

/// A walk from the newest study to the oldest, until enough fit.
fn walked(db: &Connection, search: &Search, after: Cursor, limit: usize) -> Result<Vec<Cursor>> {
    let sql = format!("SELECT last_ms, id FROM study WHERE {FITS} ORDER BY last_ms DESC, id DESC LIMIT :limit");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    fitting(&mut *db.prepare_cached(&sql)?, search, after, (":limit", &limit))
}

fn fitting(
    statement: &mut rusqlite::Statement<'_>,
    search: &Search,
    after: Cursor,
    (name, value): (&str, &i64),
) -> Result<Vec<Cursor>> {
    let end = |text: &Option<String>| text.as_deref().map(end_of);
    let date = |at: fn(&(String, String)) -> &String| search.study_date.as_ref().map(at);
    let bound = named_params! {
        ":last_ms": after.last_ms,
        ":id": after.id,
        ":patient": search.patient,
        ":patient_end": end(&search.patient),
        ":accession": search.accession,
        ":accession_end": end(&search.accession),
        ":source": search.source,
        ":text": search.text,
        ":text_end": end(&search.text),
        ":since_ms": search.since_ms,
        ":until_ms": search.until_ms,
        ":date_from": date(|dates| &dates.0),
        ":date_to": date(|dates| &dates.1),
    };
    let bound: Vec<(&str, &dyn rusqlite::ToSql)> = bound.iter().copied().chain([(name, value as _)]).collect();
    let found = statement.query_map(&*bound, |row| Ok(Cursor { last_ms: row.get(0)?, id: row.get(1)? }))?;
    found.collect()
}
