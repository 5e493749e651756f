//! Whether the file agrees with itself.

use rusqlite::Connection;

use crate::catalogue::Catalogue;
use crate::open::DESIGN;
use tidegate_database::Error;

/// Problems that are told.
const MAX_PROBLEMS: usize = 100;

/// Something that is wrong within the file. Its text names rows, never a value of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A page or an index is damaged.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// A row names one that is not there.
    #[error("row {row} of {table} names a row of {parent} that is not there")]
    Dangling {
        /// Its table.
        table: String,
        /// Its number; 0 where rows have none.
        row: i64,
        /// The other table.
        parent: String,
    },
    /// The sums of a series are not those of its instances.
    #[error("series {id} does not have as many instances, gone instances or bytes as it says")]
    Sums {
        /// The row.
        id: i64,
    },
    /// The sums of a study's deliveries to a destination are not those of its rows.
    #[error("study {study} does not have as many deliveries to destination {destination} as it says")]
    Deliveries {
        /// The row of the study.
        study: i64,
        /// The row of the destination.
        destination: i64,
    },
    /// The sums of a destination are not those of its studies.
    #[error("destination {id} does not have as many deliveries as it says")]
    Destination {
        /// The row.
        id: i64,
    },
    /// An instance owes a delivery under the number of another study or series, or to no purpose: its file is not there.
    #[error("instance {id} owes a delivery to destination {destination} in a place or a state that is not its own")]
    Misplaced {
        /// The row of the instance.
        id: i64,
        /// The row of the destination.
        destination: i64,
    },
}

impl Catalogue {
    /// Reads the whole file: its pages and indices, the rows that name others, and all sums. Takes minutes for many millions of instances, during
    /// which nothing is entered.
    ///
    /// # Errors
    /// [`Error::Vanished`], [`Error::Io`], or any other than damage: that is what the result tells.
    pub fn check(&self) -> Result<Vec<Problem>, Error> {
        self.is_in_place()?;
        let checks = [damaged, dangling, sums, deliveries, destinations, misplaced];
        let mut problems = Vec::new();
        for check in checks {
            match check(self.connection(), MAX_PROBLEMS - problems.len()).map_err(DESIGN.sqlite(self.path())) {
                Ok(found) => problems.extend(found),
                Err(Error::Corrupt { cause, .. }) => problems.push(Problem::Damaged(cause)),
                Err(error) => return Err(error),
            }
            // Of a damaged file, nothing else can be told.
            if !problems.is_empty() {
                break;
            }
        }
        Ok(problems)
    }
}

fn damaged(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Problem>> {
    let mut statement = db.prepare(&format!("PRAGMA integrity_check({limit})"))?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let texts = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(texts.into_iter().filter(|text| text != "ok").map(Problem::Damaged).collect())
}

fn dangling(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Problem>> {
    let mut statement = db.prepare("PRAGMA foreign_key_check")?;
    let rows = statement.query_map([], |row| {
        let row_id = row.get::<_, Option<i64>>(1)?.unwrap_or(0);
        Ok(Problem::Dangling { table: row.get(0)?, row: row_id, parent: row.get(2)? })
    })?;
    rows.take(limit).collect()
}

fn sums(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Problem>> {
    let sql = "SELECT series.id FROM series LEFT JOIN (
            SELECT series, sum(state = 0) AS instances, sum(iif(state = 0, bytes, 0)) AS bytes, sum(state <> 0) AS gone
            FROM instance GROUP BY series) AS counted ON counted.series = series.id
        WHERE (series.instances, series.bytes, series.gone)
            <> (ifnull(counted.instances, 0), ifnull(counted.bytes, 0), ifnull(counted.gone, 0))";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(Problem::Sums { id: row.get(0)? }))?;
    rows.take(limit).collect()
}

fn deliveries(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Problem>> {
    let sql = "WITH owed AS (
            SELECT delivery.study, destination, sum(delivery.state = 0) AS waiting,
                sum(iif(delivery.state < 2, bytes, 0)) AS bytes, sum(delivery.state = 1) AS retrying, sum(delivery.state = 2) AS dead,
                sum(delivery.state = 3) AS sent
            FROM delivery JOIN instance ON instance.id = delivery.instance GROUP BY delivery.study, destination),
        had AS (
            SELECT series.study, destination, count(*) AS delivered
            FROM delivered JOIN instance ON instance.id = delivered.instance JOIN series ON series.id = instance.series
            WHERE status IS NOT NULL GROUP BY series.study, destination),
        places AS (
            SELECT study, destination FROM study_destination UNION SELECT study, destination FROM owed
            UNION SELECT study, destination FROM had)
        SELECT places.study, places.destination FROM places
        LEFT JOIN study_destination AS s USING (study, destination)
        LEFT JOIN owed USING (study, destination) LEFT JOIN had USING (study, destination)
        WHERE (ifnull(s.waiting, 0), ifnull(s.waiting_bytes, 0), ifnull(s.retrying, 0), ifnull(s.dead, 0), ifnull(s.sent, 0), ifnull(s.delivered, 0))
            <> (ifnull(owed.waiting, 0), ifnull(owed.bytes, 0), ifnull(owed.retrying, 0), ifnull(owed.dead, 0), ifnull(owed.sent, 0), ifnull(had.delivered, 0))
            OR (s.since_ms IS NOT NULL) <> (ifnull(s.waiting, 0) + ifnull(s.retrying, 0) > 0)";
    let mut statement = db.prepare(sql)?;
    let rows =
        statement.query_map([], |row| Ok(Problem::Deliveries { study: row.get(0)?, destination: row.get(1)? }))?;
    rows.take(limit).collect()
}

fn destinations(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Problem>> {
    let sql = "SELECT d.id FROM destination AS d
        WHERE (waiting, waiting_bytes, retrying, dead, sent, delivered) <> (
            SELECT ifnull(sum(s.waiting), 0), ifnull(sum(s.waiting_bytes), 0), ifnull(sum(s.retrying), 0), ifnull(sum(s.dead), 0),
                ifnull(sum(s.sent), 0), ifnull(sum(s.delivered), 0)
            FROM study_destination AS s WHERE s.destination = d.id)";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(Problem::Destination { id: row.get(0)? }))?;
    rows.take(limit).collect()
}

fn misplaced(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Problem>> {
    let sql = "SELECT instance, destination FROM delivery JOIN instance ON instance.id = delivery.instance
            JOIN series ON series.id = instance.series
        WHERE (delivery.study, delivery.series, delivery.number) <> (series.study, series.id, ifnull(instance.number, 0))
            OR (delivery.state < 2 AND instance.state <> 0)";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok(Problem::Misplaced { id: row.get(0)?, destination: row.get(1)? }))?;
    rows.take(limit).collect()
}
