//! Requests that are reported, for those who tell of them.

use rusqlite::Connection;
use tidegate_database::Error;

use crate::request::Request;
use crate::requests::Requests;
use crate::rows::{self, requests};

impl Requests {
    /// Requests that were reported, from behind a time and an id on, in the order of both, at most `limit`.
    ///
    /// # Errors
    /// Those of a question.
    pub fn reported(&self, (ended_ms, id): (i64, i64), limit: u32) -> Result<Vec<Request>, Error> {
        let sql = requests!(
            "request INDEXED BY request_ended WHERE state > 1 AND state = 2 AND ended_ms >= ?1 AND (ended_ms, request.id) > (?1, ?2)
            ORDER BY ended_ms, request.id LIMIT ?3"
        );
        self.ask(|db: &Connection| {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map((ended_ms, id, limit), rows::request)?;
            rows.collect()
        })
    }

    /// When a request was reported last, in milliseconds since 1970; `None`: none was.
    ///
    /// # Errors
    /// Those of a question.
    pub fn last_reported_ms(&self) -> Result<Option<i64>, Error> {
        let sql = "SELECT max(ended_ms) FROM request INDEXED BY request_ended WHERE state > 1 AND state = 2";
        self.ask(|db| db.query_row(sql, [], |row| row.get(0)))
    }
}
