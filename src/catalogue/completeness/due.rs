//! What is due: studies and series that have been quiet for long enough.

use rusqlite::{Connection, Result, params};

use super::asking::{self, ANSWER_MS, Question};
use super::hints::Hints;
use super::set::ContentSet;
use super::table::{SERIES, STUDIES, Table};
use super::{Following, Quiet, Wholeness};
use crate::events::{EventKind, deliveries, outbox, outbox::Outbox};

/// What a call of [`Catalogue::complete`](crate::Catalogue::complete) has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    /// Studies that are complete now.
    pub studies: u64,
    /// Series that are.
    pub series: u64,
    /// Studies and series that were due while somebody was sending of them. They wait for [`Catalogue::release`](crate::Catalogue::release).
    pub held: u64,
    /// Studies and series that were due while something of them seems missing. They wait longer.
    pub waiting: u64,
    /// Of those that are complete, the ones of which something seems missing.
    pub lacking: u64,
    /// Studies whose sources are to be asked. They wait for [`Catalogue::answer`](crate::Catalogue::answer), for a bounded time.
    pub questions: Vec<Question>,
    /// How late the latest of them was, in milliseconds.
    pub late_ms: i64,
    /// Whether more is due.
    pub has_more: bool,
}

/// What the catalogue asks of those who complete.
pub struct Circumstances<'a> {
    /// Whether somebody is sending of the study with this UID.
    pub is_busy: &'a dyn Fn(&str) -> bool,
    /// Whether a question may be put to the source with this AE title.
    pub may_ask: &'a dyn Fn(&str) -> bool,
}

struct Due {
    id: i64,
    uid: String,
    study_uid: String,
    study: i64,
    due_ms: i64,
    wait_until_ms: Option<i64>,
}

/// Completes at most `most` series and studies that are due, and the open series of the studies.
pub(crate) fn complete(
    db: &Connection,
    outbox: &mut Outbox<'_>,
    following: &Following,
    (now_ms, most): (i64, u32),
    circumstances: &Circumstances<'_>,
) -> Result<Completed> {
    limit(db, following, now_ms)?;
    let of_series = "SELECT series.id, series.uid, study.uid, study.id, series.due_ms, series.wait_until_ms
        FROM series JOIN study ON study.id = series.study WHERE series.due_ms <= ?1 ORDER BY series.due_ms LIMIT ?2";
    let series = due(db, of_series, (now_ms, most))?;
    let of_studies =
        "SELECT id, uid, uid, id, due_ms, wait_until_ms FROM study WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2";
    let left = most.saturating_sub(u32::try_from(series.len()).unwrap_or(most));
    let studies = due(db, of_studies, (now_ms, left))?;
    let done = Completed { has_more: series.len() + studies.len() >= most as usize, ..Completed::default() };
    let mut pass = Pass { db, outbox, following, now_ms, circumstances, done };
    series.iter().try_for_each(|due| pass.series(due))?;
    studies.iter().try_for_each(|due| pass.study(due))?;
    Ok(pass.done)
}

/// After a step of the clock, or with shorter times in the settings, nothing is due later than it would be by an arrival of now.
fn limit(db: &Connection, following: &Following, now_ms: i64) -> Result<()> {
    let (Quiet { study_ms, series_ms }, missing_ms) = (following.longest(), following.missing_ms);
    let of_studies = "UPDATE study SET due_ms = ?1 + iif(asked_ms IS NOT NULL, ?4, iif(wait_until_ms IS NOT NULL, ?3, ?2)),
        wait_until_ms = min(wait_until_ms, ?1 + ?3) WHERE due_ms > ?1 + ?2 AND due_ms > ?1 + iif(asked_ms IS NOT NULL, ?4, iif(wait_until_ms IS NOT NULL, ?3, ?2))";
    let of_series = "UPDATE series SET due_ms = ?1 + iif(wait_until_ms IS NOT NULL, ?3, ?2),
        wait_until_ms = min(wait_until_ms, ?1 + ?3) WHERE due_ms > ?1 + ?2 AND due_ms > ?1 + iif(wait_until_ms IS NOT NULL, ?3, ?2)";
    db.prepare_cached(of_studies)?.execute((now_ms, study_ms, missing_ms, ANSWER_MS))?;
    db.prepare_cached(of_series)?.execute((now_ms, series_ms, missing_ms)).map(drop)
}

