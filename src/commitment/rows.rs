//! Questions that writer and readers ask.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row};
use tidegate_database::PackedUid;

use crate::request::{Asked, Counts, FailureReason, Outcome, Peer, Reference, Referenced, Request, State};

/// A query of [`Request`].
macro_rules! requests {
    ($rest:literal) => {
        concat!(
            "SELECT request.id, transaction_uid, calling, address, called, association, received_ms, state, instances, committed,
                refused, request.next_ms, attempts, last_status, last_comment, tried_ms, evaluated_ms, ended_ms FROM ",
            $rest
        )
    };
}
pub(crate) use requests;

pub(crate) fn request(row: &Row<'_>) -> Result<Request> {
    let state = State::of(row.get(7)?).ok_or(Error::InvalidQuery)?;
    let next_ms = row.get(11)?;
    Ok(Request {
        id: row.get(0)?,
        asked: Asked {
            transaction_uid: row.get(1)?,
            peer: Peer { calling: row.get(2)?, address: row.get(3)? },
            called: row.get(4)?,
            association: row.get(5)?,
        },
        received_ms: row.get(6)?,
        state,
        instances: row.get(8)?,
        committed: row.get(9)?,
        refused: row.get(10)?,
        next_ms: state.is_pending().then_some(next_ms),
        attempts: row.get(12)?,
        last_status: row.get(13)?,
        last_comment: row.get(14)?,
        tried_ms: row.get(15)?,
        evaluated_ms: row.get(16)?,
        ended_ms: row.get(17)?,
    })
}

pub(crate) fn find(db: &Connection, id: i64) -> Result<Option<Request>> {
    db.prepare_cached(requests!("request WHERE id = ?1 AND state < 4"))?.query_row([id], request).optional()
}

/// An outcome as a column holds it.
pub(crate) fn outcome_number(outcome: Option<Outcome>) -> Option<u16> {
    outcome.map(|outcome| match outcome {
        Outcome::Committed => 0,
        Outcome::Failed(reason) => reason.code(),
    })
}

pub(crate) fn outcome_of(number: Option<u16>) -> Result<Option<Outcome>> {
    match number {
        None => Ok(None),
        Some(0) => Ok(Some(Outcome::Committed)),
        Some(code) => {
            FailureReason::of_code(code).map(|reason| Some(Outcome::Failed(reason))).ok_or(Error::InvalidQuery)
        }
    }
}

fn uid(value: ValueRef<'_>) -> Result<PackedUid> {
    PackedUid::from_bytes(value.as_blob()?).map_err(|_| Error::InvalidQuery)
}

/// The references of a request from a position on, at most `limit`.
pub(crate) fn references(db: &Connection, request: i64, from: u32, limit: u32) -> Result<Vec<Referenced>> {
    let sql = "SELECT position, sop_class, sop_instance, outcome FROM reference
        WHERE request = ?1 AND position >= ?2 ORDER BY position LIMIT ?3";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((request, from, limit), |row| {
        let reference = Reference { sop_class: uid(row.get_ref(1)?)?, sop_instance: uid(row.get_ref(2)?)? };
        Ok(Referenced { position: row.get(0)?, reference, outcome: outcome_of(row.get(3)?)? })
    })?;
    rows.collect()
}

pub(crate) fn counts(db: &Connection) -> Result<Counts> {
    let sql = "SELECT ifnull(sum(state = 0), 0), ifnull(sum(state = 1), 0), min(received_ms),
            (SELECT count(*) FROM request WHERE state = 3)
        FROM request INDEXED BY request_pending WHERE state < 2";
    db.prepare_cached(sql)?.query_row([], |row| {
        let count = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
        Ok(Counts { received: count(0)?, evaluated: count(1)?, failed: count(3)?, oldest_ms: row.get(2)? })
    })
}

/// What a request that has ended counts of [`MAX_KEPT`](crate::MAX_KEPT).
pub(crate) fn weight(instances: u32) -> u64 {
    u64::from(instances) + 10
}

/// What all requests that have ended count.
pub(crate) fn kept(db: &Connection) -> Result<u64> {
    let sql = "SELECT ifnull(sum(instances + 10), 0) FROM request INDEXED BY request_ended WHERE state > 1";
    db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}
