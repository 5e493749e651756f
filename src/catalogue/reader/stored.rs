//! What is stored of many instances at once: the question of storage commitment.

use std::path::PathBuf;

use rusqlite::{OptionalExtension, Result, Row, params};
use tidegate_database::{Error, PackedUid};

use super::Reader;
use crate::place::path_of;
use crate::record::digest;

/// Versions of an instance that are told, the newest first.
pub const MAX_VERSIONS: u32 = 100;

/// A stored file of an instance that is there, by the catalogue: one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Below the root.
    pub path: PathBuf,
    /// (0008,0016)
    pub sop_class_uid: String,
    /// Of the file.
    pub bytes: u64,
    /// XXH3-128 of the file.
    pub digest: Option<u128>,
    /// The row was entered or confirmed by a look at the disk. Its length may be that of a file that was cut; that of a row which only the writer of the
    /// file has reported is of the whole file.
    pub is_from_disk: bool,
}

impl StoredFile {
    fn read(row: &Row<'_>, uid: &PackedUid) -> Result<Self> {
        Ok(Self {
            path: path_of(row.get_ref(0)?.as_bytes()?, row.get_ref(1)?.as_bytes()?, uid),
            sop_class_uid: row.get(2)?,
            bytes: row.get::<_, i64>(3)?.unsigned_abs(),
            digest: digest(row.get_ref(4)?),
            is_from_disk: row.get(5)?,
        })
    }
}

/// A delivery that an instance owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owing {
    /// The place of its UID in the question.
    pub at: usize,
    /// The place of its destination in the question.
    pub destination: usize,
    /// Whether it is dead.
    pub is_dead: bool,
}

impl Reader {
    /// What those of `uids` that are there owe to `destinations`, any version of each. One without a duty to them owes nothing.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn owing(&mut self, uids: &[PackedUid], destinations: &[String]) -> std::result::Result<Vec<Owing>, Error> {
        let of_name = "SELECT id FROM destination WHERE name = ?1";
        let places = "SELECT series.study, series.id, ifnull(instance.number, 0), instance.id
            FROM instance CROSS JOIN series ON series.id = instance.series WHERE instance.uid = ?1 AND instance.state = 0";
        let sql = "SELECT state = 2 FROM delivery WHERE destination = ?1 AND state IN (0, 1, 2, 3)
            AND study = ?2 AND series = ?3 AND number = ?4 AND instance = ?5";
        self.file.ask(|db| {
            let mut known = Vec::new();
            for (destination, name) in destinations.iter().enumerate() {
                let id: Option<i64> = db.prepare_cached(of_name)?.query_row([name], |row| row.get(0)).optional()?;
                known.extend(id.map(|id| (destination, id)));
            }
            let (mut places, mut owed) = (db.prepare_cached(places)?, db.prepare_cached(sql)?);
            let mut found = Vec::new();
            for (at, uid) in uids.iter().enumerate() {
                let mut rows = places.query([uid.as_bytes()])?;
                while let Some(row) = rows.next()? {
                    let place: [i64; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
                    for (destination, id) in &known {
                        let key = params![id, place[0], place[1], place[2], place[3]];
                        let is_dead: Option<bool> = owed.query_row(key, |row| row.get(0)).optional()?;
                        let destination = *destination;
                        found.extend(is_dead.map(|is_dead| Owing { at, destination, is_dead }));
                    }
                }
            }
            Ok(found)
        })
    }

    /// The files that are there of each of `uids`, wherever they are stored, at most [`MAX_VERSIONS`] of each; with the place of the UID in `uids`. All are
    /// of one state of the catalogue.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn instances_of(&mut self, uids: &[PackedUid]) -> std::result::Result<Vec<(usize, StoredFile)>, Error> {
        let sql = "SELECT directory.path, instance.name, sop_class_uid, instance.bytes, digest, modified_ns IS NOT NULL
            FROM instance CROSS JOIN kind ON kind.id = instance.kind CROSS JOIN directory ON directory.id = instance.directory
            WHERE instance.uid = ?1 AND instance.state = 0 ORDER BY received_ms DESC LIMIT ?2";
        // UIDs that begin alike stand together in the index.
        let mut order: Vec<usize> = (0..uids.len()).collect();
        order.sort_unstable_by_key(|at| &uids[*at]);
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let mut files = Vec::with_capacity(uids.len());
            for at in order {
                let uid = &uids[at];
                let rows =
                    statement.query_map(params![uid.as_bytes(), MAX_VERSIONS], |row| StoredFile::read(row, uid))?;
                for file in rows {
                    files.push((at, file?));
                }
            }
            Ok(files)
        })
    }
}
