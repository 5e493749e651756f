//! Which files may go: those of studies of which every file was delivered and none owes anything, the study first that has received nothing for
//! longest.
//!
//! A file is removed between two transactions. The first says that it is about to be removed, if it still owes nothing; the second that it is
//! released. A process that ends in between leaves the first, so whoever then finds the file missing knows why.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use tidegate_database::{Error, PackedUid};

use crate::batch::{Known, find};
use crate::catalogue::Catalogue;
use crate::catch_up::{Depth, Seen, must_read};
use crate::open::DESIGN;
use crate::place::path_of;
use crate::record::State;

/// Studies that one call looks at.
const STUDIES: usize = 64;

/// A file that may go.
#[derive(Clone, Debug)]
pub struct Releasable {
    /// Below the root.
    pub path: PathBuf,
    /// (0008,0018)
    pub sop_instance_uid: PackedUid,
    /// (0008,0016)
    pub sop_class_uid: Arc<str>,
    /// (0020,000D); empty if there is none.
    pub study_uid: Arc<str>,
    /// (0010,0020), if the catalogue keeps patients.
    pub patient_id: Option<Arc<str>>,
    /// Of the file.
    pub bytes: u64,
    known: Known,
}

impl Releasable {
    /// Whether a file is the one that is known, as far as a look at its inode shows: by its length, and by its digest or the time of its change.
    pub fn is(&self, seen: &Seen) -> bool {
        !must_read(seen, Some(&self.known), Depth::All)
    }
}

/// A walk over all studies, the study first that has received nothing for longest.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Behind this study: when it received its last instance, and its number.
    after: (i64, i64),
    /// Within the next study, if that is the one.
    within: Option<Within>,
    /// Up to there, no study has a file any more.
    empty: (i64, i64),
    is_done: bool,
}

impl Sweep {
    /// Whether it has seen all studies.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Begins again.
    pub fn restart(&mut self) {
        *self = Self { after: self.empty, empty: self.empty, ..Self::default() };
    }
}

/// How far the walk is within a study: behind this file of this series.
#[derive(Clone, Debug)]
struct Within {
    study: i64,
    series: (String, i64),
    instance: i64,
}

/// A study of the walk.
struct Study {
    id: i64,
    last_ms: i64,
    uid: Arc<str>,
    patient_id: Option<Arc<str>>,
}

/// A query of [`Releasable`], from `$from`, which has `instance`.
macro_rules! files {
    ($from:literal, $rest:literal) => {
        concat!(
            "SELECT instance.id, series, kind, instance.number, instance.bytes, digest, received_ms, modified_ns, arrival, instance.state,
                instance.uid, directory.path, name, sop_class_uid FROM ",
            $from,
            " CROSS JOIN directory ON directory.id = instance.directory CROSS JOIN kind ON kind.id = instance.kind ",
            $rest
        )
    };
}

impl Catalogue {
    /// The next files that may go, at most `limit`, of one study that has received nothing since `before_ms`. None, and the walk is not done: it goes
    /// on with the next call.
    ///
    /// # Errors
    /// Those of a question.
    pub fn releasable(
        &self,
        sweep: &mut Sweep,
        before_ms: i64,
        limit: usize,
    ) -> std::result::Result<Vec<Releasable>, Error> {
        let damaged = || DESIGN.corrupt(self.path(), "an instance has no valid uid");
        let found = next_files(self.connection(), sweep, before_ms, limit).map_err(DESIGN.sqlite(self.path()))?;
        found.into_iter().map(|file| file.ok_or_else(damaged)).collect()
    }

    /// Files that a process was about to remove when it ended, at most `limit`.
    ///
    /// # Errors
    /// Those of a question.
    pub fn releasing(&self, limit: usize) -> std::result::Result<Vec<Releasable>, Error> {
        let damaged = || DESIGN.corrupt(self.path(), "an instance has no valid uid");
        let found = left_behind(self.connection(), limit).map_err(DESIGN.sqlite(self.path()))?;
        found.into_iter().map(|file| file.ok_or_else(damaged)).collect()
    }

