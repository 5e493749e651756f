//! The set of the contents of a study or series.

use std::fmt::Write as _;

use rusqlite::{Connection, Result};
use tidegate_database::PackedUid;
use twox_hash::XxHash3_128;

use crate::record::digest;

/// What a study or series has had so far, whether the files are still there or not. Two files of one instance with the same content count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentSet {
    /// Contents.
    pub instances: i64,
    /// Of them.
    pub bytes: i64,
    /// The sum, modulo 2^128, of XXH3-128 of `UID DIGEST` of each: the order in which they came has no part in it.
    pub digest: u128,
}

/// The set of a study.
pub(crate) fn of_study(db: &Connection, study: i64) -> Result<ContentSet> {
    let sql =
        "SELECT instance.uid, digest, instance.bytes FROM series CROSS JOIN instance ON instance.series = series.id
        WHERE series.study = ?1";
    of(db, sql, study)
}

/// The set of a series.
pub(crate) fn of_series(db: &Connection, series: i64) -> Result<ContentSet> {
    of(db, "SELECT uid, digest, bytes FROM instance WHERE series = ?1", series)
}

fn of(db: &Connection, sql: &str, id: i64) -> Result<ContentSet> {
    let (mut members, mut text) = (Vec::new(), String::new());
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let uid = PackedUid::from_bytes(row.get_ref(0)?.as_bytes()?).map_err(|_| rusqlite::Error::InvalidQuery)?;
        text.clear();
        let _ = match digest(row.get_ref(1)?) {
            Some(digest) => write!(text, "{uid} {digest:032x}"),
            None => write!(text, "{uid} "),
        }; // a string takes everything
        members.push((XxHash3_128::oneshot(text.as_bytes()), row.get::<_, i64>(2)?));
    }
    members.sort_unstable();
    members.dedup_by_key(|(hash, _)| *hash);
    let add = |set: ContentSet, (hash, bytes): &(u128, i64)| ContentSet {
        instances: set.instances + 1,
        bytes: set.bytes.saturating_add(*bytes),
        digest: set.digest.wrapping_add(*hash),
    };
    Ok(members.iter().fold(ContentSet::default(), add))
}
