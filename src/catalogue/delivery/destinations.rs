//! The rows of destinations.

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::{DestinationRow, Sums};

const DESTINATIONS: &str = "SELECT id, name, paused, waiting, waiting_bytes, retrying, dead, delivered, sent, asked,
        (SELECT min(since_ms) FROM study_destination AS s WHERE s.destination = destination.id AND since_ms IS NOT NULL),
        (SELECT min(due_ms) FROM delivery WHERE delivery.destination = destination.id AND state = 1),
        (SELECT min(due_ms) FROM delivery WHERE delivery.destination = destination.id AND state = 3)
    FROM destination";

fn read(row: &Row<'_>) -> Result<DestinationRow> {
    Ok(DestinationRow {
        id: row.get(0)?,
        name: row.get(1)?,
        is_paused: row.get(2)?,
        sums: Sums::read(row, 3)?,
        asked: row.get(9)?,
        since_ms: row.get(10)?,
        due_ms: row.get(11)?,
        sent_due_ms: row.get(12)?,
    })
}

/// All destinations, by name.
pub(crate) fn all(db: &Connection) -> Result<Vec<DestinationRow>> {
    let mut statement = db.prepare_cached(&format!("{DESTINATIONS} ORDER BY name"))?;
    let rows = statement.query_map([], read)?;
    rows.collect()
}

/// The destination of that name.
pub(crate) fn of_name(db: &Connection, name: &str) -> Result<Option<DestinationRow>> {
    let sql = format!("{DESTINATIONS} WHERE name = ?1");
    db.prepare_cached(&sql)?.query_row([name], read).optional()
}
