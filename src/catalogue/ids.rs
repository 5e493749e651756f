//! The ids of what instances have in common. A bounded number of them is remembered, so that an instance seldom costs more than its own row.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::names;
use crate::place::Bytes;
use crate::record::{Origin, Record, SeriesValues, StudyValues, kept};

/// Ids remembered of each table. When there are more, all of that table are forgotten.
const MAX_REMEMBERED: usize = 1024;

/// Associations of which the last record is remembered: as many as usually send at a time.
const MAX_LAST: usize = 16;

/// The ids of a record's neighbours.
#[derive(Clone, Debug)]
pub(crate) struct RecordIds {
    pub(crate) study: i64,
    pub(crate) series: i64,
    pub(crate) directory: i64,
    /// Files of the directory are known that are named by anything but their UIDs.
    pub(crate) directory_has_named: bool,
    /// The directory may have a stamp.
    pub(crate) directory_is_stamped: bool,
    pub(crate) kind: i64,
    /// With its source.
    pub(crate) arrival: Option<Arrival>,
}

#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) id: i64,
    pub(crate) source: i64,
    /// Those of the source.
    pub(crate) destinations: Arc<[i64]>,
}

/// A directory.
#[derive(Clone, Copy)]
struct Directory {
    id: i64,
    /// It has no stamp.
    is_unstamped: bool,
    /// See [`RecordIds::directory_has_named`].
    has_named: bool,
}

/// A row with values that describe it.
struct Described<V> {
    id: i64,
    parent: i64,
    values: V,
    /// When the instance was received that has these values.
    last_ms: i64,
}

/// What the last record of an association had, and its ids. Most of the next ones have the same, and nothing of them is hashed.
struct Last {
    origin: Arc<Origin>,
    received_ms: i64,
    study: StudyValues,
    series: SeriesValues,
    directory: Vec<u8>,
    sop_class_uid: String,
    transfer_syntax_uid: String,
    ids: RecordIds,
}

impl Last {
    /// Whether the record has the same, and is not older.
    fn fits(&self, record: &Record, directory: &[u8]) -> bool {
        self.received_ms <= record.received_ms
            && self.directory == directory
            && self.series == record.series
            && self.study == record.study
            && self.sop_class_uid == record.sop_class_uid
            && self.transfer_syntax_uid == record.transfer_syntax_uid
    }
}

/// The remembered ids. They are those of one connection, and of nothing that was rolled back.
#[derive(Default)]
pub(crate) struct Ids {
    studies: HashMap<String, Described<StudyValues>>,
    series: HashMap<String, Described<SeriesValues>>,
    directories: HashMap<Vec<u8>, Directory>,
    kinds: HashMap<String, Vec<(String, i64)>>,
    sources: HashMap<Origin, (i64, Arc<[i64]>)>,
    arrivals: HashMap<(i64, u32), i64>,
    /// One for each association. There is none whose study or series have got other values since.
    last: Vec<Last>,
}

fn remember<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= MAX_REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

impl Ids {
    /// The ids of a record's neighbours, which are made if there are none.
    pub(crate) fn of(
        &mut self,
        db: &Connection,
        record: &Record,
        directory: &[u8],
        keeps_patients: bool,
    ) -> Result<RecordIds> {
        let of_association = |last: &&mut Last| record.origin.as_ref().is_some_and(|of| Arc::ptr_eq(&last.origin, of));
        if let Some(last) = self.last.iter_mut().find(of_association).filter(|last| last.fits(record, directory)) {
            last.received_ms = record.received_ms;
            return Ok(last.ids.clone());
        }
        let study = self.study(db, &record.study, record.received_ms, keeps_patients)?;
        let series = self.series(db, study, &record.series, record.received_ms, keeps_patients)?;
        let Directory { id, has_named, is_unstamped } = self.directory(db, directory)?;
        let ids = RecordIds {
            study,
            series,
            directory: id,
            directory_has_named: has_named,
            directory_is_stamped: !is_unstamped,
            kind: self.kind(db, &record.sop_class_uid, &record.transfer_syntax_uid)?,
            arrival: record.origin.as_ref().map(|origin| self.arrival(db, origin)).transpose()?,
        };
        self.remember_last(record, directory, ids.clone());
        Ok(ids)
    }

    fn remember_last(&mut self, record: &Record, directory: &[u8], ids: RecordIds) {
        let Some(origin) = &record.origin else { return };
        self.last.retain(|last| !Arc::ptr_eq(&last.origin, origin));
        if self.last.len() >= MAX_LAST {
            self.last.clear();
        }
        self.last.push(Last {
            origin: Arc::clone(origin),
            received_ms: record.received_ms,
            study: record.study.clone(),
            series: record.series.clone(),
            directory: directory.to_owned(),
            sop_class_uid: record.sop_class_uid.clone(),
            transfer_syntax_uid: record.transfer_syntax_uid.clone(),
            ids,
        });
    }

