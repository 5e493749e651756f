//! Events that are kept, and which of them are the last of a kind.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tidegate_catalogue::EventKind::{InstanceStored, StudyComplete};
use tidegate_catalogue::{EventChange, EventOutcome, Following, Subscription};

use super::completing::following;
use super::support::{Fixture, record};

#[test]
fn the_last_events_of_a_kind_are_found_behind_many_of_others() {
    let mut fixture = Fixture::following(following(&[InstanceStored]));
    let records: Vec<_> = (1..=30).map(|number| record(1, 1, number)).collect();
    for study in 1..=3 {
        fixture.catalogue.enter(&[record(study, 1, 1)]).unwrap();
        assert_eq!(fixture.complete(10_000_000 * i64::from(study)).studies, 1);
    }
    fixture.catalogue.enter(&records).unwrap();
    let mut reader = fixture.reader();
    let last = reader.last_event().unwrap();
    let after = reader.before_last_events(2, Some(StudyComplete)).unwrap();
    let page = reader.events(after, Some(StudyComplete), 10).unwrap();
    let subjects: Vec<_> = page.events.iter().map(|event| event.subject.as_str()).collect();
    assert_eq!((subjects, page.last, page.has_more), (vec!["1.2.2", "1.2.3"], last, false));
    assert_eq!(page.looked_at, (last - after).unsigned_abs());
    // A page that is full ends with its last event, so that the next one continues behind it.
    let page = reader.events(after, Some(StudyComplete), 1).unwrap();
    assert_eq!((page.events.len(), page.has_more, page.events[0].event), (1, true, page.last));
    let next = reader.events(page.last, Some(StudyComplete), 1).unwrap();
    assert_eq!(next.events[0].subject, "1.2.3");
    // Of all kinds, and more than there are.
    assert_eq!(reader.before_last_events(3, None).unwrap(), last - 3);
    assert_eq!(reader.before_last_events(0, Some(StudyComplete)).unwrap(), last);
    assert_eq!(reader.before_last_events(9, Some(StudyComplete)).unwrap(), 0);
    assert_eq!(reader.events(0, Some(StudyComplete), 10).unwrap().events.len(), 3);
}

#[test]
fn what_is_owed_is_kept_for_as_long_as_it_is_and_then_no_longer_than_other_events() {
    let mut fixture = Fixture::following(following(&[InstanceStored]));
    let numbers: Vec<u32> = (1..=13_000).collect();
    for numbers in numbers.chunks(1000) {
        let records: Vec<_> = numbers.iter().map(|number| record(1, 1, *number)).collect();
        fixture.catalogue.enter(&records).unwrap();
    }
    let kept = |fixture: &Fixture| -> Vec<i64> {
        fixture.reader().events(0, None, 20_000).unwrap().events.iter().map(|event| event.event).collect()
    };
    let all = kept(&fixture);
    assert_eq!(all.len(), 13_000);
    let due = fixture.due(1);
    assert_eq!((due.len(), due[0].event), (1, all[0]));
    let behind = fixture.reader().events_behind(due[0].sink, due[0].study_id.unwrap(), due[0].event, 50).unwrap();
    assert_eq!(behind.iter().map(|event| event.event).collect::<Vec<_>>(), all[1..51]);
    for event in [&due[0], &behind[0]] {
        fixture.note_event(event, EventOutcome::Published);
    }
    assert_eq!(kept(&fixture), all[2..]);
    assert_eq!(fixture.due(1)[0].event, all[2]);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn a_few_dead_events_are_found_beside_any_number_that_wait() {
    let mut fixture = Fixture::following(following(&[InstanceStored]));
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    let db = Connection::open(fixture.path()).unwrap();
    db.execute_batch(
        "INSERT INTO sink (id, name, waiting, dead) VALUES (7, 'other', 199996, 4);
         WITH RECURSIVE many (id) AS (SELECT 2 UNION ALL SELECT id + 1 FROM many WHERE id < 200001)
            INSERT INTO event (id, kind, subject, at_ms, data) SELECT id, 6, '1.2.9', 5, '{}' FROM many;
         INSERT INTO owed_event (sink, event, state, owed_ms) SELECT 7, id, id % 50000 = 0, 5 FROM event WHERE id > 1;",
    )
    .unwrap();
    let mut reader = fixture.reader();
    let mut numbers = |sink, is_dead, after, limit| -> Vec<i64> {
        let rows = reader.owed_events(sink, is_dead, after, limit).unwrap();
        rows.iter().map(|row| row.event.event).collect()
    };
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(numbers(None, true, 0, 10), [50_000, 100_000, 150_000, 200_000]);
        assert_eq!(numbers(Some("other"), true, 50_000, 2), [100_000, 150_000]);
        assert_eq!(numbers(None, false, 0, 3), [1, 2, 3]);
        assert_eq!(numbers(Some("ris"), false, 0, 3), [1], "it is not looked for among those of another");
        assert!(numbers(Some("nobody"), false, 0, 3).is_empty());
    }
    let a_look = began.elapsed() / 250;
    let began = Instant::now();
    for event in [50_000, 100_000] {
        let one = (false, Some(event));
        assert_eq!(fixture.catalogue.change_events("other", EventChange::Drop, one, 0).unwrap(), (1, None));
    }
    assert_eq!(fixture.catalogue.change_events("other", EventChange::Drop, (true, None), 0).unwrap(), (2, None));
    let a_change = began.elapsed() / 3;
    println!("a look {a_look:?}, a change {a_change:?}");
    assert!(a_look < Duration::from_millis(3) && a_change < Duration::from_millis(8), "{a_look:?} {a_change:?}");
}

/// The next page begins behind the last event.
#[test]
fn a_page_ends_with_all_sinks_of_its_last_event() {
    let names = ["one", "other", "third"];
    let sinks = names.map(|sink| Subscription { sink: sink.to_owned(), kinds: vec![InstanceStored] }).into();
    let mut fixture = Fixture::following(Following { sinks, ..Following::default() });
    fixture.catalogue.enter(&[record(1, 1, 1), record(1, 1, 2)]).unwrap();
    let mut reader = fixture.reader();
    let page = reader.owed_events(None, false, 0, 2).unwrap();
    assert_eq!(page.iter().map(|row| row.event.event).collect::<Vec<_>>(), [1, 1, 1]);
    let page = reader.owed_events(None, false, 1, 4).unwrap();
    assert_eq!(page.iter().map(|row| &*row.sink).collect::<Vec<_>>(), names);
}
