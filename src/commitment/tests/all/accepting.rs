//! What is accepted, and what is not.

use std::fs;

use rusqlite::Connection;
use tidegate_commitment::{
    MAX_PENDING, MAX_PENDING_OF_ADDRESS, MAX_PENDING_OF_PEER, MAX_PENDING_REFERENCES_OF_PEER, MAX_REFERENCES,
    NotAccepted, Outcome, State,
};

use super::support::{Fixture, T0, asked, check, open, peer, reference, references};

#[test]
fn an_accepted_request_is_there_as_it_was_asked_also_after_a_restart() {
    let mut fixture = Fixture::new();
    let id = fixture.accept(1, 1, 5, T0);
    let path = fixture.path();
    let Fixture { directory: _directory, requests } = fixture;
    drop(requests);
    let mut requests = open(&path).unwrap();
    let request = requests.request(id).unwrap().unwrap();
    assert_eq!((&request.asked, request.state, request.instances), (&asked(1, 1), State::Received, 5));
    assert_eq!((request.received_ms, request.next_ms, request.attempts), (T0, Some(T0), 0));
    let kept = requests.references(id, 0, 100).unwrap();
    let expected: Vec<_> = (0..5).map(|at| (at, reference(at), None)).collect();
    assert_eq!(
        kept.into_iter().map(|kept| (kept.position, kept.reference, kept.outcome)).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(requests.references(id, 3, 1).unwrap()[0].position, 3);
    assert_eq!(requests.due(T0, 9, |_| true).unwrap(), [request], "at once");
}

#[test]
fn a_transaction_uid_in_use_is_refused_while_the_other_request_is_pending_or_kept() {
    let mut fixture = Fixture::new();
    let id = fixture.accept(1, 1, 1, T0);
    let refused = |fixture: &mut Fixture| {
        let error = fixture.requests.accept(&asked(1, 1), references(1), T0).unwrap_err();
        assert!(matches!(error, NotAccepted::Duplicate { id: other } if other == id), "{error}");
    };
    refused(&mut fixture);
    fixture.requests.record_outcomes(id, &[(0, Outcome::Committed)]).unwrap();
    fixture.requests.conclude(id, T0).unwrap();
    refused(&mut fixture);
    fixture.requests.record_attempt(id, tidegate_commitment::Attempt::Reported, T0).unwrap();
    refused(&mut fixture);
    // The same device from another address; but not another AE title.
    let mut moved = asked(1, 1);
    moved.peer.address = peer(2).address;
    assert!(matches!(fixture.requests.accept(&moved, references(1), T0), Err(NotAccepted::Duplicate { .. })));
    moved.peer.calling = peer(2).calling;
    fixture.requests.accept(&moved, references(1), T0).unwrap();
}

#[test]
fn a_request_of_nothing_and_one_of_too_much_are_refused_and_leave_nothing() {
    let mut fixture = Fixture::new();
    let error = fixture.requests.accept(&asked(1, 1), references(0), T0).unwrap_err();
    assert!(matches!(error, NotAccepted::Empty), "{error}");
    let count = MAX_REFERENCES as u32 + 1;
    let error = fixture.requests.accept(&asked(1, 1), references(count), T0).unwrap_err();
    assert!(matches!(error, NotAccepted::TooManyReferences { count: 100_001 }), "{error}");
    assert_eq!(fixture.requests.counts().unwrap(), Default::default());
    fixture.accept(1, 1, MAX_REFERENCES as u32, T0);
    check(&fixture.path());
}

#[test]
fn a_peer_cannot_fill_the_record_for_others() {
    let mut fixture = Fixture::new();
    for transaction in 0..MAX_PENDING_OF_PEER as u32 {
        fixture.accept(1, transaction, 1, T0);
    }
    let error = fixture.requests.accept(&asked(1, 5000), references(1), T0).unwrap_err();
    assert!(matches!(error, NotAccepted::PeerIsFull { requests: MAX_PENDING_OF_PEER, .. }), "{error}");
    // What has ended does not count.
    let id = fixture.evaluated(2, 1, T0);
    let done = fixture.due(T0)[0];
    fixture.requests.conclude(done, T0).unwrap();
    fixture.requests.record_attempt(done, tidegate_commitment::Attempt::Reported, T0).unwrap();
    fixture.accept(1, 5000, 1, T0);
    assert!(fixture.requests.request(id).unwrap().is_some());
}

#[test]
fn the_record_has_a_bound_for_all_peers_and_for_the_references_of_one() {
    let mut fixture = Fixture::new();
    fixture.accept(1, 1, 1, T0);
    // As if others had asked: writing ten thousand one by one would test nothing more.
    let db = Connection::open(fixture.path()).unwrap();
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    let more = |count: u64, instances: u64| {
        let sql = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
            INSERT INTO request (transaction_uid, calling, called, address, association, received_ms, state, instances, next_ms, counted_ms)
            SELECT 'x' || n, 'AE' || (n / 900), 'T', '10.0.0.1', 1, 0, n % 2, ?2, 0, 0 FROM n";
        db.execute(sql, (count as i64, instances as i64)).unwrap();
    };
    more(MAX_PENDING - 2, 1);
    fixture.accept(1, 2, 1, T0);
    let error = fixture.requests.accept(&asked(1, 3), references(1), T0).unwrap_err();
    assert!(matches!(error, NotAccepted::Full { requests: MAX_PENDING, references: MAX_PENDING }), "{error}");
    db.execute("DELETE FROM request WHERE calling LIKE 'AE%'", []).unwrap();
    let sql = "UPDATE request SET instances = ?1 WHERE transaction_uid LIKE '%.1'";
    db.execute(sql, [MAX_PENDING_REFERENCES_OF_PEER as i64 - 5]).unwrap();
    fixture.accept(1, 3, 4, T0);
    let error = fixture.requests.accept(&asked(1, 4), references(1), T0).unwrap_err();
    assert!(matches!(error, NotAccepted::PeerIsFull { requests: 3, .. }), "{error}");
    db.execute("DELETE FROM request", []).unwrap();
    more(100, 99_999);
    fixture.accept(1, 5, 100, T0);
    let error = fixture.requests.accept(&asked(1, 6), references(1), T0).unwrap_err();
    assert!(matches!(error, NotAccepted::Full { references: 10_000_000, .. }), "{error}");
}

#[test]
fn an_address_gains_nothing_by_calling_itself_by_many_ae_titles() {
    let mut fixture = Fixture::new();
    let db = Connection::open(fixture.path()).unwrap();
    let sql = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
        INSERT INTO request (transaction_uid, calling, called, address, association, received_ms, state, instances, next_ms, counted_ms)
        SELECT 'x' || n, 'AE' || n, 'T', '10.1.2.1', 1, 0, n % 2, 1, 0, 0 FROM n";
    db.execute(sql, [MAX_PENDING_OF_ADDRESS as i64 - 1]).unwrap();
    fixture.accept(1, 1, 1, T0);
    let error = fixture.requests.accept(&asked(1, 2), references(1), T0).unwrap_err();
    assert!(matches!(error, NotAccepted::AddressIsFull { requests: MAX_PENDING_OF_ADDRESS }), "{error}");
    fixture.accept(2, 2, 1, T0);
}

#[test]
fn no_id_is_used_twice_also_where_the_file_was_deleted() {
    let mut fixture = Fixture::new();
    let first = fixture.accept(1, 1, 1, T0);
    assert_eq!(first, T0 + 1, "ids begin with the time");
    // The last row is removed, and its id is not given again.
    let db = Connection::open(fixture.path()).unwrap();
    db.execute_batch("DELETE FROM named; DELETE FROM reference; DELETE FROM request").unwrap();
    drop(db);
    let second = fixture.accept(1, 2, 1, T0);
    assert_eq!(second, first + 1);
    let path = fixture.path();
    let Fixture { directory, requests } = fixture;
    drop(requests);
    fs::remove_file(&path).unwrap();
    // Fifty a second came in before, and it took a second.
    let mut requests = tidegate_commitment::Requests::open(&path, super::support::RETRY_FOR, T0 + 1000).unwrap();
    let third = requests.accept(&asked(1, 1), references(1), T0 + 1000).unwrap();
    assert!(third > second + 50, "{third}");
    drop(requests);
    // Another opening begins nothing anew.
    let mut requests = tidegate_commitment::Requests::open(&path, super::support::RETRY_FOR, T0 + 9000).unwrap();
    assert_eq!(requests.accept(&asked(1, 2), references(1), T0 + 9000).unwrap(), third + 1);
    drop(directory);
}