    fn study(&mut self, db: &Connection, study: &StudyValues, received_ms: i64, keeps_patients: bool) -> Result<i64> {
        let uid = kept(Some(&study.uid)).unwrap_or_default();
        if let Some(known) = self.studies.get_mut(uid)
            && known.values == *study
            && known.last_ms <= received_ms
        {
            known.last_ms = received_ms;
            return Ok(known.id);
        }
        self.last.clear();
        let patient = |value: &Option<String>| kept(value.as_deref()).filter(|_| keeps_patients).map(str::to_owned);
        // The values of the instance that was received last, and where it has none, any other's.
        let sql = "INSERT INTO study (uid, patient_id, patient_name, patient_birth_date, accession_number, study_date, description,
                first_ms, last_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
            ON CONFLICT (uid) DO UPDATE SET
                patient_id = iif(?8 < last_ms, ifnull(patient_id, ?2), ifnull(?2, patient_id)),
                patient_name = iif(?8 < last_ms, ifnull(patient_name, ?3), ifnull(?3, patient_name)),
                patient_birth_date = iif(?8 < last_ms, ifnull(patient_birth_date, ?4), ifnull(?4, patient_birth_date)),
                accession_number = iif(?8 < last_ms, ifnull(accession_number, ?5), ifnull(?5, accession_number)),
                study_date = iif(?8 < last_ms, ifnull(study_date, ?6), ifnull(?6, study_date)),
                description = iif(?8 < last_ms, ifnull(description, ?7), ifnull(?7, description)),
                last_ms = max(last_ms, ?8)
            RETURNING id, last_ms, patient_name";
        let row = params![
            uid,
            patient(&study.patient_id),
            patient(&study.patient_name),
            patient(&study.patient_birth_date),
            patient(&study.accession_number),
            patient(&study.study_date),
            patient(&study.description),
            received_ms
        ];
        let of_name = |db: &Connection| {
            let sql = "SELECT patient_name FROM study WHERE uid = ?1";
            db.prepare_cached(sql)?.query_row([uid], |row| row.get::<_, Option<String>>(0)).optional()
        };
        let former = of_name(db)?.flatten();
        let (id, last_ms, name) = db
            .prepare_cached(sql)?
            .query_row(row, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?)))?;
        names::replace(db, id, former.as_deref(), name.as_deref())?;
        let values = study.clone();
        remember(&mut self.studies, uid.to_owned(), Described { id, parent: 0, values, last_ms });
        Ok(id)
    }

    fn series(
        &mut self,
        db: &Connection,
        study: i64,
        series: &SeriesValues,
        received_ms: i64,
        keeps_patients: bool,
    ) -> Result<i64> {
        let uid = kept(Some(&series.uid)).unwrap_or_default();
        if let Some(known) = self.series.get_mut(uid)
            && known.parent == study
            && known.values == *series
            && known.last_ms <= received_ms
        {
            known.last_ms = received_ms;
            return Ok(known.id);
        }
        self.last.clear();
        let sql = "INSERT INTO series (study, uid, modality, number, description, first_ms, last_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
            ON CONFLICT (study, uid) DO UPDATE SET
                modality = iif(?6 < last_ms, ifnull(modality, ?3), ifnull(?3, modality)),
                number = iif(?6 < last_ms, ifnull(number, ?4), ifnull(?4, number)),
                description = iif(?6 < last_ms, ifnull(description, ?5), ifnull(?5, description)),
                last_ms = max(last_ms, ?6)
            RETURNING id, last_ms";
        let description = kept(series.description.as_deref()).filter(|_| keeps_patients);
        let row = params![study, uid, kept(series.modality.as_deref()), series.number, description, received_ms];
        let (id, last_ms) = db.prepare_cached(sql)?.query_row(row, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
        let values = series.clone();
        remember(&mut self.series, uid.to_owned(), Described { id, parent: study, values, last_ms });
        Ok(id)
    }

    /// A directory, which is made if there is none.
    fn directory(&mut self, db: &Connection, path: &[u8]) -> Result<Directory> {
        if let Some(directory) = self.directories.get(path) {
            return Ok(*directory);
        }
        let (id, has_named) = match find_directory(db, path)? {
            Some(id) => {
                let sql = "SELECT EXISTS (SELECT 1 FROM instance WHERE directory = ?1 AND name <> '')";
                (id, db.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
            }
            None => {
                db.prepare_cached("INSERT INTO directory (path) VALUES (?1)")?.execute([Bytes(path)])?;
                (db.last_insert_rowid(), false)
            }
        };
        let directory = Directory { id, is_unstamped: false, has_named };
        remember(&mut self.directories, path.to_owned(), directory);
        Ok(directory)
    }

    /// A file of the directory is known from now on that is named by anything but its UID.
    pub(crate) fn note_named(&mut self, path: &[u8]) {
        if let Some(directory) = self.directories.get_mut(path).filter(|directory| !directory.has_named) {
            directory.has_named = true;
            self.forget_last(path);
        }
    }

    /// Takes the stamp from a directory, if it has one.
    pub(crate) fn unstamp(&mut self, db: &Connection, path: &[u8]) -> Result<()> {
        let Some(directory) = self.directories.get_mut(path).filter(|directory| !directory.is_unstamped) else {
            return Ok(());
        };
        let sql = "UPDATE directory SET stamp_ns = NULL WHERE id = ?1 AND stamp_ns IS NOT NULL";
        db.prepare_cached(sql)?.execute([directory.id])?;
        directory.is_unstamped = true;
        self.forget_last(path);
        Ok(())
    }

    /// The stamp of a directory has been set.
    pub(crate) fn forget_directory(&mut self, path: &[u8]) {
        self.directories.remove(path);
        self.forget_last(path);
    }

    fn forget_last(&mut self, path: &[u8]) {
        self.last.retain(|last| last.directory != path);
    }

    fn kind(&mut self, db: &Connection, class: &str, syntax: &str) -> Result<i64> {
        let (class, syntax) = (kept(Some(class)).unwrap_or_default(), kept(Some(syntax)).unwrap_or_default());
        let known = self.kinds.get(class).and_then(|kinds| kinds.iter().find(|(known, _)| known == syntax));
        if let Some((_, id)) = known {
            return Ok(*id);
        }
        let find = "SELECT id FROM kind WHERE sop_class_uid = ?1 AND transfer_syntax_uid = ?2";
        let make = "INSERT INTO kind (sop_class_uid, transfer_syntax_uid) VALUES (?1, ?2)";
        let id = find_or_make(db, (find, make), (class, syntax))?;
        if self.kinds.values().map(Vec::len).sum::<usize>() >= MAX_REMEMBERED {
            self.kinds.clear();
        }
        self.kinds.entry(class.to_owned()).or_default().push((syntax.to_owned(), id));
        Ok(id)
    }

    fn arrival(&mut self, db: &Connection, origin: &Arc<Origin>) -> Result<Arrival> {
        let (source, destinations) = self.source(db, origin)?;
        let key = (source, origin.association);
        let id = match self.arrivals.get(&key) {
            Some(id) => *id,
            None => {
                let find = "SELECT id FROM arrival WHERE source = ?1 AND association = ?2";
                let id = find_or_make(db, (find, "INSERT INTO arrival (source, association) VALUES (?1, ?2)"), key)?;
                remember(&mut self.arrivals, key, id);
                id
            }
        };
        Ok(Arrival { id, source, destinations })
    }

    /// The destinations of an origin.
    pub(crate) fn destinations(&mut self, db: &Connection, origin: &Origin) -> Result<Arc<[i64]>> {
        if origin.destinations.is_empty() { Ok(Arc::default()) } else { Ok(self.source(db, origin)?.1) }
    }

    fn source(&mut self, db: &Connection, origin: &Origin) -> Result<(i64, Arc<[i64]>)> {
        let of_source = Origin { association: 0, ..origin.clone() };
        if let Some((id, destinations)) = self.sources.get(&of_source) {
            return Ok((*id, Arc::clone(destinations)));
        }
        let names = origin.destinations.iter();
        let mut destinations: Vec<i64> = names.map(|name| destination_id(db, name)).collect::<Result<_>>()?;
        destinations.sort_unstable();
        destinations.dedup();
        let text = destinations.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let find = "SELECT id FROM source WHERE (calling_ae_title, address, rule, destinations) = (?1, ?2, ?3, ?4)";
        let make = "INSERT INTO source (calling_ae_title, address, rule, destinations) VALUES (?1, ?2, ?3, ?4)";
        let [title, address, rule] =
            [&origin.calling_ae_title, &origin.address, &origin.rule].map(|text| kept(Some(text)).unwrap_or_default());
        let id = find_or_make(db, (find, make), (title, address, rule, text))?;
        let pair = "INSERT OR IGNORE INTO source_destination (source, destination) VALUES (?1, ?2)";
        for destination in &destinations {
            db.prepare_cached(pair)?.execute([id, *destination])?;
        }
        let destinations: Arc<[i64]> = destinations.into();
        remember(&mut self.sources, of_source, (id, Arc::clone(&destinations)));
        Ok((id, destinations))
    }
}

/// The number of a destination, which is made if there is none of that name.
pub(crate) fn destination_id(db: &Connection, name: &str) -> Result<i64> {
    let name = kept(Some(name)).unwrap_or_default();
    let find = "SELECT id FROM destination WHERE name = ?1";
    find_or_make(db, (find, "INSERT INTO destination (name) VALUES (?1)"), [name])
}

pub(crate) fn find_directory(db: &Connection, path: &[u8]) -> Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM directory WHERE path = ?1")?.query_row([Bytes(path)], |row| row.get(0)).optional()
}

fn find_or_make(db: &Connection, (find, make): (&str, &str), row: impl rusqlite::Params + Clone) -> Result<i64> {
    if let Some(id) = db.prepare_cached(find)?.query_row(row.clone(), |row| row.get(0)).optional()? {
        return Ok(id);
    }
    db.prepare_cached(make)?.execute(row)?;
    Ok(db.last_insert_rowid())
}