    /// Notes that these files are about to be removed. Of each, whether it may be: it is there as it was, was delivered, and owes nothing.
    ///
    /// # Errors
    /// Any of a transaction; then none may be removed.
    pub fn begin_release(&mut self, files: &[Releasable], at_ms: i64) -> std::result::Result<Vec<bool>, Error> {
        let (may_go, _) = self.transact(|batch| {
            files
                .iter()
                .map(|file| {
                    let known = find(batch.db(), &file.path)?.filter(|known| {
                        let is_as_it_was = (known.bytes, known.digest) == (file.known.bytes, file.known.digest);
                        known.id == file.known.id && known.state == State::Present && is_as_it_was
                    });
                    let Some(known) = known else { return batch.stop_releasing(file.known.id).map(|_| false) };
                    let slot = batch.item(&known)?.slot;
                    if !batch.duties.are_done(slot)? {
                        return batch.stop_releasing(known.id).map(|_| false);
                    }
                    let sql = "INSERT OR REPLACE INTO releasing (instance, at_ms) VALUES (?1, ?2)";
                    batch.db().prepare_cached(sql)?.execute((known.id, at_ms))?;
                    Ok(true)
                })
                .collect()
        })?;
        Ok(may_go)
    }

    /// Notes which of the files that were about to be removed are removed, and that the others are not.
    ///
    /// # Errors
    /// Any of a transaction. It may be repeated, and so it is at the next start.
    pub fn end_release(
        &mut self,
        released: &[&Releasable],
        kept: &[&Releasable],
        at_ms: i64,
    ) -> std::result::Result<(), Error> {
        self.transact(|batch| {
            for file in released {
                batch.end_path(&file.path, State::Released, at_ms)?;
            }
            kept.iter().try_for_each(|file| batch.stop_releasing(file.known.id).map(drop))
        })?;
        Ok(())
    }
}

/// The next page of files. `None`: a row is damaged.
fn next_files(db: &Connection, sweep: &mut Sweep, before_ms: i64, limit: usize) -> Result<Vec<Option<Releasable>>> {
    for _ in 0..STUDIES {
        let Some(study) = next_study(db, sweep.after, before_ms)? else {
            sweep.is_done = true;
            return Ok(Vec::new());
        };
        let at = (study.last_ms, study.id);
        let within = sweep.within.take().filter(|within| within.study == study.id);
        let is_begun = within.is_some();
        let is_empty = !is_begun && is_empty(db, study.id)?;
        if is_empty && sweep.after == sweep.empty {
            sweep.empty = at;
        }
        // Every page looks for what its study owes. That all of its files were delivered is looked for once: it costs a look at each.
        let may_go = !is_empty && owes_nothing(db, study.id)? && (is_begun || is_delivered(db, study.id)?);
        let files = if may_go { files_of(db, &study, within, limit)? } else { Files::default() };
        (sweep.after, sweep.within) = if files.next.is_some() { (sweep.after, files.next) } else { (at, None) };
        if !files.files.is_empty() {
            return Ok(files.files);
        }
    }
    Ok(Vec::new())
}

fn next_study(db: &Connection, after: (i64, i64), before_ms: i64) -> Result<Option<Study>> {
    let sql = "SELECT id, last_ms, uid, patient_id FROM study WHERE (last_ms, id) > (?1, ?2) AND last_ms <= ?3 ORDER BY last_ms, id LIMIT 1";
    let study =
        |row: &Row<'_>| Ok(Study { id: row.get(0)?, last_ms: row.get(1)?, uid: row.get(2)?, patient_id: row.get(3)? });
    db.prepare_cached(sql)?.query_row((after.0, after.1, before_ms), study).optional()
}

fn is_empty(db: &Connection, study: i64) -> Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM series WHERE study = ?1 AND instances > 0)";
    db.prepare_cached(sql)?.query_row([study], |row| row.get(0))
}

