//! The queues of destinations.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use tidegate_database::{Error, PackedUid};

use super::Reader;
use crate::delivery::{DeliveryState, DestinationRow, Generation, Owed, OwedKey, Slot, content, destinations, notes};
use crate::place::path_of;
use crate::record::digest;

/// A query of [`Owed`]. The columns of a delivery are looked up in the order of its key, and everything else by it.
macro_rules! owed {
    ($rest:literal) => {
        concat!(
            "SELECT delivery.destination, delivery.state, delivery.study, delivery.series, delivery.number, delivery.instance, attempts,
                owed_ms, instance.uid, directory.path, instance.name, instance.bytes, digest, sop_class_uid,
                transfer_syntax_uid, study.uid, calling_ae_title, patient_id, delivery.due_ms,
                delivery.last_ms, delivery.status, delivery.why, delivery.asked IS NOT NULL
            FROM delivery CROSS JOIN instance ON instance.id = delivery.instance CROSS JOIN kind ON kind.id = instance.kind
            CROSS JOIN directory ON directory.id = instance.directory CROSS JOIN study ON study.id = delivery.study
            LEFT JOIN arrival ON arrival.id = instance.arrival LEFT JOIN source ON source.id = arrival.source ",
            $rest
        )
    };
}

/// Texts of the last row: those of the next one are mostly the same.
#[derive(Default)]
struct Last([Option<Arc<str>>; 5]);

impl Last {
    fn text(&mut self, at: usize, text: &str) -> Arc<str> {
        match &self.0[at] {
            Some(last) if **last == *text => Arc::clone(last),
            _ => Arc::clone(self.0[at].insert(text.into())),
        }
    }
}

fn read(row: &Row<'_>, last: &mut Last) -> Result<Owed> {
    let uid = row.get_ref(8)?.as_bytes()?;
    let sop_instance_uid = PackedUid::from_bytes(uid).map_err(|_| rusqlite::Error::InvalidQuery)?;
    let path = path_of(row.get_ref(9)?.as_bytes()?, row.get_ref(10)?.as_bytes()?, &sop_instance_uid);
    let (bytes, digest) = (row.get::<_, i64>(11)?.unsigned_abs(), digest(row.get_ref(12)?));
    let slot = Slot { study: row.get(2)?, series: row.get(3)?, number: row.get(4)?, instance: row.get(5)? };
    let (state, attempts) = (DeliveryState::of(row.get(1)?), row.get(6)?);
    let key = OwedKey { destination: row.get(0)?, state, slot, attempts, content: content(bytes, digest) };
    Ok(Owed {
        key,
        path,
        sop_instance_uid,
        sop_class_uid: last.text(0, row.get_ref(13)?.as_str()?),
        transfer_syntax_uid: last.text(1, row.get_ref(14)?.as_str()?),
        bytes,
        digest,
        study_uid: last.text(2, row.get_ref(15)?.as_str()?),
        owed_ms: row.get(7)?,
        attempts,
        calling_ae_title: row.get_ref(16)?.as_str_or_null()?.map(|title| last.text(3, title)),
        patient_id: row.get_ref(17)?.as_str_or_null()?.map(|id| last.text(4, id)),
        is_asked: row.get(22)?,
    })
}

