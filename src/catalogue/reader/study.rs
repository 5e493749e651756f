//! One study, with all that says whether it arrived whole.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::{Reader, counts, progress};
use crate::completeness::Wholeness;
use crate::completeness::hints::Hints;
use crate::delivery::Sums;
use crate::record::{SeriesValues, StudyValues};
use tidegate_database::Error;

/// Ranges of missing Instance Numbers that are listed.
const MAX_RANGES: usize = 64;

/// Series, and associations, that are listed: as many as a person looks at, since a sender chooses how many a study has.
const MAX_ROWS: i64 = 1000;

/// Directories that are listed: most layouts make one, or one for each series.
const MAX_DIRECTORIES: i64 = 100;

/// A study as a list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StudyRow {
    /// What describes it.
    pub values: StudyValues,
    /// The modalities of its series, each once.
    pub modalities: Vec<String>,
    /// The calling AE titles that it came from, each once.
    pub calling_ae_titles: Vec<String>,
    /// Series.
    pub series: u64,
    /// Files that are there; each version of an instance counts.
    pub instances: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that are not there any more, and that the node has not removed.
    pub gone: u64,
    /// Files that the node has removed, since they were delivered.
    pub released: u64,
    /// When its first instance was received.
    pub first_ms: i64,
    /// When its last instance was received.
    pub last_ms: i64,
    /// Its deliveries, to all destinations together; `None`: nothing of it was ever owed.
    pub deliveries: Option<Sums>,
    /// Whether all of it has come.
    pub wholeness: Wholeness,
    /// When it was complete last.
    pub completed_ms: Option<i64>,
}

/// A study with its series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Study {
    /// The study.
    pub summary: StudyRow,
    /// By what it is complete, and what of it seems missing; `None`: it is not complete.
    pub hints: Option<Hints>,
    /// The directories of its files that are there, below the root, by name: the first hundred.
    pub directories: Vec<PathBuf>,
    /// How many there are.
    pub directories_total: u64,
    /// Its series, by number: the first thousand.
    pub series: Vec<SeriesRow>,
    /// Who sent it, in the order of arrival: the first thousand.
    pub arrivals: Vec<ArrivalRow>,
    /// How many there are.
    pub arrivals_total: u64,
}

/// A series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesRow {
    /// What describes it.
    pub values: SeriesValues,
    /// Files that are there; each version of an instance counts.
    pub instances: u64,
    /// Of them, further versions of an instance that is there already.
    pub versions: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that are not there any more, and that the node has not removed.
    pub gone: u64,
    /// Files that the node has removed, since they were delivered.
    pub released: u64,
    /// When its first instance was received.
    pub first_ms: i64,
    /// When its last instance was received.
    pub last_ms: i64,
    /// Its Instance Numbers.
    pub numbers: Numbers,
}

/// The Instance Numbers (0020,0013) of a series' files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The lowest and the highest.
    pub range: Option<(i64, i64)>,
    /// How many between the known ones no instance has, nor had one whose file is gone or released.
    pub missing: u64,
    /// The first of them, as ranges with both ends.
    pub missing_ranges: Vec<(i64, i64)>,
    /// How many only files have had that are gone.
    pub gone: u64,
    /// The first of them, as ranges with both ends.
    pub gone_ranges: Vec<(i64, i64)>,
    /// How many are of more than one instance.
    pub repeated: u64,
    /// Files without one.
    pub without: u64,
}

/// What one association sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArrivalRow {
    /// The sender; `None` for files that do not say who sent them.
    pub origin: Option<OriginRow>,
    /// Files.
    pub instances: u64,
    /// When the first of them was received.
    pub first_ms: i64,
    /// When the last of them was received.
    pub last_ms: i64,
}

/// A sender. A file without a receipt says its title alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRow {
    /// The calling AE title.
    pub calling_ae_title: String,
    /// The peer's address.
    pub address: Option<String>,
    /// The access rule; empty if there was none.
    pub rule: String,
    /// The number of the association in the log.
    pub association: Option<u32>,
}

