//! What was sent is owed until it is committed, and a report counts for what was sent before its transaction.

use tidegate_catalogue::{
    Change, Choice, DeliveryNote, DeliveryRow, DeliverySearch, DeliveryState, Outcome, Owed, Record, Sums,
};

use super::delivering::{dead, record_to, retry};
use super::support::Fixture;

const SENT: Outcome = Outcome::Sent { due_ms: 100, status: 0xB007, why: None };

fn asked(transaction: i64, due_ms: i64) -> Outcome {
    Outcome::Asked { transaction, due_ms }
}

impl Fixture {
    fn id(&self) -> i64 {
        self.reader().destination("a").unwrap().unwrap().id
    }

    fn sums_of_a(&self) -> Sums {
        self.reader().destination("a").unwrap().unwrap().sums
    }

    fn sent(&self, now_ms: i64) -> Vec<Owed> {
        self.reader().sent(self.id(), now_ms, 100).unwrap()
    }

    fn note_all(&mut self, owed: &[Owed], outcome: &Outcome) -> u64 {
        let generation = self.reader().generation().unwrap();
        let note = |owed: &Owed| DeliveryNote { generation, key: owed.key, outcome: outcome.clone(), at_ms: 6_000_000 };
        let notes: Vec<_> = owed.iter().map(note).collect();
        self.catalogue.note_deliveries(&notes).unwrap()
    }

    fn asked(&self, transaction: i64, number: u32) -> Vec<Owed> {
        let uid = format!("1.2.1.1.{number}").parse().unwrap();
        self.reader().asked(self.id(), transaction, &uid).unwrap()
    }
}

