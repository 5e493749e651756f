//! What is due: studies and series that have been quiet for long enough.

use rusqlite::{Connection, Result, params};

use super::set::ContentSet;
use super::table::{SERIES, STUDIES, Table};
use super::{Following, Quiet, Wholeness};
use crate::events::{EventKind, outbox, outbox::Outbox};

/// What a call of [`Catalogue::complete`](crate::Catalogue::complete) has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Studies that are complete now.
    pub studies: u64,
    /// Series that are.
    pub series: u64,
    /// Studies and series that were due while somebody was sending of them. They wait for [`Catalogue::release`](crate::Catalogue::release).
    pub held: u64,
    /// How late the latest of them was, in milliseconds.
    pub late_ms: i64,
    /// Whether more is due.
    pub has_more: bool,
}

struct Due {
    id: i64,
    uid: String,
    study_uid: String,
    study: i64,
    due_ms: i64,
}

/// Completes at most `most` series and studies that are due.
pub(crate) fn complete(
    db: &Connection,
    outbox: &mut Outbox<'_>,
    following: &Following,
    (now_ms, most): (i64, u32),
    is_busy: &dyn Fn(&str) -> bool,
) -> Result<Completed> {
    // After a step of the clock, or with shorter times in the settings, nothing is due later than it would be by an arrival of now.
    let Quiet { study_ms, series_ms } = following.longest();
    db.prepare_cached("UPDATE study SET due_ms = ?1 WHERE due_ms > ?1")?.execute([now_ms.saturating_add(study_ms)])?;
    db.prepare_cached("UPDATE series SET due_ms = ?1 WHERE due_ms > ?1")?
        .execute([now_ms.saturating_add(series_ms)])?;
    let mut done = Completed::default();
    let of_series = "SELECT series.id, series.uid, study.uid, study.id, series.due_ms FROM series JOIN study ON study.id = series.study
        WHERE series.due_ms <= ?1 ORDER BY series.due_ms LIMIT ?2";
    let series = due(db, of_series, now_ms, most)?;
    let of_studies = "SELECT id, uid, uid, id, due_ms FROM study WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2";
    let left = most.saturating_sub(u32::try_from(series.len()).unwrap_or(most));
    let studies = due(db, of_studies, now_ms, left)?;
    done.has_more = series.len() + studies.len() >= most as usize;
    let mut pass = |table: &Table, due: &Due, tell: Tell| -> Result<u64> {
        if is_busy(&due.study_uid) {
            db.prepare_cached(table.hold)?.execute([due.id])?;
            done.held += 1;
            return Ok(0);
        }
        let set = (table.set_of)(db, due.id)?;
        let row =
            params![due.id, Wholeness::Complete.number(), now_ms, set.instances, set.bytes, set.digest.to_be_bytes()];
        db.prepare_cached(table.complete)?.execute(row)?;
        tell(db, outbox, due, &set, now_ms)?;
        done.late_ms = done.late_ms.max(now_ms - due.due_ms);
        Ok(1)
    };
    let (mut series_done, mut studies_done) = (0, 0);
    for due in &series {
        series_done += pass(&SERIES, due, tell_series)?;
    }
    for due in &studies {
        studies_done += pass(&STUDIES, due, tell_study)?;
    }
    Ok(Completed { series: series_done, studies: studies_done, ..done })
}

fn due(db: &Connection, sql: &str, now_ms: i64, limit: u32) -> Result<Vec<Due>> {
    let mut statement = db.prepare_cached(sql)?;
    let due = statement.query_map((now_ms, limit), |row| {
        Ok(Due { id: row.get(0)?, uid: row.get(1)?, study_uid: row.get(2)?, study: row.get(3)?, due_ms: row.get(4)? })
    })?;
    due.collect()
}

