//! Notes of outcomes.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use tidegate_database::PackedUid;

use super::duties::{Duties, Item};
use super::{DeliveryNote, DeliveryState, FILE_IS_GONE, Generation, Outcome, OwedKey, Slot, content};
use crate::place::path_of;
use crate::record::digest;

/// The mark of the [`Generation`].
const GENERATION: &str = "generation";

/// Which catalogue this is.
pub(crate) fn generation(db: &Connection) -> Result<Generation> {
    let sql = "SELECT value FROM mark WHERE name = ?1";
    db.prepare_cached(sql)?.query_row([GENERATION], |row| row.get(0)).map(Generation)
}

/// A row, as far as a note is held against it.
struct Found {
    owed_ms: i64,
    attempts: u32,
    bytes: u64,
    digest: Option<u128>,
    is_there: bool,
}

impl Found {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            owed_ms: row.get(0)?,
            attempts: row.get(1)?,
            bytes: row.get::<_, i64>(2)?.unsigned_abs(),
            digest: digest(row.get_ref(3)?),
            is_there: row.get(4)?,
        })
    }
}

/// The delivery with this key, if it is as it was when the key was read.
fn find(db: &Connection, key: &OwedKey) -> Result<Option<Found>> {
    let sql =
        "SELECT owed_ms, attempts, bytes, digest, instance.state = 0 FROM delivery CROSS JOIN instance ON instance.id = delivery.instance
        WHERE delivery.destination = ?1 AND delivery.state = ?2 AND delivery.study = ?3 AND delivery.series = ?4
            AND delivery.number = ?5 AND delivery.instance = ?6";
    let OwedKey { destination, state, slot: Slot { study, series, number, instance }, .. } = *key;
    let row = params![destination, state.number(), study, series, number, instance];
    let found = db.prepare_cached(sql)?.query_row(row, Found::read).optional()?;
    Ok(found.filter(|found| found.attempts == key.attempts && content(found.bytes, found.digest) == key.content))
}

/// Enters a note. False: it is about a delivery that is no more, or is another by now.
pub(crate) fn enter(duties: &mut Duties<'_>, db: &Connection, note: &DeliveryNote) -> Result<bool> {
    if let Outcome::Asked { transaction, .. } = note.outcome {
        // A number is used once, whatever has become of what is asked for: its request may be sent all the same.
        let last = "UPDATE destination SET asked = ?2 WHERE id = ?1 AND asked < ?2";
        db.prepare_cached(last)?.execute((note.key.destination, transaction))?;
    }
    let Some(found) = find(db, &note.key)? else { return Ok(false) };
    let OwedKey { destination, state, slot, .. } = note.key;
    let item = Item { slot, bytes: i64::try_from(found.bytes).unwrap_or(i64::MAX) };
    match &note.outcome {
        Outcome::Delivered { status, why } => {
            duties.remove(destination, item, state)?;
            deliver(duties, db, note, *status, why.as_deref())?;
        }
        Outcome::Committed => {
            let (status, why) = answer(db, &note.key)?;
            duties.remove(destination, item, state)?;
            deliver(duties, db, note, status.unwrap_or(0), why.as_deref())?;
        }
        Outcome::Sent { due_ms, status, why } => {
            let attempts = found.attempts;
            let sent =
                Change { attempts, due_ms: *due_ms, at_ms: note.at_ms, status: Some(*status), why: why.as_deref() };
            change(duties, db, &note.key, (item, found.owed_ms), DeliveryState::Sent, &sent)?;
        }
        Outcome::Asked { transaction, due_ms } => {
            duties.note_change();
            return ask(db, &note.key, *transaction, *due_ms);
        }
        // What was sent is not buried with its file.
        Outcome::Retry { .. } if !found.is_there => {
            let attempts = found.attempts;
            let gone = Change { attempts, due_ms: 0, at_ms: note.at_ms, status: None, why: Some(FILE_IS_GONE) };
            change(duties, db, &note.key, (item, found.owed_ms), DeliveryState::Dead, &gone)?;
        }
        Outcome::Retry { due_ms, counts, status, why } => {
            let attempts = found.attempts + u32::from(*counts);
            let failed = Change { attempts, due_ms: *due_ms, at_ms: note.at_ms, status: *status, why: Some(why) };
            change(duties, db, &note.key, (item, found.owed_ms), DeliveryState::Retrying, &failed)?;
        }
        Outcome::NoFile { path, .. } if path_now(db, slot.instance)? != *path => return Ok(false),
        Outcome::NoFile { why, .. } => die(duties, db, note, (item, &found), None, why)?,
        Outcome::Dead { status, why } => die(duties, db, note, (item, &found), *status, why)?,
    }
    Ok(true)
}

