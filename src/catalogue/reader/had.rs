//! What a destination has had, study by study, for a comparison with what it has.

use rusqlite::{OptionalExtension, Result, params};
use tidegate_database::{Error, PackedUid};

use super::Reader;
use crate::record::State;

/// A study of which a destination has had instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HadStudy {
    /// Its number.
    pub id: i64,
    /// (0020,000D); empty for instances without one.
    pub uid: String,
}

/// An instance that a destination has had. Versions of it are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HadInstance {
    /// (0008,0018)
    pub uid: PackedUid,
    /// Of its file.
    pub state: State,
}

impl Reader {
    /// The studies of which the destination has had instances, behind the number `after`, at most `limit`. `uid`: only the one with this UID.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn studies_had(
        &mut self,
        destination: i64,
        uid: Option<&str>,
        after: i64,
        limit: u32,
    ) -> std::result::Result<Vec<HadStudy>, Error> {
        let sql = "SELECT study.id, study.uid FROM study_destination AS s CROSS JOIN study ON study.id = s.study
            WHERE s.destination = ?1 AND s.study > ?2 AND s.delivered > 0 ORDER BY s.study LIMIT ?3";
        let one = "SELECT study.id, study.uid FROM study CROSS JOIN study_destination AS s ON s.study = study.id
            WHERE study.uid = ?4 AND s.destination = ?1 AND s.study > ?2 AND s.delivered > 0 LIMIT ?3";
        let read = |row: &rusqlite::Row<'_>| Ok(HadStudy { id: row.get(0)?, uid: row.get(1)? });
        self.file.ask(|db| match uid {
            None => db.prepare_cached(sql)?.query_map((destination, after, limit), read)?.collect(),
            Some(uid) => db.prepare_cached(one)?.query_map((destination, after, limit, uid), read)?.collect(),
        })
    }

    /// The instances of a study that the destination has had, in the order of their packed UIDs, behind `after`, at most `limit`. One that an operator
    /// has dropped, or that is owed again, is none of them.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn instances_had(
        &mut self,
        destination: i64,
        study: i64,
        after: Option<&PackedUid>,
        limit: u32,
    ) -> std::result::Result<Vec<HadInstance>, Error> {
        let sql = "SELECT instance.uid, min(instance.state) FROM series CROSS JOIN instance ON instance.series = series.id
            CROSS JOIN delivered ON delivered.instance = instance.id AND delivered.destination = ?1 AND delivered.status IS NOT NULL
            WHERE series.study = ?2 AND instance.uid > ?3 GROUP BY instance.uid ORDER BY instance.uid LIMIT ?4";
        let after = after.map_or(&[][..], PackedUid::as_bytes);
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map(params![destination, study, after, limit], |row| {
                let uid =
                    PackedUid::from_bytes(row.get_ref(0)?.as_bytes()?).map_err(|_| rusqlite::Error::InvalidQuery)?;
                Ok(HadInstance { uid, state: State::of(row.get(1)?) })
            })?;
            rows.collect::<Result<Vec<_>>>()
        })
    }

    /// Whether any file of that SOP Instance UID is known, there or not.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn knows(&mut self, uid: &PackedUid) -> std::result::Result<bool, Error> {
        let sql = "SELECT 1 FROM instance WHERE uid = ?1 LIMIT 1";
        self.file.ask(|db| {
            db.prepare_cached(sql)?.query_row([uid.as_bytes()], |_| Ok(())).optional().map(|found| found.is_some())
        })
    }
}
