//! What has ended is removed after its time, in steps; what is pending never is.

use rusqlite::Connection;
use tidegate_commitment::{Attempt, MAX_KEPT, Page, Retried};

use super::support::{DAY, Fixture, T0, asked, check, open, references};

fn reported(fixture: &mut Fixture, transaction: u32, instances: u32, now_ms: i64) -> i64 {
    let id = fixture.accept(1, transaction, instances, now_ms);
    fixture.requests.conclude(id, now_ms).unwrap();
    fixture.requests.record_attempt(id, Attempt::Reported, now_ms).unwrap();
    id
}

#[test]
fn what_is_reported_is_found_from_a_place_on() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.requests.last_reported_ms().unwrap(), None);
    fixture.accept(2, 1, 3, T0);
    let ids: Vec<i64> = (0..5).map(|number| reported(&mut fixture, number, 3, T0 + i64::from(number) / 2)).collect();
    let found = |place, limit| -> Vec<i64> {
        fixture.requests.reported(place, limit).unwrap().iter().map(|request| request.id).collect()
    };
    assert_eq!(found((T0, 0), 100), ids);
    assert_eq!(found((T0, ids[0]), 2), ids[1..3]);
    assert_eq!(found((T0 + 2, ids[4]), 100), []);
    assert_eq!(fixture.requests.last_reported_ms().unwrap(), Some(T0 + 2));
}

#[test]
fn after_thirty_days_what_has_ended_is_removed_in_small_steps() {
    let mut fixture = Fixture::new();
    let pending = fixture.accept(2, 1, 3, T0);
    let small: Vec<i64> = (0..20).map(|transaction| reported(&mut fixture, transaction, 3, T0)).collect();
    let large = reported(&mut fixture, 100, 9_000, T0 + 1);
    let later = reported(&mut fixture, 101, 3, T0 + DAY);
    assert!(!fixture.requests.prune(T0 + 30 * DAY).unwrap());
    assert!(fixture.requests.request(small[0]).unwrap().is_some());
    let now_ms = T0 + 30 * DAY + 2;
    assert!(fixture.requests.prune(now_ms).unwrap());
    assert!(small.iter().all(|id| fixture.requests.request(*id).unwrap().is_none()));
    // One that is half removed is seen by nobody.
    assert_eq!(fixture.requests.request(large).unwrap(), None);
    assert_eq!(fixture.requests.retry(large, now_ms).unwrap(), Retried::Unknown);
    assert_eq!(fixture.reader().list(Page { limit: 100, ..Page::default() }).unwrap().len(), 2);
    check(&fixture.path());
    // After a crash, it goes on.
    let path = fixture.path();
    let Fixture { directory: _directory, requests } = fixture;
    drop(requests);
    let mut requests = open(&path).unwrap();
    let steps = std::iter::from_fn(|| requests.prune(now_ms).unwrap().then_some(())).count();
    assert_eq!(steps, 3);
    let db = Connection::open(&path).unwrap();
    let count = |sql| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM request"), 2);
    assert_eq!(count("SELECT count(*) FROM reference"), 6);
    drop(db);
    // The Transaction UID is free again.
    requests.accept(&asked(1, 100), references(1), now_ms).unwrap();
    // Whatever the clock says, what is pending stays.
    while requests.prune(now_ms + 1000 * DAY).unwrap() {}
    assert!(requests.request(pending).unwrap().is_some() && requests.request(later).unwrap().is_none());
    check(&path);
}

#[test]
fn more_than_may_be_kept_is_removed_before_its_time_the_oldest_first() {
    let mut fixture = Fixture::new();
    let oldest = reported(&mut fixture, 1, 10, T0);
    let newer = reported(&mut fixture, 2, 10, T0 + 1);
    let path = fixture.path();
    let Fixture { directory: _directory, requests } = fixture;
    drop(requests);
    let db = Connection::open(&path).unwrap();
    let sql = "UPDATE request SET instances = ?1 WHERE id = ?2";
    db.execute(sql, (MAX_KEPT as i64 - 30, newer)).unwrap();
    drop(db);
    let mut requests = open(&path).unwrap();
    assert!(!requests.prune(T0 + 2).unwrap());
    assert!(requests.request(oldest).unwrap().is_some(), "it is as much as may be kept");
    let id = requests.accept(&asked(1, 3), references(1), T0 + 2).unwrap();
    requests.conclude(id, T0 + 2).unwrap();
    requests.record_attempt(id, Attempt::Reported, T0 + 2).unwrap();
    while requests.prune(T0 + 3).unwrap() {}
    assert_eq!(requests.request(oldest).unwrap(), None);
    assert!(requests.request(newer).unwrap().is_some() && requests.request(id).unwrap().is_some());
}