impl Reader {
    /// The study with that Study Instance UID.
    pub fn study(&mut self, uid: &str) -> std::result::Result<Option<Study>, Error> {
        self.file.ask(|db| {
            let Some(id) = study_id(db, uid)? else { return Ok(None) };
            let (directories, directories_total) = directories(db, id)?;
            let (arrivals, arrivals_total) = arrivals(db, id)?;
            let (summary, series) = (summary(db, id)?, series(db, id)?);
            let hints = Hints::of_complete(db, id)?;
            Ok(Some(Study { summary, hints, directories, directories_total, series, arrivals, arrivals_total }))
        })
    }
}

/// The id of a study.
fn study_id(db: &Connection, uid: &str) -> Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM study WHERE uid = ?1")?.query_row([uid], |row| row.get(0)).optional()
}

pub(super) fn summary(db: &Connection, id: i64) -> Result<StudyRow> {
    let sql = "SELECT count(*), ifnull(sum(instances), 0), ifnull(sum(bytes), 0), ifnull(sum(gone), 0), 0 FROM series
        WHERE study = ?1";
    let [series, instances, bytes, gone, _] = db.prepare_cached(sql)?.query_row([id], counts)?;
    let modalities =
        "SELECT DISTINCT modality FROM series WHERE study = ?1 AND modality IS NOT NULL ORDER BY modality LIMIT 32";
    let titles = "SELECT DISTINCT calling_ae_title FROM study_source JOIN source ON source.id = study_source.source
        WHERE study_source.study = ?1 ORDER BY calling_ae_title LIMIT 32";
    let texts = |sql| {
        let mut statement = db.prepare_cached(sql)?;
        let texts = statement.query_map([id], |row| row.get(0))?;
        texts.collect::<Result<Vec<String>>>()
    };
    let (modalities, calling_ae_titles) = (texts(modalities)?, texts(titles)?);
    let released =
        released(db, "series JOIN instance ON instance.series = series.id WHERE series.study = ?1", id, gone)?;
    let sql = "SELECT uid, patient_id, patient_name, patient_birth_date, accession_number, study_date, description, first_ms, last_ms, state, told_ms
        FROM study WHERE id = ?1";
    let deliveries = progress::of_study(db, id)?;
    db.prepare_cached(sql)?.query_row([id], |row| {
        Ok(StudyRow {
            values: StudyValues::read(row, 0)?,
            first_ms: row.get(7)?,
            last_ms: row.get(8)?,
            wholeness: Wholeness::of(row.get(9)?),
            completed_ms: row.get(10)?,
            modalities,
            calling_ae_titles,
            series,
            instances,
            bytes,
            gone: gone.saturating_sub(released),
            released,
            deliveries,
        })
    })
}

