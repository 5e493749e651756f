//! Whether every instance was delivered or is owed.

use tidegate_catalogue::{Change, Choice, Reconciled};

use super::delivering::{DELIVERED, dead, record_to, retry};
use super::support::{Fixture, record};

fn reconciled(fixture: &Fixture) -> Reconciled {
    let (mut reader, mut found) = (fixture.reader(), Reconciled::default());
    while !found.is_done() {
        reader.reconcile(&mut found).unwrap();
    }
    found
}

#[test]
fn what_is_neither_delivered_nor_owed_is_named() {
    let mut fixture = Fixture::new();
    assert!(reconciled(&fixture).named.is_empty());
    let records = [record_to(1, 1, 1, &["a"]), record_to(1, 1, 2, &["a", "b"]), record(2, 1, 1)];
    fixture.catalogue.enter(&records).unwrap();
    fixture.settle("b", &retry(9_000_000, true));
    assert!(reconciled(&fixture).named.is_empty(), "waiting and tried again");
    fixture.settle("a", &dead());
    let found = reconciled(&fixture);
    assert_eq!((found.dead, found.missing, found.named.len()), (2, 0, 2));
    assert!(found.named.iter().all(|one| one.is_dead && one.destination == "a"));
    fixture.change("a", Change::Retry, &Choice::default());
    fixture.settle("a", &DELIVERED);
    fixture.change("b", Change::Drop, &Choice::default());
    assert!(reconciled(&fixture).named.is_empty(), "delivered, and dropped by an operator");
    // Somebody has edited the file.
    let db = rusqlite::Connection::open(fixture.path()).unwrap();
    db.execute("DELETE FROM delivered WHERE destination = (SELECT id FROM destination WHERE name = 'a')", []).unwrap();
    let found = reconciled(&fixture);
    assert_eq!((found.dead, found.missing), (0, 2));
    assert!(found.named.iter().all(|one| !one.is_dead));
}