/// One call of [`complete`].
struct Pass<'a, 'b> {
    db: &'a Connection,
    outbox: &'a mut Outbox<'b>,
    following: &'a Following,
    now_ms: i64,
    circumstances: &'a Circumstances<'a>,
    done: Completed,
}

impl Pass<'_, '_> {
    fn series(&mut self, due: &Due) -> Result<()> {
        if self.holds(&SERIES, due)? {
            return Ok(());
        }
        let hints = Hints::of_series(self.db, due.id)?;
        if self.waits(&SERIES, due, hints, self.following.missing_ms)? {
            return Ok(());
        }
        self.end_series(due, hints)
    }

    fn study(&mut self, due: &Due) -> Result<()> {
        if self.holds(&STUDIES, due)? {
            return Ok(());
        }
        let sql = "SELECT asked_ms, source_has FROM study WHERE id = ?1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (asked_ms, answer): (Option<i64>, Option<i64>) = self.db.prepare_cached(sql)?.query_row([due.id], row)?;
        if asked_ms.is_none() && answer.is_none() && self.asks(due)? {
            return Ok(());
        }
        let answer = answer.filter(|number| *number >= 0);
        let hints = Hints::of_study(self.db, due.id, answer)?;
        // A source that has more is asked again when it may have sent it.
        let look_after_ms = if answer.is_some() { self.following.quiet.study_ms } else { self.following.missing_ms };
        if self.waits(&STUDIES, due, hints, look_after_ms)? {
            return Ok(());
        }
        // A study that is complete has no open series.
        let open = "SELECT id, uid, ?3, study, ifnull(due_ms, ?2), wait_until_ms FROM series
            WHERE study = ?1 AND (due_ms IS NOT NULL OR is_held = 1)";
        for series in self::due(self.db, open, (due.id, self.now_ms, &due.uid))? {
            let hints = Hints::of_series(self.db, series.id)?;
            self.end_series(&series, hints)?;
        }
        let set = self.end(&STUDIES, due, hints)?;
        self.done.studies += 1;
        self.tell_study(due, &set, hints)
    }

    fn end_series(&mut self, due: &Due, hints: Hints) -> Result<()> {
        let set = self.end(&SERIES, due, hints)?;
        self.done.series += 1;
        self.tell_series(due, &set, hints)
    }

    /// Whether somebody is sending of its study, and it is held for that.
    fn holds(&mut self, table: &Table, due: &Due) -> Result<bool> {
        let is_busy = (self.circumstances.is_busy)(&due.study_uid);
        if is_busy {
            self.db.prepare_cached(table.hold)?.execute([due.id])?;
            self.done.held += 1;
        }
        Ok(is_busy)
    }

    /// Whether its source is to be asked first.
    fn asks(&mut self, due: &Due) -> Result<bool> {
        let Some(ae_title) = asking::source(self.db, due.id, self.circumstances.may_ask)? else { return Ok(false) };
        let (study_uid, asked_ms) = (due.uid.clone(), self.now_ms);
        let until_ms = asking::ask(self.db, due.id, asked_ms)?;
        self.done.questions.push(Question { study_uid, ae_title, asked_ms, until_ms });
        Ok(true)
    }

    /// Whether something seems missing, and it waits for that.
    fn waits(&mut self, table: &Table, due: &Due, hints: Hints, look_after_ms: i64) -> Result<bool> {
        let latest = self.now_ms.saturating_add(self.following.missing_ms);
        let until_ms = due.wait_until_ms.map_or(latest, |until_ms| until_ms.min(latest));
        if hints.missing == 0 || until_ms <= self.now_ms {
            return Ok(false);
        }
        let next_ms = until_ms.min(self.now_ms.saturating_add(look_after_ms));
        self.db.prepare_cached(table.wait)?.execute((due.id, until_ms, next_ms))?;
        self.done.waiting += 1;
        Ok(true)
    }