#[test]
fn what_was_sent_is_owed_until_it_is_committed() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..4).map(|at| record_to(1, 1, at, &["a"])).collect();
    fixture.catalogue.enter(&records).unwrap();
    assert_eq!(fixture.settle("a", &SENT), 3);
    assert_eq!(fixture.sums_of_a(), Sums { sent: 3, ..Sums::default() });
    let row = fixture.reader().destination("a").unwrap().unwrap();
    assert_eq!((row.since_ms, row.due_ms, row.sent_due_ms, row.asked), (None, None, Some(100), 0));
    assert!(fixture.sent(99).is_empty());
    let sent = fixture.sent(100);
    assert!(sent.len() == 3 && sent.iter().all(|owed| !owed.is_asked));
    assert!(fixture.asked(i64::MAX, 1).is_empty(), "nobody has asked");
    // Asked for twice: a late report of the first transaction counts as one of the second does.
    assert_eq!(fixture.note_all(&sent[..2], &asked(7, 500)), 2);
    assert_eq!(fixture.note_all(&sent[..2], &asked(8, 900)), 2);
    let row = fixture.reader().destination("a").unwrap().unwrap();
    assert_eq!((row.asked, row.sent_due_ms), (8, Some(100)));
    assert!(fixture.sent(900)[1].is_asked);
    assert!(fixture.asked(6, 1).is_empty() && fixture.asked(7, 3).is_empty());
    let of_first = fixture.asked(7, 1);
    assert_eq!(fixture.note_all(&of_first, &Outcome::Committed), 1);
    assert_eq!(fixture.note_all(&of_first, &Outcome::Committed), 0, "a report comes twice");
    let of_second = fixture.asked(8, 2);
    assert_eq!(fixture.note_all(&of_second, &retry(700, true)), 1);
    assert_eq!(
        fixture.sums_of_a(),
        Sums { sent: 1, retrying: 1, waiting_bytes: 1000, delivered: 1, ..Sums::default() }
    );
    // What was delivered keeps the answer to its C-STORE.
    let db = rusqlite::Connection::open(fixture.path()).unwrap();
    let status: i64 = db.query_row("SELECT status FROM delivered", [], |row| row.get(0)).unwrap();
    assert_eq!(status, 0xB007);
    // Sent again, it is asked for anew: reports of former transactions say nothing about it.
    let again = fixture.reader().due(fixture.id(), 700, 9).unwrap();
    assert_eq!(fixture.note_all(&again, &SENT), 1);
    assert!(fixture.asked(8, 2).is_empty());
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn operators_and_other_content_find_what_was_sent() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..4).map(|at| record_to(1, 1, at, &["a"])).collect();
    fixture.catalogue.enter(&records).unwrap();
    fixture.settle("a", &SENT);
    let sent = fixture.sent(100);
    fixture.note_all(&sent, &asked(1, 9_000_000));
    let search = DeliverySearch { states: vec![DeliveryState::Sent], ..DeliverySearch::default() };
    let found = fixture.reader().deliveries(&search, None, 2).unwrap();
    let next = fixture.reader().deliveries(&search, found.next, 2).unwrap();
    let is_due = |row: &DeliveryRow| row.due_ms == Some(9_000_000);
    assert!(found.deliveries.len() == 2 && next.deliveries.len() == 1 && found.deliveries.iter().all(is_due));
    // It is asked for at once, and not sent again.
    assert_eq!(fixture.change("a", Change::Retry, &Choice::default()), 3);
    assert_eq!(fixture.sent(7_000_000).len(), 3);
    // Other content is sent, and the report about the former one is void.
    let other = Record { digest: Some(77), bytes: 3000, ..record_to(1, 1, 1, &["a"]) };
    fixture.catalogue.enter(&[other]).unwrap();
    assert_eq!(fixture.note_all(&sent[..1], &Outcome::Committed), 0);
    assert_eq!(fixture.sums_of_a(), Sums { waiting: 1, waiting_bytes: 3000, sent: 2, ..Sums::default() });
    // Without its file, it may be committed; but it cannot be sent again.
    let paths: Vec<_> = records[1..].iter().map(|record| record.path.clone()).collect();
    fixture.catalogue.mark_gone(&paths, 8_000_000).unwrap();
    assert_eq!(fixture.sums_of_a().sent, 2);
    assert_eq!(fixture.note_all(&sent[1..2], &Outcome::Committed), 1);
    assert_eq!(fixture.note_all(&sent[2..], &retry(9, true)), 1);
    let Sums { sent, retrying, dead: died, delivered, .. } = fixture.sums_of_a();
    assert_eq!((sent, retrying, died, delivered), (0, 0, 1, 1));
    assert_eq!(fixture.catalogue.check().unwrap(), []);
    fixture.settle("a", &SENT);
    assert_eq!(fixture.change("a", Change::Drop, &Choice::default()), 2);
    assert_eq!(fixture.sums_of_a(), Sums { delivered: 1, ..Sums::default() });
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

/// What storage commitment waits for: any duty to the destinations that were named, and nothing else.
#[test]
fn an_instance_owes_until_it_is_committed_or_dropped_and_one_without_a_duty_owes_nothing() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..4).map(|at| record_to(1, 1, at, &["a", "b"])).collect();
    fixture.catalogue.enter(&records).unwrap();
    fixture.catalogue.enter(&[record_to(1, 1, 9, &["b"])]).unwrap();
    let owing = |fixture: &Fixture| -> Vec<(usize, usize, bool)> {
        let uids = [1, 2, 3, 9, 77].map(|number| format!("1.2.1.1.{number}").parse().unwrap());
        let names = ["nobody".to_owned(), "a".to_owned()];
        let found = fixture.reader().owing(&uids, &names).unwrap();
        found.iter().map(|owing| (owing.at, owing.destination, owing.is_dead)).collect()
    };
    assert_eq!(owing(&fixture), [(0, 1, false), (1, 1, false), (2, 1, false)]);
    fixture.settle("a", &SENT);
    let sent = fixture.sent(100);
    assert_eq!(owing(&fixture).len(), 3, "what was sent is owed");
    fixture.note_all(&sent[..1], &Outcome::Committed);
    fixture.note_all(&sent[1..2], &dead());
    assert_eq!(owing(&fixture), [(1, 1, true), (2, 1, false)]);
    assert_eq!(fixture.change("a", Change::Drop, &Choice::default()), 2);
    assert_eq!(owing(&fixture), []);
}
