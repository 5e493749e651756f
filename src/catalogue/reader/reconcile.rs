//! Whether every stored instance was delivered to each destination that it was received for, or is owed to it.

use rusqlite::{Result, Row, params};
use tidegate_database::{Error, PackedUid};

use super::Reader;

/// Instances of one question.
const RANGE: i64 = 20_000;
/// Instances that are named. All of them are counted.
const MAX_NAMED: usize = 100;

/// What became of the deliveries of all instances that are there.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// Deliveries that are dead.
    pub dead: u64,
    /// Deliveries that are neither made nor owed, nor dropped.
    pub missing: u64,
    /// The first of both.
    pub named: Vec<NotDelivered>,
    after: i64,
    is_done: bool,
}

/// An instance that a destination does not have, and will not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDelivered {
    /// (0008,0018)
    pub sop_instance_uid: PackedUid,
    /// The name of the destination.
    pub destination: String,
    /// It is dead, and not missing.
    pub is_dead: bool,
}

impl Reconciled {
    /// Whether all instances were looked at.
    pub fn is_done(&self) -> bool {
        self.is_done
    }
}

impl Reader {
    /// Looks at the next instances. It is called until [`Reconciled::is_done`].
    ///
    /// # Errors
    /// Those of all questions.
    pub fn reconcile(&mut self, found: &mut Reconciled) -> std::result::Result<(), Error> {
        let sql = "SELECT instance.uid, destination.name, delivery.state IS NOT NULL
            FROM instance CROSS JOIN series ON series.id = instance.series
            CROSS JOIN arrival ON arrival.id = instance.arrival
            CROSS JOIN source_destination ON source_destination.source = arrival.source
            CROSS JOIN destination ON destination.id = source_destination.destination
            LEFT JOIN delivery ON delivery.destination = destination.id AND delivery.state IN (0, 1, 2, 3)
                AND delivery.study = series.study AND delivery.series = series.id
                AND delivery.number = ifnull(instance.number, 0) AND delivery.instance = instance.id
            WHERE instance.id > ?1 AND instance.id <= ?2 AND instance.state = 0 AND (delivery.state = 2 OR delivery.state IS NULL
                AND NOT EXISTS (SELECT 1 FROM delivered
                    WHERE delivered.instance = instance.id AND delivered.destination = destination.id))";
        let after = found.after;
        let (rows, last) = self.file.ask(|db| {
            let last: Option<i64> = db.query_row("SELECT max(id) FROM instance", [], |row| row.get(0))?;
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map(params![after, after + RANGE], read)?;
            Ok((rows.collect::<Result<Vec<_>>>()?, last.unwrap_or(0)))
        })?;
        for not_delivered in rows {
            *(if not_delivered.is_dead { &mut found.dead } else { &mut found.missing }) += 1;
            if found.named.len() < MAX_NAMED {
                found.named.push(not_delivered);
            }
        }
        found.after += RANGE;
        found.is_done = found.after >= last;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<NotDelivered> {
    let sop_instance_uid =
        PackedUid::from_bytes(row.get_ref(0)?.as_bytes()?).map_err(|_| rusqlite::Error::InvalidQuery)?;
    Ok(NotDelivered { sop_instance_uid, destination: row.get(1)?, is_dead: row.get(2)? })
}
