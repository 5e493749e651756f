//! Requests that have ended are kept for a while, for people, and then removed in small steps.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use tidegate_database::Error;

use crate::named;
use crate::requests::Requests;
use crate::rows::weight;
use crate::schedule::ms;

/// Requests are kept for so long after they have ended.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Of the requests that have ended, the newest are kept that weigh no more than this: each of its references counts one, and it itself counts
/// ten. That is a third of a gigabyte of disk.
pub const MAX_KEPT: u64 = 5_000_000;

/// References that are removed in one step.
const STEP: u32 = 2_000;

impl Requests {
    /// Removes requests that ended long ago, in one short transaction. Whether there is more to remove.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn prune(&mut self, now_ms: i64) -> Result<bool, Error> {
        let ended_before_ms = now_ms.saturating_sub(ms(KEPT));
        let kept = self.kept;
        if self.ask(|db| oldest(db, ended_before_ms, kept))?.is_none() {
            return Ok(false);
        }
        let (has_more, kept) = self.file.transact_unsynced(|db| {
            let (mut left, mut kept) = (STEP, kept);
            while left > 0 {
                let Some((id, instances)) = oldest(db, ended_before_ms, kept)? else { return Ok((false, kept)) };
                let removed = remove(db, id, left)?;
                // Fewer than it might: there were no more.
                if removed < left {
                    db.prepare_cached("DELETE FROM request WHERE id = ?1")?.execute([id])?;
                    kept = kept.saturating_sub(weight(instances));
                }
                left = left.saturating_sub(removed + 1);
            }
            Ok((true, kept))
        })?;
        self.kept = kept;
        Ok(has_more)
    }
}

/// The request that is to be removed next, with the number of its instances.
fn oldest(db: &Connection, ended_before_ms: i64, kept: u64) -> rusqlite::Result<Option<(i64, u32)>> {
    let sql = "SELECT id, instances, ended_ms FROM request INDEXED BY request_ended WHERE state > 1 ORDER BY ended_ms LIMIT 1";
    let first = |row: &Row<'_>| Ok((row.get::<_, i64>(2)?, (row.get(0)?, row.get(1)?)));
    let first = db.prepare_cached(sql)?.query_row([], first).optional()?;
    Ok(first.filter(|(ended_ms, _)| *ended_ms < ended_before_ms || kept > MAX_KEPT).map(|(_, request)| request))
}

/// Removes at most `limit` references of a request. From then on, nobody sees it, and it is the oldest.
fn remove(db: &Connection, id: i64, limit: u32) -> rusqlite::Result<u32> {
    let hide = "UPDATE request SET state = 4, ended_ms = ?2 WHERE id = ?1 AND state < 4";
    let remove = "DELETE FROM reference WHERE request = ?1 AND position IN
        (SELECT position FROM reference WHERE request = ?1 ORDER BY position LIMIT ?2)";
    db.prepare_cached(hide)?.execute((id, i64::MIN))?;
    named::remove(db, id, limit)?;
    db.prepare_cached(remove)?.execute((id, limit)).map(|removed| removed as u32)
}
