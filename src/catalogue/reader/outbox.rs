//! The queues of destinations.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use tidegate_database::{Error, PackedUid};

use super::Reader;
use crate::batch::digest;
use crate::delivery::{DeliveryState, DestinationRow, Generation, Owed, OwedKey, Slot, Sums, content, notes};
use crate::place::path_of;

/// A query of [`Owed`]. The columns of a delivery are looked up in the order of its key, and everything else by it.
macro_rules! owed {
    ($rest:literal) => {
        concat!(
            "SELECT delivery.destination, delivery.state, delivery.study, delivery.series, delivery.number, delivery.instance, attempts,
                owed_ms, instance.uid, directory.path, instance.name, instance.bytes, digest, sop_class_uid,
                transfer_syntax_uid, study.uid, calling_ae_title, delivery.due_ms, delivery.last_ms, delivery.status, delivery.why
            FROM delivery CROSS JOIN instance ON instance.id = delivery.instance CROSS JOIN kind ON kind.id = instance.kind
            CROSS JOIN directory ON directory.id = instance.directory CROSS JOIN study ON study.id = delivery.study
            LEFT JOIN arrival ON arrival.id = instance.arrival LEFT JOIN source ON source.id = arrival.source ",
            $rest
        )
    };
}

/// Texts of the last row: those of the next one are mostly the same.
#[derive(Default)]
struct Last([Option<Arc<str>>; 4]);

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
    })
}

const DESTINATIONS: &str = "SELECT id, name, paused, waiting, waiting_bytes, retrying, dead, delivered,
        (SELECT min(since_ms) FROM study_destination AS s WHERE s.destination = destination.id AND since_ms IS NOT NULL),
        (SELECT min(due_ms) FROM delivery WHERE delivery.destination = destination.id AND state = 1)
    FROM destination";

fn destination(row: &Row<'_>) -> Result<DestinationRow> {
    Ok(DestinationRow {
        id: row.get(0)?,
        name: row.get(1)?,
        is_paused: row.get(2)?,
        sums: Sums {
            waiting: row.get(3)?,
            waiting_bytes: row.get(4)?,
            retrying: row.get(5)?,
            dead: row.get(6)?,
            delivered: row.get(7)?,
        },
        since_ms: row.get(8)?,
        due_ms: row.get(9)?,
    })
}

impl Reader {
    /// The destination of that name; `None`: nothing was ever owed to it.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn destination(&mut self, name: &str) -> std::result::Result<Option<DestinationRow>, Error> {
        let sql = format!("{DESTINATIONS} WHERE name = ?1");
        self.file.ask(|db| db.prepare_cached(&sql)?.query_row([name], destination).optional())
    }

    /// All destinations, by name.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn destinations(&mut self) -> std::result::Result<Vec<DestinationRow>, Error> {
        let sql = format!("{DESTINATIONS} ORDER BY name");
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map([], destination)?;
            rows.collect()
        })
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
        let sql =
            owed!("WHERE delivery.destination = ?1 AND delivery.state = 1 AND due_ms <= ?2 ORDER BY due_ms LIMIT ?3");
        self.file.ask(|db| page(db, sql, params![destination, now_ms, limit]))
    }
}

fn page(db: &Connection, sql: &str, row: impl rusqlite::Params) -> Result<Vec<Owed>> {
    let (mut statement, mut last) = (db.prepare_cached(sql)?, Last::default());
    let rows = statement.query_map(row, |row| read(row, &mut last))?;
    rows.collect()
}