    fn end(&mut self, table: &Table, due: &Due, hints: Hints) -> Result<ContentSet> {
        let (now_ms, set) = (self.now_ms, (table.set_of)(self.db, due.id)?);
        let row =
            params![due.id, Wholeness::Complete.number(), now_ms, set.instances, set.bytes, set.digest.to_be_bytes()];
        self.db.prepare_cached(table.complete)?.execute(row)?;
        self.done.late_ms = self.done.late_ms.max(now_ms - due.due_ms);
        self.done.lacking += u64::from(hints.missing > 0);
        Ok(set)
    }

    fn tell_series(&mut self, due: &Due, set: &ContentSet, hints: Hints) -> Result<()> {
        let sql = "json_object('study', ?1, 'series', ?2, 'modality', (SELECT modality FROM series WHERE id = ?3), 'instances', ?4,
            'bytes', ?5, 'digest', ?6, 'completions', (SELECT told FROM series WHERE id = ?3), 'basis', ?7, 'expected', ?8, 'missing', ?9)";
        let digest = format!("{:032x}", set.digest);
        let Hints { basis, expected, missing } = hints;
        let (uid, name) = (&due.uid, basis.name());
        let values = params![due.study_uid, uid, due.id, set.instances, set.bytes, digest, name, expected, missing];
        let data = outbox::json(self.db, sql, values)?;
        self.outbox.emit(EventKind::SeriesComplete, due.study, &due.study_uid, self.now_ms, &data)
    }

    fn tell_study(&mut self, due: &Due, set: &ContentSet, hints: Hints) -> Result<()> {
        let sql = "json_object('study', ?1, 'series', (SELECT count(*) FROM series WHERE study = ?2), 'instances', ?3, 'bytes', ?4,
            'digest', ?5, 'completions', (SELECT told FROM study WHERE id = ?2),
            'modalities', json((SELECT json_group_array(modality) FROM
                (SELECT DISTINCT modality FROM series WHERE study = ?2 AND modality IS NOT NULL ORDER BY modality))),
            'sources', json((SELECT json_group_array(calling_ae_title) FROM (SELECT DISTINCT calling_ae_title FROM study_source
                JOIN source ON source.id = study_source.source WHERE study_source.study = ?2 ORDER BY calling_ae_title))),
            'basis', ?6, 'expected', ?7, 'missing', ?8)";
        let digest = format!("{:032x}", set.digest);
        let Hints { basis, expected, missing } = hints;
        let values = params![due.uid, due.id, set.instances, set.bytes, digest, basis.name(), expected, missing];
        let data = outbox::json(self.db, sql, values)?;
        self.outbox.emit(EventKind::StudyComplete, due.study, &due.uid, self.now_ms, &data)?;
        let sql = "SELECT destination FROM study_destination WHERE study = ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        let destinations = statement.query_map([due.id], |row| row.get(0))?.collect::<Result<Vec<i64>>>()?;
        destinations
            .into_iter()
            .try_for_each(|destination| deliveries::tell(self.db, self.outbox, destination, due.id, self.now_ms))
    }
}

fn due(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Due>> {
    let mut statement = db.prepare_cached(sql)?;
    let due = statement.query_map(values, |row| {
        Ok(Due {
            id: row.get(0)?,
            uid: row.get(1)?,
            study_uid: row.get(2)?,
            study: row.get(3)?,
            due_ms: row.get(4)?,
            wait_until_ms: row.get(5)?,
        })
    })?;
    due.collect()
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

/// The same for all that is held. Sources that were asked before `since_ms` and have not answered are asked again.
pub(crate) fn release_all(db: &Connection, following: &Following, now_ms: i64, since_ms: i64) -> Result<()> {
    limit(db, following, now_ms)?;
    db.execute("UPDATE study SET due_ms = ?1, is_held = 0 WHERE is_held = 1", [now_ms])?;
    db.execute("UPDATE series SET due_ms = ?1, is_held = 0 WHERE is_held = 1", [now_ms])?;
    asking::forget(db, now_ms, since_ms)
}

/// When something is due; `None`: nothing will be.
pub(crate) fn next(db: &Connection) -> Result<Option<i64>> {
    let sql = "SELECT min(ifnull((SELECT min(due_ms) FROM study WHERE due_ms IS NOT NULL), 9223372036854775807),
        ifnull((SELECT min(due_ms) FROM series WHERE due_ms IS NOT NULL), 9223372036854775807))";
    let next: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok((next != i64::MAX).then_some(next))
}
