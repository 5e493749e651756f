//! What attempts and operators make of the events that are owed.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Result};

use super::{EventChange, EventNote, EventOutcome, outbox};

/// Enters the outcome for one event. False: it is not owed any more.
pub(crate) fn enter(db: &Connection, note: &EventNote) -> Result<bool> {
    let EventNote { sink, event, at_ms, ref outcome, .. } = *note;
    let sql = "SELECT study FROM owed_event WHERE sink = ?1 AND event = ?2 AND state = 0";
    let study = db.prepare_cached(sql)?.query_row((sink, event), |row| row.get::<_, Option<i64>>(0)).optional()?;
    let Some(study) = study else { return Ok(false) };
    match outcome {
        EventOutcome::Published => {
            outbox::remove(db, sink, event)?;
            let sql = "UPDATE sink SET waiting = waiting - 1, published = published + 1 WHERE id = ?1";
            db.prepare_cached(sql)?.execute([sink])?;
            advance(db, sink, study)?;
        }
        EventOutcome::Retry { due_ms, why } => {
            let sql = "UPDATE owed_event SET attempts = attempts + 1, due_ms = ?3, last_ms = ?4, why = ?5 WHERE sink = ?1 AND event = ?2";
            db.prepare_cached(sql)?.execute((sink, event, due_ms, at_ms, why))?;
            // An operator may have put an earlier one back meanwhile.
            put_in_order(db, sink, study)?;
        }
        EventOutcome::Dead { why } => {
            let sql = "UPDATE owed_event SET attempts = attempts + 1, state = 1, due_ms = NULL, last_ms = ?3, why = ?4
                WHERE sink = ?1 AND event = ?2";
            db.prepare_cached(sql)?.execute((sink, event, at_ms, why))?;
            let sql = "UPDATE sink SET waiting = waiting - 1, dead = dead + 1 WHERE id = ?1";
            db.prepare_cached(sql)?.execute([sink])?;
            advance(db, sink, study)?;
        }
        EventOutcome::Gone { why } => {
            let sql =
                "UPDATE owed_event SET attempts = attempts + 1, last_ms = ?3, why = ?4 WHERE sink = ?1 AND event = ?2";
            db.prepare_cached(sql)?.execute((sink, event, at_ms, why))?;
            db.prepare_cached("UPDATE sink SET gone_ms = ?2 WHERE id = ?1")?.execute((sink, at_ms))?;
        }
    }
    Ok(true)
}

/// The next event of a study may be sent. Without the index, SQLite goes through the queue of the sink for it.
fn advance(db: &Connection, sink: i64, study: Option<i64>) -> Result<()> {
    let sql = "UPDATE owed_event SET due_ms = 0 WHERE due_ms IS NULL AND state = 0 AND sink = ?1 AND event =
        (SELECT min(event) FROM owed_event INDEXED BY owed_event_study WHERE sink = ?1 AND study = ?2 AND state = 0)";
    db.prepare_cached(sql)?.execute((sink, study)).map(drop)
}

/// Of the events of a study that wait, only the first is tried.
fn put_in_order(db: &Connection, sink: i64, study: Option<i64>) -> Result<()> {
    let hold = "UPDATE owed_event INDEXED BY owed_event_study SET due_ms = NULL WHERE sink = ?1 AND study = ?2 AND state = 0 AND due_ms IS NOT NULL AND event >
        (SELECT min(event) FROM owed_event INDEXED BY owed_event_study WHERE sink = ?1 AND study = ?2 AND state = 0)";
    db.prepare_cached(hold)?.execute((sink, study))?;
    advance(db, sink, study)
}

/// Events that one call changes.
pub(crate) const STEP: u32 = 1000;

/// Changes at most [`STEP`] events of a sink from behind `after`, only dead ones if `is_dead`, only one if `event`. How many, and the last; `None`: there
/// are no more.
pub(crate) fn change(
    db: &Connection,
    sink: i64,
    change: EventChange,
    (is_dead, event): (bool, Option<i64>),
    after: i64,
) -> Result<(u64, Option<i64>)> {
    let now_ms = outbox::now_ms(db)?;
    if change == EventChange::Retry {
        db.prepare_cached("UPDATE sink SET gone_ms = NULL, asked_ms = ?2 WHERE id = ?1")?.execute((sink, now_ms))?;
    }
    let sql = match is_dead {
        true => {
            "SELECT event, study, state FROM owed_event INDEXED BY owed_event_dead WHERE sink = ?1 AND event > ?2 AND event <= ?3
                AND state = 1 ORDER BY event LIMIT ?4"
        }
        false => {
            "SELECT event, study, state FROM owed_event WHERE sink = ?1 AND event > ?2 AND event <= ?3 ORDER BY event LIMIT ?4"
        }
    };
    let (after, last) = event.map_or((after, i64::MAX), |event| (after.max(event - 1), event));
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((sink, after, last, STEP), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, bool>(2)?))
    })?;
    let rows = rows.collect::<Result<Vec<_>>>()?;
    // Those whose order has changed.
    let mut studies = BTreeSet::new();
    for (event, study, was_dead) in &rows {
        let (waiting, dead) = match (change, *was_dead) {
            (EventChange::Drop, was_dead) => {
                outbox::remove(db, sink, *event)?;
                if was_dead { (0, -1) } else { (-1, 0) }
            }
            (EventChange::Retry, true) => {
                // An operator wants it sent behind what is waiting now only if that is later: it is the order of the study again.
                let sql = "UPDATE owed_event SET state = 0, attempts = 0, due_ms = iif(study IS NULL, 0, NULL) WHERE sink = ?1 AND event = ?2";
                db.prepare_cached(sql)?.execute((sink, event))?;
                (1, -1)
            }
            (EventChange::Retry, false) => {
                let sql = "UPDATE owed_event SET attempts = 0, due_ms = min(due_ms, 0) WHERE sink = ?1 AND event = ?2";
                db.prepare_cached(sql)?.execute((sink, event))?;
                continue;
            }
        };
        let sql = "UPDATE sink SET waiting = waiting + ?2, dead = dead + ?3 WHERE id = ?1";
        db.prepare_cached(sql)?.execute((sink, waiting, dead))?;
        studies.extend(*study);
    }
    studies.into_iter().try_for_each(|study| put_in_order(db, sink, Some(study)))?;
    let is_full = rows.len() >= STEP as usize;
    Ok((rows.len() as u64, rows.last().filter(|_| is_full).map(|(event, ..)| *event)))
}
