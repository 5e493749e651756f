//! The conditions of a search. Each is known in two ways, which find the same: by what its indices yield, and by a look at a row.

use rusqlite::{Connection, Result, Row};

use super::ids::StudyIds;
use crate::completeness::Wholeness;
use crate::names;

/// A query of an index that yields the studies which fit a condition. It reads nothing else than the index.
pub(super) const ACCESSION: &str =
    "SELECT id FROM study WHERE accession_number IS NOT NULL AND accession_number >= ?1 AND accession_number < ?2";
pub(super) const PATIENT_ID: &str =
    "SELECT id FROM study WHERE patient_id IS NOT NULL AND patient_id >= ?1 AND patient_id < ?2";
pub(super) const NAME: &str = "SELECT study FROM study_name WHERE part >= ?1 AND part < ?2";
pub(super) const UID: &str = "SELECT id FROM study WHERE uid >= ?1 AND uid < ?2";
pub(super) const DATE: &str =
    "SELECT id FROM study WHERE study_date IS NOT NULL AND study_date >= ?1 AND study_date <= ?2";
pub(super) const SOURCE: &str = "SELECT study FROM study_source WHERE ?2 = '' AND source IN
    (SELECT id FROM source WHERE calling_ae_title = ?1 COLLATE NOCASE)";

pub(super) const UNDELIVERED: &str =
    "SELECT study FROM study_destination WHERE waiting + retrying + sent + dead > 0 AND ?1 = ?2";

/// Open ones are due some time, or held; the index of neither has the others.
pub(super) const OPEN: &str = "SELECT id FROM study WHERE due_ms IS NOT NULL AND ?1 = ?2";
pub(super) const HELD: &str = "SELECT id FROM study WHERE is_held = 1 AND ?1 = ?2";
pub(super) const COMPLETE: &str = "SELECT id FROM study WHERE state = 2 AND ?1 = ?2";

/// The columns that [`Condition::fits`] looks at.
pub(super) const COLUMNS: &str = "id, uid, patient_id, patient_name, accession_number, study_date, state";

/// A condition that is given.
pub(super) enum Condition<'a> {
    /// As it is given, and as the beginning of a name.
    Text(&'a str, String),
    Patient(&'a str, String),
    Accession(&'a str),
    Source(&'a str),
    Date(&'a str, &'a str),
    Undelivered,
    Open,
    Complete,
}

/// The texts that begin with `prefix` are not less than it, and less than this.
fn end_of(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

impl<'a> Condition<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(text, names::beginning(text))
    }

    pub(super) fn patient(text: &'a str) -> Self {
        Self::Patient(text, names::beginning(text))
    }

    /// The studies that fit.
    pub(super) fn ids(&self, db: &Connection) -> Result<StudyIds> {
        let mut ids = StudyIds::default();
        let mut add = |sql, from: &str, to: &str| -> Result<()> {
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query([from, to])?;
            while let Some(row) = rows.next()? {
                ids.insert(row.get(0)?);
            }
            Ok(())
        };
        // Of `=` alone, no beginning of a name is left.
        let mut add_beginning = |sql, text: &str| if text.is_empty() { Ok(()) } else { add(sql, text, &end_of(text)) };
        match self {
            Self::Accession(text) => add_beginning(ACCESSION, text)?,
            Self::Patient(text, name) => {
                add_beginning(PATIENT_ID, text)?;
                add_beginning(NAME, name)?;
            }
            Self::Text(text, name) => {
                [ACCESSION, PATIENT_ID, UID].into_iter().try_for_each(|sql| add_beginning(sql, text))?;
                add_beginning(NAME, name)?;
                add(SOURCE, text, "")?;
            }
            Self::Date(from, to) => add(DATE, from, to)?,
            Self::Source(title) => add(SOURCE, title, "")?,
            Self::Undelivered => add(UNDELIVERED, "", "")?,
            Self::Open => {
                add(OPEN, "", "")?;
                add(HELD, "", "")?;
            }
            Self::Complete => add(COMPLETE, "", "")?,
        }
        Ok(ids)
    }

    /// Whether the study of a row of [`COLUMNS`] fits.
    pub(super) fn fits(&self, db: &Connection, row: &Row<'_>) -> Result<bool> {
        let text = |at| row.get_ref(at).map(|value| value.as_str().unwrap_or_default());
        let begins = |at, prefix: &str| -> Result<bool> {
            let beginning = text(at)?.as_bytes().get(..prefix.len());
            Ok(!prefix.is_empty() && beginning.is_some_and(|text| text.eq_ignore_ascii_case(prefix.as_bytes())))
        };
        let is_of =
            |patient: &str, name: &str| -> Result<bool> { Ok(begins(2, patient)? || names::begins(text(3)?, name)) };
        Ok(match self {
            Self::Accession(accession) => begins(4, accession)?,
            Self::Patient(patient, name) => is_of(patient, name)?,
            Self::Text(any, name) => {
                is_of(any, name)? || begins(4, any)? || text(1)?.starts_with(any) || is_from(db, row.get(0)?, any)?
            }
            Self::Date(from, to) => !text(5)?.is_empty() && *from <= text(5)? && text(5)? <= *to,
            Self::Source(title) => is_from(db, row.get(0)?, title)?,
            Self::Undelivered => is_undelivered(db, row.get(0)?)?,
            Self::Open => matches!(Wholeness::of(row.get(6)?), Wholeness::Open | Wholeness::Reopened),
            Self::Complete => Wholeness::of(row.get(6)?) == Wholeness::Complete,
        })
    }
}

/// Whether a sender with that AE title sent an instance of the study.
fn is_from(db: &Connection, study: i64, title: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM study_source JOIN source ON source.id = study_source.source
        WHERE study_source.study = ?1 AND calling_ae_title = ?2 COLLATE NOCASE)";
    db.prepare_cached(sql)?.query_row((study, title), |row| row.get(0))
}

/// Whether something of the study is owed to a destination.
fn is_undelivered(db: &Connection, study: i64) -> Result<bool> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM study_destination WHERE study = ?1 AND waiting + retrying + sent + dead > 0)";
    db.prepare_cached(sql)?.query_row([study], |row| row.get(0))
}
