//! Single instances, and all since a time.

use std::path::PathBuf;

use rusqlite::{OptionalExtension, Result, Row, params};

use super::Reader;
use super::progress::{self, InstanceDelivery};
use super::study::{OriginRow, origin};
use crate::place::path_of;
use crate::record::State;
use crate::record::digest;
use tidegate_database::Error;
use tidegate_database::PackedUid;

/// One stored file of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// (0008,0018)
    pub sop_instance_uid: PackedUid,
    /// (0008,0016)
    pub sop_class_uid: String,
    /// (0002,0010)
    pub transfer_syntax_uid: String,
    /// (0020,000D); empty if there is none.
    pub study_instance_uid: String,
    /// (0020,000E); empty if there is none.
    pub series_instance_uid: String,
    /// (0020,0013)
    pub instance_number: Option<i64>,
    /// Below the root.
    pub path: PathBuf,
    /// Of the file.
    pub bytes: u64,
    /// XXH3-128 of the file.
    pub digest: Option<u128>,
    /// When it was received.
    pub received_ms: i64,
    /// Who sent it, if that is known.
    pub origin: Option<OriginRow>,
    /// Whether it is there.
    pub state: State,
    /// Since when it is not.
    pub ended_ms: Option<i64>,
    /// Its way to each destination, by name; only in answer to [`Reader::instances`].
    pub deliveries: Vec<InstanceDelivery>,
}

/// A place in [`Reader::received_since`]; the default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    series: i64,
    instance: i64,
}

/// A query of [`InstanceRow`].
macro_rules! instances {
    ($rest:literal) => {
        concat!(
            "SELECT instance.id, instance.uid, sop_class_uid, transfer_syntax_uid, study.uid, series.uid, instance.number,
                directory.path, instance.name, instance.bytes, digest, received_ms, instance.state, ended_ms,
                calling_ae_title, address, rule, association
            FROM instance
            JOIN series ON series.id = instance.series JOIN study ON study.id = series.study
            JOIN kind ON kind.id = instance.kind JOIN directory ON directory.id = instance.directory
            LEFT JOIN arrival ON arrival.id = instance.arrival LEFT JOIN source ON source.id = arrival.source ",
            $rest
        )
    };
}

impl InstanceRow {
    fn read(row: &Row<'_>) -> Result<Self> {
        let uid = row.get_ref(1)?.as_bytes()?;
        let sop_instance_uid = PackedUid::from_bytes(uid).map_err(|_| rusqlite::Error::InvalidQuery)?;
        let path = path_of(row.get_ref(7)?.as_bytes()?, row.get_ref(8)?.as_bytes()?, &sop_instance_uid);
        Ok(Self {
            sop_instance_uid,
            sop_class_uid: row.get(2)?,
            transfer_syntax_uid: row.get(3)?,
            study_instance_uid: row.get(4)?,
            series_instance_uid: row.get(5)?,
            instance_number: row.get(6)?,
            path,
            bytes: row.get::<_, i64>(9)?.unsigned_abs(),
            digest: digest(row.get_ref(10)?),
            received_ms: row.get(11)?,
            state: State::of(row.get(12)?),
            ended_ms: row.get(13)?,
            origin: origin(row, 14)?,
            deliveries: Vec::new(),
        })
    }
}

impl Reader {
    /// The files of the instance with that SOP Instance UID, those that are there first, at most `limit`.
    pub fn instances(&mut self, uid: &PackedUid, limit: u32) -> std::result::Result<Vec<InstanceRow>, Error> {
        let sql = instances!("WHERE instance.uid = ?1 ORDER BY instance.state, received_ms DESC LIMIT ?2");
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let mut rows = statement.query(params![uid.as_bytes(), limit])?;
            let mut files = Vec::new();
            while let Some(row) = rows.next()? {
                let deliveries = progress::of_instance(db, row.get(0)?)?;
                files.push(InstanceRow { deliveries, ..InstanceRow::read(row)? });
            }
            Ok(files)
        })
    }

    /// The files of a series, in no order that means anything, at most `limit`, with the number to go on from; 0 is the beginning.
    pub fn instances_of_series(
        &mut self,
        study_uid: &str,
        series_uid: &str,
        after: i64,
        limit: u32,
    ) -> std::result::Result<Vec<(i64, InstanceRow)>, Error> {
        let sql = instances!(
            "WHERE instance.series = (SELECT series.id FROM series JOIN study ON study.id = series.study
                WHERE study.uid = ?1 AND series.uid = ?2)
            AND instance.id > ?3 ORDER BY instance.id LIMIT ?4"
        );
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map(params![study_uid, series_uid, after, limit], |row| {
                Ok((row.get(0)?, InstanceRow::read(row)?))
            })?;
            rows.collect()
        })
    }

    /// The files that were received at `since_ms` or later and are there, by series, at most `limit`, with the place to go on from;
    /// `None` at the end. `verify --since` reads them.
    pub fn received_since(
        &mut self,
        since_ms: i64,
        from: Place,
        limit: u32,
    ) -> std::result::Result<(Vec<InstanceRow>, Option<Place>), Error> {
        let next = "SELECT id FROM series WHERE id > ?1 AND last_ms >= ?2 ORDER BY id LIMIT 1";
        let sql = instances!(
            "WHERE instance.series = ?1 AND instance.id > ?2 AND received_ms >= ?3 AND instance.state = 0 ORDER BY instance.id LIMIT ?4"
        );
        self.file.ask(|db| {
            let (mut place, mut files) = (from, Vec::new());
            loop {
                let mut statement = db.prepare_cached(sql)?;
                let left = i64::from(limit).saturating_sub(files.len() as i64);
                let rows = statement.query_map(params![place.series, place.instance, since_ms, left], |row| {
                    Ok((row.get::<_, i64>(0)?, InstanceRow::read(row)?))
                })?;
                for row in rows {
                    let (id, file) = row?;
                    place.instance = id;
                    files.push(file);
                }
                if files.len() as i64 >= i64::from(limit) {
                    return Ok((files, Some(place)));
                }
                let after = params![place.series, since_ms];
                let Some(series) = db.prepare_cached(next)?.query_row(after, |row| row.get(0)).optional()? else {
                    return Ok((files, None));
                };
                place = Place { series, instance: 0 };
            }
        })
    }
}
