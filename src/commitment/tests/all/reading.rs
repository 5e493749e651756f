//! The questions that people ask, and the views.

use rusqlite::Connection;
use tidegate_commitment::{Attempt, Counts, Error, Filter, Outcome, Page, Reader};

use super::support::{Fixture, MISSING, SECOND, T0, directory, ids, path_in};

#[test]
fn requests_are_listed_by_state_and_page_the_last_first() {
    let mut fixture = Fixture::new();
    let mut reader = fixture.reader();
    assert_eq!(reader.counts().unwrap(), Counts::default());
    let received: Vec<i64> = (0..5).map(|at| fixture.accept(1, at, 1, T0 + i64::from(at))).collect();
    let evaluated = fixture.evaluated(2, 1, T0 - SECOND);
    let reported = fixture.evaluated(2, 2, T0);
    fixture.requests.record_attempt(reported, Attempt::Reported, T0).unwrap();
    let path = fixture.path();
    let mut list = |filter, before, limit| ids(&reader.list(Page { filter, before, limit, calling: None }).unwrap());
    let mut pending = received.clone();
    pending.push(evaluated);
    pending.reverse();
    assert_eq!(list(Filter::Pending, None, 100), pending);
    assert_eq!(list(Filter::Pending, None, 2), pending[..2]);
    assert_eq!(list(Filter::Pending, Some(pending[1]), 2), pending[2..4]);
    assert_eq!(list(Filter::All, None, 1), [reported]);
    assert_eq!(list(Filter::All, Some(received[0]), 1), []);
    assert_eq!(list(Filter::GivenUp, None, 9), []);
    let Fixture { directory: _directory, requests } = fixture;
    drop(requests);
    // With no time to retry, the next failure is the last.
    let mut requests = tidegate_commitment::Requests::open(&path, std::time::Duration::ZERO, T0).unwrap();
    requests.record_attempt(evaluated, Attempt::Failed { status: Some(0x0110), why: "away" }, T0).unwrap();
    assert_eq!(list(Filter::GivenUp, None, 9), [evaluated]);
    let counts = Counts { received: 5, evaluated: 0, failed: 1, oldest_ms: Some(T0) };
    assert_eq!((reader.counts().unwrap(), requests.counts().unwrap()), (counts, counts));
    let request = reader.request(evaluated).unwrap().unwrap();
    assert_eq!((request.last_status, &*request.last_comment, request.committed), (Some(0x0110), "away", 2));
    assert_eq!(reader.references(evaluated, 1, 9).unwrap().len(), 1);
    assert_eq!(reader.request(1).unwrap(), None);
}

#[test]
fn where_nobody_has_asked_there_is_no_file() {
    let directory = directory();
    assert!(matches!(Reader::open(&path_in(&directory)), Err(Error::Io { .. })));
}

#[test]
fn the_views_say_it_in_words() {
    let mut fixture = Fixture::new();
    let id = fixture.accept(1, 1, 3, T0);
    fixture.requests.record_outcomes(id, &[(0, Outcome::Committed), (1, MISSING)]).unwrap();
    let db = Connection::open(fixture.path()).unwrap();
    let sql = "SELECT group_concat(sop_instance_uid || ' ' || sop_class_uid || ' ' || outcome, '; ') FROM commitment_references WHERE request = ?1";
    let text: String = db.query_row(sql, [id], |row| row.get(0)).unwrap();
    let uid = "1.2.840.113619.2.55.3.2831183874.1190000000";
    let class = "1.2.840.10008.5.1.4.1.1.2";
    assert_eq!(text, format!("{uid}.0 {class} committed; {uid}.1 {class} 0112; {uid}.2 {class} unknown"));
    fixture.requests.conclude(id, T0).unwrap();
    fixture.requests.record_attempt(id, Attempt::Failed { status: Some(0x0110), why: "away" }, T0).unwrap();
    let sql = "SELECT transaction_uid, calling_ae_title, called_ae_title, address, association, received, state, instances, committed, not_committed,
        evaluated, attempts, last_status, last_comment, ended, substr(next_attempt, 1, 16) FROM commitment_requests WHERE id = ?1";
    let row = db
        .query_row(sql, [id], |row| {
            let text = |at: usize| {
                row.get::<_, Option<String>>(at).or_else(|_| row.get::<_, i64>(at).map(|n| Some(n.to_string())))
            };
            (0..16).map(|at| text(at).map(Option::unwrap_or_default)).collect::<Result<Vec<_>, _>>()
        })
        .unwrap();
    let expected = "1.2.3.1.1|CT1|TIDEGATE|10.1.2.1|7|2025-11-24T16:00:00Z|evaluated|3|1|2|2025-11-24T16:00:00Z|1|0110|away||2025-11-24T16:00";
    assert_eq!(row.join("|"), expected);
}
