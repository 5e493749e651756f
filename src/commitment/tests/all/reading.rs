//! The questions that people ask, and the views.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tidegate_commitment::{Attempt, Counts, Error, Filter, MAX_REFERENCES, Outcome, Page, Reader};

use super::support::{Fixture, MISSING, SECOND, T0, asked, check, directory, ids, open, path_in, reference};

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

#[test]
fn what_a_request_of_a_former_version_names_is_awaited() {
    let mut fixture = Fixture::new();
    let ended = fixture.evaluated(1, 1, T0);
    fixture.requests.record_attempt(ended, Attempt::Reported, T0).unwrap();
    let uids = |from: u32| (from..from + 2).map(|at| reference(at).sop_instance).collect::<Vec<_>>();
    fixture.requests.accept(&asked(1, 2), (7..9).map(reference).collect::<Vec<_>>().into_iter(), T0).unwrap();
    let Fixture { directory, requests } = fixture;
    drop(requests);
    let path = path_in(&directory);
    let db = Connection::open(&path).unwrap();
    db.execute_batch("DROP TABLE named; PRAGMA user_version = 2").unwrap();
    drop(db);
    let mut fixture = Fixture { requests: open(&path).unwrap(), directory };
    let mut reader = fixture.reader();
    assert_eq!(reader.are_awaited(&[uids(0), uids(7)].concat()).unwrap(), [false, false, true, true]);
    // An operator has the one that had ended reported again.
    fixture.requests.retry(ended, T0).unwrap();
    assert_eq!(reader.are_awaited(&uids(0)).unwrap(), [true; 2]);
    check(&path);
}

/// Retention asks for each page of its files, beside any number of requests.
#[test]
fn what_a_pending_request_names_is_awaited_and_found_by_index() {
    let mut fixture = Fixture::new();
    let (others, mine) = (MAX_REFERENCES as u32, MAX_REFERENCES as u32 + 100);
    for at in 0..3 {
        fixture.accept(1, at, others, T0);
    }
    let named: Vec<_> = (others..mine).map(reference).collect();
    let of = |from: usize, to: usize| named[from..to].iter().cloned();
    fixture.requests.accept(&asked(2, 1), of(0, 30), T0).unwrap();
    let evaluated = fixture.requests.accept(&asked(2, 2), of(30, 50), T0).unwrap();
    fixture.requests.conclude(evaluated, T0).unwrap();
    let ended = fixture.requests.accept(&asked(2, 3), of(40, 90), T0).unwrap();
    fixture.requests.conclude(ended, T0).unwrap();
    fixture.requests.record_attempt(ended, Attempt::Reported, T0).unwrap();
    let uids: Vec<_> = named.iter().map(|reference| reference.sop_instance.clone()).collect();
    let mut reader = fixture.reader();
    let began = Instant::now();
    for _ in 0..10 {
        let expected: Vec<_> = (0..100).map(|at| at < 50).collect();
        assert_eq!(reader.are_awaited(&uids).unwrap(), expected);
    }
    let a_look = began.elapsed() / 10;
    println!("a look {a_look:?}");
    assert!(a_look < Duration::from_millis(20), "{a_look:?}");
    // An operator has the last one reported again.
    fixture.requests.retry(ended, T0).unwrap();
    assert_eq!(reader.are_awaited(&uids[49..91]).unwrap().iter().filter(|is_awaited| **is_awaited).count(), 41);
}