impl Reader {
    /// The destination of that name; `None`: nothing was ever owed to it.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn destination(&mut self, name: &str) -> std::result::Result<Option<DestinationRow>, Error> {
        self.file.ask(|db| destinations::of_name(db, name))
    }

    /// All destinations, by name.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn destinations(&mut self) -> std::result::Result<Vec<DestinationRow>, Error> {
        self.file.ask(destinations::all)
    }

    /// Which catalogue the rows are of.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn generation(&mut self) -> std::result::Result<Generation, Error> {
        self.file.ask(notes::generation)
    }

    /// The next deliveries that wait, in the order of the queue, from behind `after`, at most `limit`.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn waiting(
        &mut self,
        destination: i64,
        after: Option<&OwedKey>,
        limit: u32,
    ) -> std::result::Result<Vec<Owed>, Error> {
        let sql = owed!(
            "WHERE delivery.destination = ?1 AND delivery.state = 0 AND delivery.study >= ?2
                AND (delivery.study, delivery.series, delivery.number, delivery.instance) > (?2, ?3, ?4, ?5)
            ORDER BY delivery.study, delivery.series, delivery.number, delivery.instance LIMIT ?6"
        );
        let from = Slot { study: i64::MIN, series: 0, number: 0, instance: 0 };
        let Slot { study, series, number, instance } = after.map_or(from, |key| key.slot);
        self.file.ask(|db| page(db, sql, params![destination, study, series, number, instance, limit]))
    }

    /// The deliveries that are tried again and due, those that were due first in front, at most `limit`.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn due(&mut self, destination: i64, now_ms: i64, limit: u32) -> std::result::Result<Vec<Owed>, Error> {
        let sql = owed!(
            "WHERE delivery.destination = ?1 AND delivery.state = 1 AND delivery.due_ms <= ?2 ORDER BY delivery.due_ms LIMIT ?3"
        );
        self.file.ask(|db| page(db, sql, params![destination, now_ms, limit]))
    }

    /// The deliveries that were sent and of which the commitment is to be asked for by now, those that were due first in front, at most `limit`.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn sent(&mut self, destination: i64, now_ms: i64, limit: u32) -> std::result::Result<Vec<Owed>, Error> {
        let sql = owed!(
            "WHERE delivery.destination = ?1 AND delivery.state = 3 AND delivery.due_ms <= ?2 ORDER BY delivery.due_ms LIMIT ?3"
        );
        self.file.ask(|db| page(db, sql, params![destination, now_ms, limit]))
    }

    /// The deliveries of an instance about which a report of that transaction counts: they were sent before it was asked by that.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn asked(
        &mut self,
        destination: i64,
        transaction: i64,
        uid: &PackedUid,
    ) -> std::result::Result<Vec<Owed>, Error> {
        let places = "SELECT series.study, series.id, ifnull(instance.number, 0), instance.id
            FROM instance CROSS JOIN series ON series.id = instance.series WHERE instance.uid = ?1";
        let sql = owed!(
            "WHERE delivery.destination = ?1 AND delivery.state = 3 AND delivery.study = ?2 AND delivery.series = ?3
                AND delivery.number = ?4 AND delivery.instance = ?5 AND delivery.asked <= ?6"
        );
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(places)?;
            let places = statement.query_map([uid.as_bytes()], |row| {
                Ok(Slot { study: row.get(0)?, series: row.get(1)?, number: row.get(2)?, instance: row.get(3)? })
            })?;
            let mut found = Vec::new();
            for place in places {
                let Slot { study, series, number, instance } = place?;
                found.extend(page(db, sql, params![destination, study, series, number, instance, transaction])?);
            }
            Ok(found)
        })
    }
}

fn page(db: &Connection, sql: &str, row: impl rusqlite::Params) -> Result<Vec<Owed>> {
    let (mut statement, mut last) = (db.prepare_cached(sql)?, Last::default());
    let rows = statement.query_map(row, |row| read(row, &mut last))?;
    rows.collect()
}

/// A delivery that is owed, for people.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// The name of the destination.
    pub destination: String,
    /// Its state.
    pub state: DeliveryState,
    /// The delivery.
    pub owed: Owed,
    /// When it is tried again, or its commitment is asked for.
    pub due_ms: Option<i64>,
    /// When it was tried last, or was found to be impossible.
    pub last_ms: Option<i64>,
    /// Of the last answer.
    pub status: Option<u16>,
    /// What failed.
    pub why: Option<String>,
}

/// Which deliveries are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliverySearch {
    /// To the destination of this name.
    pub destination: Option<String>,
    /// In one of these states; empty: in any.
    pub states: Vec<DeliveryState>,
    /// Of the study with this Study Instance UID.
    pub study_uid: Option<String>,
}

/// A page of deliveries.
#[derive(Clone, Debug, Default)]
pub struct Deliveries {
    /// By destination, state, and the order of the queue.
    pub deliveries: Vec<DeliveryRow>,
    /// Where the next page begins, if there is more.
    pub next: Option<DeliveryCursor>,
}

/// A place behind a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryCursor {
    destination: i64,
    state: i64,
    place: [i64; 4],
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the place of a delivery")]
pub struct NotADelivery;

