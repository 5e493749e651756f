//! How far a study or an instance has come to its destinations.

use rusqlite::{Connection, Result, Row};
use tidegate_database::Error;

use super::Reader;
use crate::delivery::{DeliveryState, Sums};

/// The progress of a study to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyDelivery {
    /// The name of the destination.
    pub destination: String,
    /// What is owed, and what it has had.
    pub sums: Sums,
}

/// A file of an instance, on its way to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceDelivery {
    /// The name of the destination.
    pub destination: String,
    /// Where it is on its way.
    pub progress: InstanceProgress,
    /// Of the last answer.
    pub status: Option<u16>,
    /// What failed, or what the destination said beside its success.
    pub why: Option<String>,
}

/// Where an instance is on its way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceProgress {
    /// It is owed.
    Owed {
        /// The state of the delivery.
        state: DeliveryState,
        /// Since when.
        since_ms: i64,
        /// Failed attempts so far.
        attempts: u32,
        /// When it is tried again.
        due_ms: Option<i64>,
        /// When it was tried last, or was found to be impossible.
        last_ms: Option<i64>,
    },
    /// The destination has had it.
    Delivered {
        /// Since when.
        at_ms: i64,
    },
    /// An operator has dropped it.
    Dropped {
        /// When.
        at_ms: i64,
    },
}

impl Reader {
    /// How far the study with that UID has come to each of its destinations, by name.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`].
    pub fn study_deliveries(&mut self, study_uid: &str) -> std::result::Result<Vec<StudyDelivery>, Error> {
        let sql = "SELECT s.waiting, s.waiting_bytes, s.retrying, s.dead, s.delivered, s.sent, name
            FROM study CROSS JOIN study_destination AS s ON s.study = study.id CROSS JOIN destination ON destination.id = s.destination
            WHERE study.uid = ?1 ORDER BY name";
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([study_uid], |row| {
                Ok(StudyDelivery { destination: row.get(6)?, sums: Sums::read(row, 0)? })
            })?;
            rows.collect()
        })
    }
}

/// The sums of a study over all of its destinations; `None`: nothing of it was ever owed.
pub(super) fn of_study(db: &Connection, study: i64) -> Result<Option<Sums>> {
    let sql =
        "SELECT ifnull(sum(waiting), 0), ifnull(sum(waiting_bytes), 0), ifnull(sum(retrying), 0), ifnull(sum(dead), 0),
            ifnull(sum(delivered), 0), ifnull(sum(sent), 0), count(*)
        FROM study_destination WHERE study = ?1";
    db.prepare_cached(sql)?.query_row([study], |row| Ok((row.get::<_, i64>(6)? > 0).then_some(Sums::read(row, 0)?)))
}

/// A file of an instance on its way to each destination that is owed it, has had it, or for which it was dropped, by name.
pub(super) fn of_instance(db: &Connection, instance: i64) -> Result<Vec<InstanceDelivery>> {
    // By the key of each delivery, as `Duties` looks them up.
    let sql =
        "SELECT destination.name, delivery.state, owed_ms, attempts, delivery.due_ms, delivery.last_ms, status, why
            FROM instance CROSS JOIN series ON series.id = instance.series CROSS JOIN destination
            CROSS JOIN delivery ON delivery.destination = destination.id AND delivery.state IN (0, 1, 2, 3)
                AND delivery.study = series.study AND delivery.series = series.id
                AND delivery.number = ifnull(instance.number, 0) AND delivery.instance = instance.id
            WHERE instance.id = ?1
        UNION ALL
        SELECT name, NULL, at_ms, 0, 0, NULL, status, why
            FROM delivered CROSS JOIN destination ON destination.id = delivered.destination WHERE instance = ?1
        ORDER BY name";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([instance], read)?;
    rows.collect()
}

fn read(row: &Row<'_>) -> Result<InstanceDelivery> {
    let (at_ms, status): (i64, Option<u16>) = (row.get(2)?, row.get(6)?);
    let progress = match row.get::<_, Option<i64>>(1)?.map(DeliveryState::of) {
        Some(state) => {
            let due_ms = Some(row.get(4)?).filter(|_| matches!(state, DeliveryState::Retrying | DeliveryState::Sent));
            let (attempts, last_ms) = (row.get(3)?, row.get(5)?);
            InstanceProgress::Owed { state, since_ms: at_ms, attempts, due_ms, last_ms }
        }
        None if status.is_none() => InstanceProgress::Dropped { at_ms },
        None => InstanceProgress::Delivered { at_ms },
    };
    Ok(InstanceDelivery { destination: row.get(0)?, progress, status, why: row.get(7)? })
}
