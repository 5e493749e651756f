//! The rows that catch-up reads and writes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Row};

use super::Disk;
use crate::batch::{Batch, FILES_LOOKED_AT, find};
use crate::catalogue::Catalogue;
use crate::open::DESIGN;
use crate::place::{Bytes, path_of};
use crate::record::{Record, State};
use tidegate_database::Error;
use tidegate_database::PackedUid;

/// Records of one page.
const PAGE: i64 = 256;

/// A directory of the catalogue.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) stamp_ns: Option<i64>,
}

pub(super) fn directory(catalogue: &Catalogue, path: &Path) -> Result<Option<Known>, Error> {
    let find = || {
        let sql = "SELECT id, stamp_ns FROM directory WHERE path = ?1";
        let known = |row: &Row<'_>| Ok(Known { id: row.get(0)?, stamp_ns: row.get(1)? });
        let path = Bytes(path.as_os_str().as_bytes());
        catalogue.connection().prepare_cached(sql)?.query_row([path], known).optional()
    };
    find().map_err(DESIGN.sqlite(catalogue.path()))
}

/// The directory with the next higher id, and its path.
pub(super) fn next_directory(catalogue: &Catalogue, after: i64) -> Result<Option<(Known, PathBuf)>, Error> {
    let find = || {
        let sql = "SELECT id, stamp_ns, path FROM directory WHERE id > ?1 ORDER BY id LIMIT 1";
        let directory = |row: &Row<'_>| {
            let known = Known { id: row.get(0)?, stamp_ns: row.get(1)? };
            Ok((known, PathBuf::from(OsStr::from_bytes(row.get_ref(2)?.as_bytes()?))))
        };
        catalogue.connection().prepare_cached(sql)?.query_row([after], directory).optional()
    };
    find().map_err(DESIGN.sqlite(catalogue.path()))
}

/// A page of the files that are there by the catalogue, with their ids, ascending.
pub(super) fn present(
    catalogue: &Catalogue,
    (directory, path): (i64, &Path),
    after: i64,
) -> Result<Vec<(i64, PathBuf)>, Error> {
    let damaged = || DESIGN.corrupt(catalogue.path(), "an instance has no valid uid");
    let failed = DESIGN.sqlite(catalogue.path());
    let read = || {
        let sql = "SELECT id, uid, name FROM instance
            WHERE directory = ?1 AND id > ?2 AND state = 0 ORDER BY id LIMIT ?3";
        let mut statement = catalogue.connection().prepare_cached(sql)?;
        let record = |row: &Row<'_>| {
            let (id, uid, name) = (row.get(0)?, row.get_ref(1)?.as_bytes()?, row.get_ref(2)?.as_bytes()?);
            Ok(PackedUid::from_bytes(uid).map(|uid| (id, path_of(path.as_os_str().as_bytes(), name, &uid))))
        };
        let records = statement.query_map((directory, after, PAGE), record)?;
        records.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(failed)?.into_iter().map(|record| record.map_err(|_| damaged())).collect()
}

/// Ends the files by the catalogue that have the content of one of these records at another place and are not there any more: people have moved them. How many.
pub(super) fn end_moved(
    batch: &mut Batch<'_>,
    disk: &impl Disk,
    records: &[Record],
    at_ms: i64,
) -> rusqlite::Result<u64> {
    let sql = "SELECT directory.path, name FROM instance CROSS JOIN directory ON directory.id = instance.directory
        WHERE instance.id IN (SELECT id FROM instance WHERE uid = ?1 LIMIT ?3) AND state = 0 AND digest = ?2";
    let mut ended = 0;
    for record in records {
        let (uid, Some(digest)) = (&record.sop_instance_uid, record.digest) else { continue };
        // What is known at its own place was not moved to it.
        if find(batch.db, &record.path)?.is_some_and(|known| known.state == State::Present) {
            continue;
        }
        let mut statement = batch.db.prepare_cached(sql)?;
        let path = |row: &Row<'_>| Ok(path_of(row.get_ref(0)?.as_bytes()?, row.get_ref(1)?.as_bytes()?, uid));
        let paths = statement.query_map((uid.as_bytes(), digest.to_be_bytes(), FILES_LOOKED_AT), path)?;
        for path in paths.collect::<rusqlite::Result<Vec<_>>>()? {
            let is_gone = disk.is_there(&path).is_ok_and(|is_there| !is_there);
            ended += u64::from(is_gone && batch.end_path(&path, State::Gone, at_ms)?);
        }
    }
    Ok(ended)
}

/// What a directory has for a stamp that is gone, when none of its records was found present: nobody looks for it until it is on the disk again, and no
/// directory there has this stamp. A record that is entered late takes it away. Gone directories are kept for ever, and there may be many more of them
/// than others.
pub(super) const GONE: i64 = -2;

/// What a directory has for a stamp while its comparison takes more than one step. A record that is entered late meanwhile takes it away.
const COMPARING: i64 = -1;

/// Notes that the comparison of a directory takes more than one step.
pub(super) fn begin_comparison(batch: &mut Batch<'_>, path: &[u8]) -> rusqlite::Result<()> {
    set(batch, path, COMPARING)
}

/// Notes the stamp of a directory that was compared; `None` if it has to be compared again.
pub(super) fn set_stamp(batch: &mut Batch<'_>, stamp: &Stamp) -> rusqlite::Result<()> {
    let path = stamp.path.as_os_str().as_bytes();
    let Some(stamp_ns) = stamp.stamp_ns else {
        batch.forget_directory(path);
        let sql = "UPDATE directory SET stamp_ns = NULL WHERE path = ?1";
        return batch.db().prepare_cached(sql)?.execute([Bytes(path)]).map(|_| ());
    };
    if !stamp.took_steps {
        return set(batch, path, stamp_ns);
    }
    batch.forget_directory(path);
    let sql = "UPDATE directory SET stamp_ns = ?2 WHERE path = ?1 AND stamp_ns = ?3";
    batch.db().prepare_cached(sql)?.execute((Bytes(path), stamp_ns, COMPARING)).map(|_| ())
}

fn set(batch: &mut Batch<'_>, path: &[u8], stamp_ns: i64) -> rusqlite::Result<()> {
    batch.forget_directory(path);
    let sql = "INSERT INTO directory (path, stamp_ns) VALUES (?1, ?2)
        ON CONFLICT (path) DO UPDATE SET stamp_ns = excluded.stamp_ns";
    batch.db().prepare_cached(sql)?.execute((Bytes(path), stamp_ns)).map(|_| ())
}

/// The stamp of a directory that was compared.
pub(super) struct Stamp {
    pub(super) path: PathBuf,
    pub(super) stamp_ns: Option<i64>,
    /// Its comparison took more than one step.
    pub(super) took_steps: bool,
}