impl std::fmt::Display for DeliveryCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [study, series, number, instance] = self.place;
        write!(f, "{}.{}.{study}.{series}.{number}.{instance}", self.destination, self.state)
    }
}

impl std::str::FromStr for DeliveryCursor {
    type Err = NotADelivery;

    fn from_str(text: &str) -> std::result::Result<Self, NotADelivery> {
        let numbers: Vec<i64> =
            text.split('.').map(str::parse).collect::<std::result::Result<_, _>>().map_err(|_| NotADelivery)?;
        let [destination, state, place @ ..] = &*numbers else { return Err(NotADelivery) };
        let place = place.try_into().map_err(|_| NotADelivery)?;
        Ok(Self { destination: *destination, state: *state, place })
    }
}

impl Reader {
    /// The deliveries that fit, from behind `after`, at most `limit`.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn deliveries(
        &mut self,
        search: &DeliverySearch,
        after: Option<DeliveryCursor>,
        limit: u32,
    ) -> std::result::Result<Deliveries, Error> {
        self.file.ask(|db| search_deliveries(db, search, after, limit))
    }
}

/// Through the destinations and states that fit, each by its key.
fn search_deliveries(
    db: &Connection,
    search: &DeliverySearch,
    after: Option<DeliveryCursor>,
    limit: u32,
) -> Result<Deliveries> {
    let sql = owed!(
        "WHERE delivery.destination = ?1 AND delivery.state = ?2 AND delivery.study BETWEEN ?3 AND ?4
            AND (delivery.study, delivery.series, delivery.number, delivery.instance) > (?5, ?6, ?7, ?8)
        ORDER BY delivery.study, delivery.series, delivery.number, delivery.instance LIMIT ?9"
    );
    let of_uid = "SELECT id FROM study WHERE uid = ?1";
    let study = match &search.study_uid {
        None => None,
        Some(uid) => match db.prepare_cached(of_uid)?.query_row([uid], |row| row.get::<_, i64>(0)).optional()? {
            Some(study) => Some(study),
            None => return Ok(Deliveries::default()),
        },
    };
    let mut found = Deliveries::default();
    let mut destinations = destinations::all(db)?;
    destinations.sort_unstable_by_key(|row| row.id);
    for DestinationRow { id, name, .. } in destinations {
        if search.destination.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        for state in
            DeliveryState::ALL.into_iter().filter(|state| search.states.is_empty() || search.states.contains(state))
        {
            let place = match after {
                Some(after) if (after.destination, after.state) > (id, state.number()) => continue,
                Some(after) if (after.destination, after.state) == (id, state.number()) => after.place,
                _ => [0; 4],
            };
            let [of_study, series, number, instance] = place;
            let (first, last) = study.map_or((of_study, i64::MAX), |study| (study, study));
            let left = i64::from(limit) + 1 - found.deliveries.len() as i64;
            let (mut statement, mut texts) = (db.prepare_cached(sql)?, Last::default());
            let row = params![id, state.number(), first, last, of_study, series, number, instance, left];
            let rows = statement.query_map(row, |row| read_for_people(row, &mut texts, &name, state))?;
            for row in rows {
                found.deliveries.push(row?);
            }
            if found.deliveries.len() > limit as usize {
                found.deliveries.truncate(limit as usize);
                found.next = found.deliveries.last().map(|last| cursor(&last.owed.key));
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn cursor(key: &OwedKey) -> DeliveryCursor {
    let Slot { study, series, number, instance } = key.slot;
    DeliveryCursor { destination: key.destination, state: key.state.number(), place: [study, series, number, instance] }
}

fn read_for_people(row: &Row<'_>, last: &mut Last, destination: &str, state: DeliveryState) -> Result<DeliveryRow> {
    let due_ms = Some(row.get(18)?).filter(|_| matches!(state, DeliveryState::Retrying | DeliveryState::Sent));
    Ok(DeliveryRow {
        destination: destination.to_owned(),
        state,
        owed: read(row, last)?,
        due_ms,
        last_ms: row.get(19)?,
        status: row.get(20)?,
        why: row.get(21)?,
    })
}
