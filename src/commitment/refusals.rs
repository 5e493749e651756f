//! Instances that a peer sent and that were refused, since other bytes are stored under their UIDs. A request names UIDs only: without this, the stored
//! bytes would be committed to a peer that means the refused ones, and deletes them.

use std::collections::HashSet;

use rusqlite::Row;
use tidegate_database::{Error, PackedUid};

use crate::prune::KEPT;
use crate::requests::Requests;
use crate::schedule::ms;

/// Refusals that are kept; beyond, the oldest are forgotten. About a hundred megabytes of disk.
pub const MAX_REFUSALS: u64 = 1_000_000;

/// Refusals that are removed in one step.
const STEP: u32 = 2_000;

/// How the last C-STORE of an instance from an AE title ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The AE title of the peer, without padding.
    pub calling: String,
    /// The instance.
    pub sop_instance: PackedUid,
    /// Other bytes are stored under its UID, and it was refused for that. Otherwise, it is stored.
    pub is_refused: bool,
}

impl Requests {
    /// Notes how instances were sent, in this order; durable, since a request may come after the next start.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn note_sent(&mut self, sent: &[Sent], now_ms: i64) -> Result<(), Error> {
        let is_known = "SELECT EXISTS (SELECT 1 FROM refusal WHERE calling = ?1 AND sop_instance = ?2)";
        let refuse = "INSERT INTO refusal (calling, sop_instance, at_ms) VALUES (?1, ?2, ?3)
            ON CONFLICT (calling, sop_instance) DO UPDATE SET at_ms = excluded.at_ms";
        let forget = "DELETE FROM refusal WHERE calling = ?1 AND sop_instance = ?2";
        // Most of what is stored was never refused: that is not worth a transaction.
        let changes = self.ask(|db| {
            let mut is_known = db.prepare_cached(is_known)?;
            for Sent { calling, sop_instance, is_refused } in sent {
                if *is_refused || is_known.query_row((calling, sop_instance.as_bytes()), |row| row.get(0))? {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if !changes {
            return Ok(());
        }
        self.file.transact(|db| {
            for Sent { calling, sop_instance, is_refused } in sent {
                match is_refused {
                    true => db.prepare_cached(refuse)?.execute((calling, sop_instance.as_bytes(), now_ms))?,
                    false => db.prepare_cached(forget)?.execute((calling, sop_instance.as_bytes()))?,
                };
            }
            Ok(())
        })
    }

    /// Whether any refusal is kept.
    ///
    /// # Errors
    /// Those of a query.
    pub fn has_refusals(&self) -> Result<bool, Error> {
        self.ask(|db| db.prepare_cached("SELECT EXISTS (SELECT 1 FROM refusal)")?.query_row([], |row| row.get(0)))
    }

    /// The positions from `from` up to `to` of those references of a request whose last C-STORE from the same AE title was refused.
    ///
    /// # Errors
    /// Those of a query.
    pub fn refused(&self, id: i64, from: u32, to: u32) -> Result<HashSet<u32>, Error> {
        let sql = "SELECT position FROM request JOIN reference ON reference.request = request.id
            JOIN refusal ON refusal.calling = request.calling AND refusal.sop_instance = reference.sop_instance
            WHERE request.id = ?1 AND position BETWEEN ?2 AND ?3";
        self.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map((id, from, to), |row: &Row<'_>| row.get(0))?;
            rows.collect()
        })
    }

    /// Forgets old refusals, in one short transaction. Whether there are more to forget.
    ///
    /// # Errors
    /// Those of a transaction.
    pub fn prune_refusals(&mut self, now_ms: i64) -> Result<bool, Error> {
        let before_ms = now_ms.saturating_sub(ms(KEPT));
        let excess = "SELECT max((SELECT count(*) FROM refusal WHERE at_ms < ?1), (SELECT count(*) FROM refusal) - ?2)";
        let forget = "DELETE FROM refusal WHERE (calling, sop_instance) IN
            (SELECT calling, sop_instance FROM refusal ORDER BY at_ms LIMIT ?1)";
        let most = MAX_REFUSALS.cast_signed();
        let excess: i64 = self.ask(|db| db.prepare_cached(excess)?.query_row((before_ms, most), |row| row.get(0)))?;
        if excess <= 0 {
            return Ok(false);
        }
        let removed = excess.min(STEP.into());
        self.file.transact_unsynced(|db| db.prepare_cached(forget)?.execute([removed]))?;
        Ok(excess > removed)
    }
}
