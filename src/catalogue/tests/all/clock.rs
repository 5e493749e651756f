//! What a wrong clock does to events.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use tidegate_catalogue::EventKind::{CommitmentReported, StudyComplete};
use tidegate_catalogue::catch_up::{CatchUp, Depth};
use tidegate_catalogue::{Catalogue, News, Record, Told};

use super::completing::following;
use super::support::{Fixture, Model, path_in, record};

/// A machine without a battery: its clock was set after the catalogue was made.
#[test]
fn a_catalogue_that_was_made_while_the_clock_was_ahead_announces_what_comes() {
    let Fixture { directory, mut catalogue } = Fixture::following(following(&[StudyComplete, CommitmentReported]));
    catalogue.enter(&[]).unwrap();
    drop(catalogue);
    let day_ms = 86_400_000;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let path = path_in(&directory);
    let mark = |to: Option<i64>| -> i64 {
        let db = Connection::open(&path).unwrap();
        if let Some(to) = to {
            db.execute("UPDATE mark SET value = ?1 WHERE name = 'followed_since_ms'", [to]).unwrap();
        }
        db.query_row("SELECT value FROM mark WHERE name = 'followed_since_ms'", [], |row| row.get(0)).unwrap()
    };
    let made_ms = mark(None);
    mark(Some(now_ms + day_ms));
    let mut fixture = Fixture { catalogue: Catalogue::open(&path, true).unwrap(), directory };
    fixture.catalogue.follow(following(&[StudyComplete, CommitmentReported])).unwrap();
    let told = |origin: &str, at_ms| Told {
        kind: CommitmentReported,
        origin: origin.to_owned(),
        subject: "1.2.9".to_owned(),
        at_ms,
        data: "{}".to_owned(),
    };
    let (old, new) = (told("0", made_ms - day_ms), told("1", now_ms + 60_000));
    fixture.catalogue.enter_news(&News { told: &[&old, &new], ..News::default() }).unwrap();
    let model = Model::default();
    model.store(&Record { received_ms: now_ms + 60_000, ..record(2, 1, 1) });
    let mut catch_up = CatchUp::new(model, Depth::Changed);
    while catch_up.step(&mut fixture.catalogue, now_ms).unwrap() {}
    assert_eq!(fixture.complete(now_ms + day_ms).studies, 1);
    let subjects: Vec<_> = fixture.due(i64::MAX).into_iter().map(|event| event.subject).collect();
    assert_eq!(subjects, ["1.2.9", "1.2.2"]);
    let since_ms = mark(None);
    assert!((made_ms..now_ms + 60_000).contains(&since_ms), "{since_ms}");
    // A later start does not move it on.
    drop(fixture.catalogue);
    mark(Some(5));
    drop(Catalogue::open(&path, true).unwrap());
    assert_eq!(mark(None), 5);
}
