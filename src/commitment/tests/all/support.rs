//! Requests, and a record in a directory of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tidegate_commitment::{Asked, FailureReason, Outcome, Peer, Reader, Reference, Requests};

/// The clock at the beginning of a test.
pub(crate) const T0: i64 = 1_764_000_000_000;

pub(crate) const SECOND: i64 = 1000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const DAY: i64 = 24 * 60 * MINUTE;

pub(crate) const RETRY_FOR: Duration = Duration::from_secs(24 * 3600);

pub(crate) const MISSING: Outcome = Outcome::Failed(FailureReason::NoSuchObjectInstance);

pub(crate) use super::database::directory;

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) requests: Requests,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = directory();
        let requests = open(&path_in(&directory)).unwrap();
        Self { directory, requests }
    }

    pub(crate) fn path(&self) -> PathBuf {
        path_in(&self.directory)
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }

    pub(crate) fn accept(&mut self, peer: u32, transaction: u32, instances: u32, now_ms: i64) -> i64 {
        self.requests.accept(&asked(peer, transaction), references(instances), now_ms).unwrap()
    }

    /// Accepts a request, and finds all of its instances.
    pub(crate) fn evaluated(&mut self, peer: u32, transaction: u32, now_ms: i64) -> i64 {
        let id = self.accept(peer, transaction, 2, now_ms);
        self.requests.record_outcomes(id, &[(0, Outcome::Committed), (1, Outcome::Committed)]).unwrap();
        self.requests.conclude(id, now_ms).unwrap().unwrap();
        id
    }

    pub(crate) fn due(&mut self, now_ms: i64) -> Vec<i64> {
        ids(&self.requests.due(now_ms, 1000, |_| true).unwrap())
    }
}

pub(crate) fn ids(requests: &[tidegate_commitment::Request]) -> Vec<i64> {
    requests.iter().map(|request| request.id).collect()
}

pub(crate) fn path_in(directory: &TempDir) -> PathBuf {
    directory.path().join("commitments.db")
}

pub(crate) fn open(path: &Path) -> Result<Requests, tidegate_commitment::Error> {
    Requests::open(path, RETRY_FOR, T0)
}

pub(crate) fn peer(number: u32) -> Peer {
    Peer { calling: format!("CT{number}"), address: format!("10.1.2.{number}") }
}

pub(crate) fn asked(peer_number: u32, transaction: u32) -> Asked {
    Asked {
        transaction_uid: format!("1.2.3.{peer_number}.{transaction}"),
        peer: peer(peer_number),
        called: "TIDEGATE".to_owned(),
        association: 7,
    }
}

pub(crate) fn reference(number: u32) -> Reference {
    Reference {
        sop_class: "1.2.840.10008.5.1.4.1.1.2".parse().unwrap(),
        sop_instance: format!("1.2.840.113619.2.55.3.2831183874.1190000000.{number}").parse().unwrap(),
    }
}

pub(crate) fn references(count: u32) -> impl ExactSizeIterator<Item = Reference> {
    (0..count as usize).map(|number| reference(number as u32))
}

/// The file is whole, and each reference has its request and each request its references.
pub(crate) fn check(path: &Path) {
    let db = Connection::open(path).unwrap();
    let text: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).unwrap();
    assert_eq!(text, "ok");
    let dangling = "SELECT count(*) FROM reference WHERE request NOT IN (SELECT id FROM request)";
    let lacking = "SELECT count(*) FROM request WHERE state < 4
        AND instances <> (SELECT count(*) FROM reference WHERE request = id)";
    // A request may name an instance more than once.
    let unnamed = "SELECT count(*) FROM request
        JOIN (SELECT request, count(DISTINCT sop_instance) AS instances FROM reference GROUP BY request) AS of ON of.request = id
        LEFT JOIN (SELECT request, count(*) AS rows FROM named GROUP BY request) AS have ON have.request = id
        WHERE state < 4 AND ifnull(have.rows, 0) <> of.instances";
    let left = "SELECT count(*) FROM named WHERE request NOT IN (SELECT id FROM request)";
    for sql in [dangling, lacking, unnamed, left] {
        assert_eq!(db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "{sql}");
    }
}
