//! Which requests name an instance.
//!
//! An index of the references by UID would be changed at as many places as a request has references, if their UIDs are of UUIDs: ten times the cost of
//! accepting it. So a table of its own has small rows, made in the order of the table, of which many stand on a page. They have a hash of the UID, one of
//! 2^48: if two instances share it, the one stays for as long as the other is awaited.

use rusqlite::{Connection, Result};
use tidegate_database::PackedUid;
use twox_hash::XxHash3_128;

/// What the rows of an instance have for its UID.
pub(crate) fn number(sop_instance: &[u8]) -> i64 {
    (XxHash3_128::oneshot(sop_instance) >> 80) as i64
}

/// A request names these instances.
pub(crate) fn insert(db: &Connection, request: i64, mut instances: Vec<i64>) -> Result<()> {
    instances.sort_unstable();
    let mut statement = db.prepare_cached("INSERT OR IGNORE INTO named (instance, request) VALUES (?1, ?2)")?;
    instances.into_iter().try_for_each(|instance| statement.execute((instance, request)).map(drop))
}

/// The same of a request that is there.
pub(crate) fn insert_all(db: &Connection, request: i64) -> Result<()> {
    let mut statement = db.prepare_cached("SELECT sop_instance FROM reference WHERE request = ?1")?;
    let instances = statement.query_map([request], |row| Ok(number(row.get_ref(0)?.as_bytes()?)))?;
    insert(db, request, instances.collect::<Result<_>>()?)
}

/// Makes the rows of the pending requests of a former version.
pub(crate) fn fill(db: &Connection) -> Result<()> {
    let mut statement = db.prepare("SELECT id FROM request WHERE state < 2")?;
    let requests = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>>>()?;
    requests.into_iter().try_for_each(|request| insert_all(db, request))
}

/// Removes the rows of the first references of a request.
pub(crate) fn remove(db: &Connection, request: i64, limit: u32) -> Result<()> {
    let sql = "SELECT sop_instance FROM reference WHERE request = ?1 ORDER BY position LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let instances = statement.query_map((request, limit), |row| Ok(number(row.get_ref(0)?.as_bytes()?)))?;
    let mut instances = instances.collect::<Result<Vec<_>>>()?;
    instances.sort_unstable();
    let mut statement = db.prepare_cached("DELETE FROM named WHERE instance = ?1 AND request = ?2")?;
    instances.into_iter().try_for_each(|instance| statement.execute((instance, request)).map(drop))
}

/// Which of these instances are named by a request with something still to be done.
pub(crate) fn are_awaited(db: &Connection, uids: &[PackedUid]) -> Result<Vec<bool>> {
    let sql = "SELECT EXISTS (SELECT 1 FROM named CROSS JOIN request ON request.id = named.request WHERE instance = ?1 AND state < 2)";
    let mut statement = db.prepare_cached(sql)?;
    uids.iter().map(|uid| statement.query_row([number(uid.as_bytes())], |row| row.get(0))).collect()
}
