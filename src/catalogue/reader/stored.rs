//! What is stored of many instances at once: the question of storage commitment.

use std::path::PathBuf;

use rusqlite::{Result, Row, params};
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

impl Reader {
    /// The files that are there of each of `uids`, wherever they are stored, at most [`MAX_VERSIONS`] of each; with the place of the UID in `uids`. All are
    /// of one state of the catalogue.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn instances_of(&mut self, uids: &[PackedUid]) -> std::result::Result<Vec<(usize, StoredFile)>, Error> {
        let sql = "SELECT directory.path, instance.name, sop_class_uid, instance.bytes, digest, modified_ns IS NOT NULL
            FROM instance CROSS JOIN kind ON kind.id = instance.kind CROSS JOIN directory ON directory.id = instance.directory
            WHERE instance.uid = ?1 AND state = 0 ORDER BY received_ms DESC LIMIT ?2";
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
