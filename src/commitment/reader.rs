//! Readers: the questions that people ask.

use std::path::Path;

use rusqlite::params;
use tidegate_database::{Error, PackedUid};

use crate::design::DESIGN;
use crate::named;
use crate::request::{Counts, Referenced, Request};
use crate::rows::{self, requests};

/// A connection that reads. It never waits for the writer, and a question takes at most [`QUERY_TIMEOUT`](tidegate_database::QUERY_TIMEOUT).
#[derive(Debug)]
pub struct Reader {
    file: tidegate_database::Reader,
}

/// Which requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// All that are kept.
    #[default]
    All,
    /// Those with something still to be done.
    Pending,
    /// Those whose report was given up.
    GivenUp,
}

/// A page of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page<'a> {
    /// Which.
    pub filter: Filter,
    /// Only those of this AE title.
    pub calling: Option<&'a str>,
    /// Only those with ids below this one: the last of the page before.
    pub before: Option<i64>,
    /// Most requests.
    pub limit: u32,
}

impl Reader {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// Any but [`Error::Full`]. Where no file is, no request was ever accepted.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { file: tidegate_database::Reader::open(&DESIGN, path)? })
    }

    /// Requests, the last first.
    ///
    /// # Errors
    /// Those of [`tidegate_database::Reader::ask`], as of all questions.
    pub fn list(&mut self, page: Page<'_>) -> Result<Vec<Request>, Error> {
        let sql = match page.filter {
            Filter::All => requests!(
                "request WHERE state < 4 AND id < ?1 AND (?3 IS NULL OR calling = ?3) ORDER BY id DESC LIMIT ?2"
            ),
            Filter::Pending => requests!(
                "request INDEXED BY request_pending WHERE state < 2 AND id < ?1 AND (?3 IS NULL OR calling = ?3)
                    ORDER BY id DESC LIMIT ?2"
            ),
            Filter::GivenUp => requests!(
                "request INDEXED BY request_failed WHERE state = 3 AND id < ?1 AND (?3 IS NULL OR calling = ?3)
                    ORDER BY id DESC LIMIT ?2"
            ),
        };
        let Page { calling, before, limit, .. } = page;
        self.file.ask(|db| {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit, calling], rows::request)?;
            rows.collect()
        })
    }

    /// One request.
    pub fn request(&mut self, id: i64) -> Result<Option<Request>, Error> {
        self.file.ask(|db| rows::find(db, id))
    }

    /// The references of a request from a position on, at most `limit`.
    pub fn references(&mut self, id: i64, from: u32, limit: u32) -> Result<Vec<Referenced>, Error> {
        self.file.ask(|db| rows::references(db, id, from, limit))
    }

    /// Which of these instances are named by a request with something still to be done. Of one in some millions it may be said by mistake.
    pub fn are_awaited(&mut self, uids: &[PackedUid]) -> Result<Vec<bool>, Error> {
        self.file.ask(|db| named::are_awaited(db, uids))
    }

    /// What the record has in all.
    pub fn counts(&mut self) -> Result<Counts, Error> {
        self.file.ask(rows::counts)
    }
}