/// It is not tried again.
fn die(
    duties: &mut Duties<'_>,
    db: &Connection,
    note: &DeliveryNote,
    (item, found): (Item, &Found),
    status: Option<u16>,
    why: &str,
) -> Result<()> {
    let attempts = found.attempts + 1;
    let failed = Change { attempts, due_ms: 0, at_ms: note.at_ms, status, why: Some(why) };
    change(duties, db, &note.key, (item, found.owed_ms), DeliveryState::Dead, &failed)
}

/// Where the file of an instance is by now.
fn path_now(db: &Connection, instance: i64) -> Result<PathBuf> {
    let sql = "SELECT directory.path, name, uid FROM instance JOIN directory ON directory.id = instance.directory WHERE instance.id = ?1";
    db.prepare_cached(sql)?.query_row([instance], |row| {
        let uid = PackedUid::from_bytes(row.get_ref(2)?.as_bytes()?).map_err(|_| rusqlite::Error::InvalidQuery)?;
        Ok(path_of(row.get_ref(0)?.as_bytes()?, row.get_ref(1)?.as_bytes()?, &uid))
    })
}

/// The delivery was made.
fn deliver(
    duties: &mut Duties<'_>,
    db: &Connection,
    note: &DeliveryNote,
    status: u16,
    why: Option<&str>,
) -> Result<()> {
    let OwedKey { destination, slot, .. } = note.key;
    let sql = "INSERT INTO delivered (instance, destination, at_ms, status, why) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms, status = excluded.status, why = excluded.why";
    db.prepare_cached(sql)?.execute((slot.instance, destination, note.at_ms, status, why))?;
    duties.count_delivered(destination, slot.study, 1);
    Ok(())
}

/// What the destination had answered when it was sent the instance.
fn answer(db: &Connection, key: &OwedKey) -> Result<(Option<u16>, Option<String>)> {
    let sql = "SELECT status, why FROM delivery
        WHERE destination = ?1 AND state = ?2 AND study = ?3 AND series = ?4 AND number = ?5 AND instance = ?6";
    let OwedKey { destination, state, slot: Slot { study, series, number, instance }, .. } = *key;
    let row = params![destination, state.number(), study, series, number, instance];
    db.prepare_cached(sql)?.query_row(row, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The commitment of what was sent is asked for.
fn ask(db: &Connection, key: &OwedKey, transaction: i64, due_ms: i64) -> Result<bool> {
    let sql = "UPDATE delivery SET asked = ifnull(asked, ?6), due_ms = ?7
        WHERE destination = ?1 AND state = 3 AND study = ?2 AND series = ?3 AND number = ?4 AND instance = ?5";
    let OwedKey { destination, slot: Slot { study, series, number, instance }, .. } = *key;
    let row = params![destination, study, series, number, instance, transaction, due_ms];
    Ok(db.prepare_cached(sql)?.execute(row)? > 0)
}

/// What becomes of a delivery that stays owed.
struct Change<'a> {
    attempts: u32,
    due_ms: i64,
    at_ms: i64,
    status: Option<u16>,
    why: Option<&'a str>,
}

fn change(
    duties: &mut Duties<'_>,
    db: &Connection,
    key: &OwedKey,
    (item, owed_ms): (Item, i64),
    to: DeliveryState,
    change: &Change<'_>,
) -> Result<()> {
    let sql = "UPDATE delivery SET state = ?7, attempts = ?8, due_ms = ?9, last_ms = ?10, status = ?11, why = ?12, asked = NULL
        WHERE destination = ?1 AND state = ?2 AND study = ?3 AND series = ?4 AND number = ?5 AND instance = ?6";
    let OwedKey { destination, state, slot: Slot { study, series, number, instance }, .. } = *key;
    let Change { attempts, due_ms, at_ms, status, why } = *change;
    db.prepare_cached(sql)?.execute(params![
        destination,
        state.number(),
        study,
        series,
        number,
        instance,
        to.number(),
        attempts,
        due_ms,
        at_ms,
        status,
        why
    ])?;
    duties.take(destination, item, state);
    duties.put(destination, item, to, owed_ms);
    Ok(())
}