/// Tells whoever wants to know of a study or series that is complete now.
type Tell = fn(&Connection, &mut Outbox<'_>, &Due, &ContentSet, i64) -> Result<()>;

fn tell_series(db: &Connection, outbox: &mut Outbox<'_>, due: &Due, set: &ContentSet, now_ms: i64) -> Result<()> {
    let sql = "json_object('study', ?1, 'series', ?2, 'modality', (SELECT modality FROM series WHERE id = ?3), 'instances', ?4,
        'bytes', ?5, 'digest', ?6, 'completions', (SELECT told FROM series WHERE id = ?3))";
    let digest = format!("{:032x}", set.digest);
    let data = outbox::json(db, sql, params![due.study_uid, due.uid, due.id, set.instances, set.bytes, digest])?;
    outbox.emit(EventKind::SeriesComplete, due.study, &due.study_uid, now_ms, &data)
}

fn tell_study(db: &Connection, outbox: &mut Outbox<'_>, due: &Due, set: &ContentSet, now_ms: i64) -> Result<()> {
    let sql = "json_object('study', ?1, 'series', (SELECT count(*) FROM series WHERE study = ?2), 'instances', ?3, 'bytes', ?4,
        'digest', ?5, 'completions', (SELECT told FROM study WHERE id = ?2),
        'modalities', json((SELECT json_group_array(modality) FROM
            (SELECT DISTINCT modality FROM series WHERE study = ?2 AND modality IS NOT NULL ORDER BY modality))),
        'sources', json((SELECT json_group_array(calling_ae_title) FROM (SELECT DISTINCT calling_ae_title FROM study_source
            JOIN source ON source.id = study_source.source WHERE study_source.study = ?2 ORDER BY calling_ae_title))))";
    let digest = format!("{:032x}", set.digest);
    let data = outbox::json(db, sql, params![due.uid, due.id, set.instances, set.bytes, digest])?;
    outbox.emit(EventKind::StudyComplete, due.study, &due.uid, now_ms, &data)?;
    let sql = "SELECT destination FROM study_destination WHERE study = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let destinations = statement.query_map([due.id], |row| row.get(0))?.collect::<Result<Vec<i64>>>()?;
    destinations
        .into_iter()
        .try_for_each(|destination| crate::events::deliveries::tell(db, outbox, destination, due.id, now_ms))
}

/// Whether anything of a study is held.
pub(crate) fn is_held(db: &Connection, study_uid: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM study WHERE uid = ?1 AND (is_held = 1
        OR EXISTS (SELECT 1 FROM series WHERE series.study = study.id AND series.is_held = 1)))";
    db.prepare_cached(sql)?.query_row([study_uid], |row| row.get(0))
}

/// Lets what is held of a study be due again: nobody is sending of it any more.
pub(crate) fn release(db: &Connection, study_uid: &str, now_ms: i64) -> Result<()> {
    let of_series = "UPDATE series SET due_ms = ?2, is_held = 0 WHERE is_held = 1 AND study = (SELECT id FROM study WHERE uid = ?1)";
    db.prepare_cached("UPDATE study SET due_ms = ?2, is_held = 0 WHERE uid = ?1 AND is_held = 1")?
        .execute((study_uid, now_ms))?;
    db.prepare_cached(of_series)?.execute((study_uid, now_ms)).map(drop)
}

/// The same for all that is held.
pub(crate) fn release_all(db: &Connection, now_ms: i64) -> Result<()> {
    db.execute("UPDATE study SET due_ms = ?1, is_held = 0 WHERE is_held = 1", [now_ms])?;
    db.execute("UPDATE series SET due_ms = ?1, is_held = 0 WHERE is_held = 1", [now_ms])?;
    Ok(())
}

/// When something is due; `None`: nothing will be.
pub(crate) fn next(db: &Connection) -> Result<Option<i64>> {
    let sql = "SELECT min(ifnull((SELECT min(due_ms) FROM study WHERE due_ms IS NOT NULL), 9223372036854775807),
        ifnull((SELECT min(due_ms) FROM series WHERE due_ms IS NOT NULL), 9223372036854775807))";
    let next: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok((next != i64::MAX).then_some(next))
}