/// Of the files that are not there any more, those that the node has removed.
fn released(db: &Connection, of: &str, id: i64, gone: u64) -> Result<u64> {
    if gone == 0 {
        return Ok(0);
    }
    let sql = format!("SELECT count(*) FROM {of} AND instance.state = 2");
    db.prepare_cached(&sql)?.query_row([id], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

fn series(db: &Connection, study: i64) -> Result<Vec<SeriesRow>> {
    let sql = "SELECT id, instances, bytes, gone, 0, uid, modality, number, description, first_ms, last_ms FROM series
        WHERE study = ?1 ORDER BY number IS NULL, number, id LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([study, MAX_ROWS], |row: &Row<'_>| {
        let [_, instances, bytes, gone, _] = counts(row)?;
        let series = SeriesRow {
            values: SeriesValues {
                uid: row.get(5)?,
                modality: row.get(6)?,
                number: row.get(7)?,
                description: row.get(8)?,
            },
            first_ms: row.get(9)?,
            last_ms: row.get(10)?,
            instances,
            bytes,
            gone,
            ..SeriesRow::default()
        };
        Ok((row.get(0)?, series))
    })?;
    let complete = |row: Result<(i64, SeriesRow)>| {
        let (id, series) = row?;
        let sql = "SELECT count(DISTINCT uid) FROM instance WHERE series = ?1 AND state = 0";
        let distinct: i64 = db.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
        let versions = series.instances.saturating_sub(distinct.unsigned_abs());
        let released = released(db, "instance WHERE series = ?1", id, series.gone)?;
        let gone = series.gone.saturating_sub(released);
        Ok(SeriesRow { versions, gone, released, numbers: numbers(db, id)?, ..series })
    };
    rows.map(complete).collect()
}

fn numbers(db: &Connection, series: i64) -> Result<Numbers> {
    let sql = "SELECT number, count(DISTINCT iif(state = 0, uid, NULL)), sum(state = 0), max(state = 2) FROM instance WHERE series = ?1
        GROUP BY number ORDER BY number";
    let (mut numbers, mut last) = (Numbers::default(), None);
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([series])?;
    while let Some(row) = rows.next()? {
        let (number, instances): (Option<i64>, i64) = (row.get(0)?, row.get(1)?);
        match number {
            Some(number) => numbers.next(number, instances.max(row.get(3)?), last.replace(number)),
            None => numbers.without = row.get::<_, i64>(2)?.unsigned_abs(),
        }
    }
    Ok(numbers)
}

impl Numbers {
    /// Takes the next higher number that is known, which so many instances have whose files are there, or one at least that was released.
    fn next(&mut self, number: i64, instances: i64, last: Option<i64>) {
        let last = last.unwrap_or(number);
        let missing = number.abs_diff(last).saturating_sub(1);
        if missing > 0 {
            self.missing = self.missing.saturating_add(missing);
            if self.missing_ranges.len() < MAX_RANGES {
                self.missing_ranges.push((last + 1, number - 1));
            }
        }
        if instances == 0 {
            self.next_gone(number);
            return;
        }
        self.repeated += u64::from(instances > 1);
        self.range = Some((self.range.map_or(number, |(lowest, _)| lowest), number));
    }

    fn next_gone(&mut self, number: i64) {
        self.gone += 1;
        let has_room = self.gone_ranges.len() < MAX_RANGES;
        match self.gone_ranges.last_mut().filter(|(_, end)| number.abs_diff(*end) == 1) {
            Some((_, end)) => *end = number,
            None if has_room => self.gone_ranges.push((number, number)),
            None => {}
        }
    }
}

fn directories(db: &Connection, study: i64) -> Result<(Vec<PathBuf>, u64)> {
    let sql = "SELECT path, count(*) OVER () FROM directory WHERE id IN (
            SELECT directory FROM series JOIN instance ON instance.series = series.id
            WHERE series.study = ?1 AND instance.state = 0)
        ORDER BY path LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut total = 0;
    let rows = statement.query_map([study, MAX_DIRECTORIES], |row| {
        total = row.get::<_, i64>(1)?.unsigned_abs();
        Ok(PathBuf::from(OsStr::from_bytes(row.get_ref(0)?.as_bytes()?)))
    })?;
    let directories = rows.collect::<Result<_>>()?;
    Ok((directories, total))
}

fn arrivals(db: &Connection, study: i64) -> Result<(Vec<ArrivalRow>, u64)> {
    let sql = "SELECT total, first_ms, last_ms, calling_ae_title, address, rule, association, count(*) OVER () FROM (
            SELECT arrival, count(*) AS total, min(instance.received_ms) AS first_ms, max(instance.received_ms) AS last_ms
            FROM series JOIN instance ON instance.series = series.id WHERE series.study = ?1 GROUP BY arrival) AS sent
        LEFT JOIN arrival ON arrival.id = sent.arrival LEFT JOIN source ON source.id = arrival.source
        ORDER BY first_ms LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut arrivals_total = 0;
    let rows = statement.query_map([study, MAX_ROWS], |row| {
        arrivals_total = row.get::<_, i64>(7)?.unsigned_abs();
        Ok(ArrivalRow {
            instances: row.get::<_, i64>(0)?.unsigned_abs(),
            first_ms: row.get(1)?,
            last_ms: row.get(2)?,
            origin: origin(row, 3)?,
        })
    })?;
    let arrivals = rows.collect::<Result<_>>()?;
    Ok((arrivals, arrivals_total))
}

/// The sender in four columns from `at` on.
pub(super) fn origin(row: &Row<'_>, at: usize) -> Result<Option<OriginRow>> {
    let Some(calling_ae_title) = row.get(at)? else { return Ok(None) };
    let (address, rule, association) = (row.get::<_, String>(at + 1)?, row.get(at + 2)?, row.get(at + 3)?);
    // Each peer has an address.
    let has_receipt = !address.is_empty();
    let (address, association) = (has_receipt.then_some(address), has_receipt.then_some(association));
    Ok(Some(OriginRow { calling_ae_title, address, rule, association }))
}