fn owes_nothing(db: &Connection, study: i64) -> Result<bool> {
    let sql =
        "SELECT NOT EXISTS (SELECT 1 FROM study_destination WHERE study = ?1 AND waiting + retrying + sent + dead > 0)";
    db.prepare_cached(sql)?.query_row([study], |row| row.get(0))
}

/// Whether every file of the study was delivered.
fn is_delivered(db: &Connection, study: i64) -> Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM series CROSS JOIN instance ON instance.series = series.id
        WHERE series.study = ?1 AND instance.state = 0 AND NOT EXISTS (
            SELECT 1 FROM delivered WHERE delivered.instance = instance.id AND delivered.status IS NOT NULL))";
    db.prepare_cached(sql)?.query_row([study], |row| row.get(0))
}

/// A page of the files of a study. `None`: a row is damaged.
#[derive(Default)]
struct Files {
    files: Vec<Option<Releasable>>,
    /// Behind the last one; `None`: the study has no more.
    next: Option<Within>,
}

/// The files behind `within`, by the UIDs of their series, so that each page is a part of an index: what is left of a series, then the next ones.
fn files_of(db: &Connection, study: &Study, within: Option<Within>, limit: usize) -> Result<Files> {
    let of_series = files!(
        "instance",
        "WHERE instance.series = ?1 AND instance.id > ?2 AND state = 0 ORDER BY instance.id LIMIT ?3"
    );
    let of_next = files!(
        "series CROSS JOIN instance ON instance.series = series.id",
        "WHERE series.study = ?1 AND series.uid >= ?2 AND series.id <> ?3 AND instance.state = 0 ORDER BY series.uid, instance.id LIMIT ?4"
    );
    let read = |row: &Row<'_>| read(row, study.uid.clone(), study.patient_id.clone());
    let mut files = Vec::new();
    if let Some(Within { series: (_, series), instance, .. }) = &within {
        let mut statement = db.prepare_cached(of_series)?;
        for file in statement.query_map(params![series, instance, limit as i64], read)? {
            files.push(file?);
        }
    }
    let (uid, series) = within.map_or_else(Default::default, |within| within.series);
    if files.len() < limit {
        let mut statement = db.prepare_cached(of_next)?;
        for file in statement.query_map(params![study.id, uid, series, (limit - files.len()) as i64], read)? {
            files.push(file?);
        }
    }
    let next = match files.last() {
        Some(Some(Releasable { known, .. })) if files.len() == limit => {
            let sql = "SELECT uid FROM series WHERE id = ?1";
            let uid = db.prepare_cached(sql)?.query_row([known.series], |row| row.get(0))?;
            Some(Within { study: study.id, series: (uid, known.series), instance: known.id })
        }
        _ => None,
    };
    Ok(Files { files, next })
}

fn left_behind(db: &Connection, limit: usize) -> Result<Vec<Option<Releasable>>> {
    let sql = files!("releasing CROSS JOIN instance ON instance.id = releasing.instance", "LIMIT ?1");
    let of_series = "SELECT uid, patient_id FROM study WHERE id = (SELECT study FROM series WHERE id = ?1)";
    let mut statement = db.prepare_cached(sql)?;
    let files = statement.query_map([limit as i64], |row| {
        let series: i64 = row.get(1)?;
        let (study, patient) =
            db.prepare_cached(of_series)?.query_row([series], |row| Ok((row.get(0)?, row.get(1)?)))?;
        read(row, study, patient)
    })?;
    files.collect()
}

fn read(row: &Row<'_>, study_uid: Arc<str>, patient_id: Option<Arc<str>>) -> Result<Option<Releasable>> {
    let known = Known::read(row)?;
    let Ok(sop_instance_uid) = PackedUid::from_bytes(row.get_ref(10)?.as_bytes()?) else { return Ok(None) };
    let path = path_of(row.get_ref(11)?.as_bytes()?, row.get_ref(12)?.as_bytes()?, &sop_instance_uid);
    let (sop_class_uid, bytes) = (row.get(13)?, known.bytes);
    Ok(Some(Releasable { path, sop_instance_uid, sop_class_uid, study_uid, patient_id, bytes, known }))
}
