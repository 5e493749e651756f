//! The events of deliveries.

use rusqlite::{Connection, OptionalExtension, Result};

use super::EventKind;
use super::outbox::Outbox;
use crate::completeness::Wholeness;

/// A study at a destination.
struct Found {
    uid: String,
    state: Wholeness,
    owed: i64,
    dead: i64,
    delivered: i64,
    is_done_told: bool,
    is_dead_told: bool,
    data: String,
}

/// Tells once for each completion that a destination has all of a study, and once that deliveries of it are dead, until none is.
pub(crate) fn tell(db: &Connection, outbox: &mut Outbox<'_>, destination: i64, study: i64, at_ms: i64) -> Result<()> {
    let sql =
        "SELECT study.uid, state, s.waiting + s.retrying + s.sent, s.dead, s.delivered, is_done_told, is_dead_told,
            json_object('study', study.uid, 'destination', destination.name, 'delivered', s.delivered, 'dead', s.dead,
                'completions', study.told, 'digest', lower(hex(told_digest)))
        FROM study_destination AS s JOIN study ON study.id = s.study JOIN destination ON destination.id = s.destination
        WHERE s.study = ?1 AND s.destination = ?2";
    let found = db.prepare_cached(sql)?.query_row((study, destination), |row| {
        Ok(Found {
            uid: row.get(0)?,
            state: Wholeness::of(row.get(1)?),
            owed: row.get(2)?,
            dead: row.get(3)?,
            delivered: row.get(4)?,
            is_done_told: row.get(5)?,
            is_dead_told: row.get(6)?,
            data: row.get(7)?,
        })
    });
    let Some(found) = found.optional()? else { return Ok(()) };
    let is_done = found.state == Wholeness::Complete && found.owed + found.dead == 0 && found.delivered > 0;
    let is_dead = found.dead > 0;
    if is_done && !found.is_done_told {
        outbox.emit(EventKind::DeliveryDone, study, &found.uid, at_ms, &found.data)?;
    }
    if is_dead && !found.is_dead_told {
        outbox.emit(EventKind::DeliveryDead, study, &found.uid, at_ms, &found.data)?;
    }
    let told = (found.is_done_told || is_done, is_dead);
    if told != (found.is_done_told, found.is_dead_told) {
        let sql =
            "UPDATE study_destination SET is_done_told = ?3, is_dead_told = ?4 WHERE study = ?1 AND destination = ?2";
        db.prepare_cached(sql)?.execute((study, destination, told.0, told.1))?;
    }
    Ok(())
}
