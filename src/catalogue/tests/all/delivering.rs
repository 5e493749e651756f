//! What is owed to destinations: rows of the instance's own transaction, in order, and what notes, changes and lost files make of them.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tidegate_catalogue::catch_up::{CatchUp, Depth};
use tidegate_catalogue::{
    Again, Catalogue, Change, ChangeProgress, Choice, DeliveryNote, DeliveryState, DestinationRow, FILE_IS_GONE,
    Generation, InstanceProgress, News, Origin, Outcome, Owed, Reader, Record, Search, Sums,
};

use super::support::{Fixture, Model, directory, path_in, record};

fn to(destinations: &[&str]) -> Option<Arc<Origin>> {
    let destinations = destinations.iter().map(|name| (*name).to_owned()).collect();
    Some(Arc::new(Origin {
        calling_ae_title: "CT1".to_owned(),
        address: "10.1.2.3".to_owned(),
        destinations,
        ..Origin::default()
    }))
}

pub(crate) fn record_to(study: u32, series: u32, number: u32, destinations: &[&str]) -> Record {
    Record { origin: to(destinations), ..record(study, series, number) }
}

fn destination(reader: &mut Reader, name: &str) -> DestinationRow {
    reader.destination(name).unwrap().unwrap()
}

fn waiting(reader: &mut Reader, name: &str) -> Vec<Owed> {
    let id = destination(reader, name).id;
    reader.waiting(id, None, 1000).unwrap()
}

fn names(owed: &[Owed]) -> Vec<String> {
    owed.iter().map(|owed| owed.sop_instance_uid.to_string()).collect()
}

fn note(generation: Generation, owed: &Owed, outcome: Outcome) -> DeliveryNote {
    DeliveryNote { generation, key: owed.key, outcome, at_ms: 5_000_000 }
}

pub(crate) const DELIVERED: Outcome = Outcome::Delivered { status: 0, why: None };

pub(crate) fn retry(due_ms: i64, counts: bool) -> Outcome {
    Outcome::Retry { due_ms, counts, status: Some(0xA700), why: "out of resources".to_owned() }
}

pub(crate) fn dead() -> Outcome {
    Outcome::Dead { status: Some(0xC000), why: "cannot understand".to_owned() }
}

impl Fixture {
    /// Notes the outcome of everything that waits there.
    pub(crate) fn settle(&mut self, name: &str, outcome: &Outcome) -> u64 {
        let mut reader = self.reader();
        let generation = reader.generation().unwrap();
        let owed = waiting(&mut reader, name);
        let notes: Vec<_> = owed.iter().map(|owed| note(generation, owed, outcome.clone())).collect();
        self.catalogue.note_deliveries(&notes).unwrap()
    }

    fn sums(&self, name: &str) -> Sums {
        destination(&mut self.reader(), name).sums
    }

    pub(crate) fn change(&mut self, name: &str, change: Change, choice: &Choice) -> u64 {
        let mut progress = ChangeProgress::default();
        while !progress.is_done {
            self.catalogue.change_deliveries(name, change, choice, &mut progress, 7_000_000).unwrap();
        }
        progress.changed
    }
}

#[test]
fn an_instance_knows_its_way_to_each_destination() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a", "b", "c", "d", "e"]), record_to(1, 1, 2, &[])]).unwrap();
    fixture.settle("b", &retry(8_000_000, true));
    fixture.settle("c", &dead());
    fixture.settle("d", &DELIVERED);
    fixture.change("e", Change::Drop, &Choice::default());
    let mut reader = fixture.reader();
    let files = reader.instances(&record(1, 1, 1).sop_instance_uid, 9).unwrap();
    let owed = |state, attempts, due_ms, last_ms| InstanceProgress::Owed {
        state,
        since_ms: 1_001_001,
        attempts,
        due_ms,
        last_ms,
    };
    let ways: Vec<_> = files[0].deliveries.iter().map(|way| (&*way.destination, way.progress, way.status)).collect();
    assert_eq!(
        ways,
        [
            ("a", owed(DeliveryState::Waiting, 0, None, None), None),
            ("b", owed(DeliveryState::Retrying, 1, Some(8_000_000), Some(5_000_000)), Some(0xA700)),
            ("c", owed(DeliveryState::Dead, 1, None, Some(5_000_000)), Some(0xC000)),
            ("d", InstanceProgress::Delivered { at_ms: 5_000_000 }, Some(0)),
            ("e", InstanceProgress::Dropped { at_ms: 7_000_000 }, None),
        ]
    );
    assert_eq!(files[0].deliveries[2].why.as_deref(), Some("cannot understand"));
    assert_eq!(reader.instances(&record(1, 1, 2).sop_instance_uid, 9).unwrap()[0].deliveries, []);
    let page = reader.studies(&Search::default(), None, 9).unwrap();
    let sums = Sums { waiting: 1, waiting_bytes: 2000, retrying: 1, dead: 1, delivered: 1, sent: 0 };
    assert_eq!(page.studies[0].deliveries, Some(sums));
}

#[test]
fn an_instance_is_owed_to_each_destination_of_its_origin_in_the_order_of_the_queue() {
    let mut fixture = Fixture::new();
    let places = [(2, 1, 3), (1, 2, 1), (1, 1, 10), (1, 1, 9), (2, 1, 1)];
    let records: Vec<_> =
        places.iter().map(|(study, series, at)| record_to(*study, *series, *at, &["a", "b"])).collect();
    let changes = fixture.catalogue.delivery_changes();
    fixture.catalogue.enter(&records).unwrap();
    assert_eq!(fixture.catalogue.delivery_changes(), changes + 1);
    fixture.catalogue.enter(&[record_to(3, 1, 1, &["b"]), record_to(4, 1, 1, &[])]).unwrap();
    let mut reader = fixture.reader();
    let owed = waiting(&mut reader, "a");
    // Studies and series in the order in which they came, instances by their number.
    assert_eq!(names(&owed), ["1.2.2.1.1", "1.2.2.1.3", "1.2.1.2.1", "1.2.1.1.9", "1.2.1.1.10"]);
    let first = &owed[0];
    assert_eq!(first.path, record(2, 1, 1).path);
    assert_eq!(
        (&*first.sop_class_uid, &*first.transfer_syntax_uid),
        ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    );
    assert_eq!((first.bytes, first.digest, &*first.study_uid), (1000, Some(1), "1.2.2"));
    assert_eq!((first.owed_ms, first.attempts, first.calling_ae_title.as_deref()), (1_002_001, 0, Some("CT1")));
    assert_eq!(waiting(&mut reader, "b").len(), 6);
    let DestinationRow { sums, since_ms, due_ms, is_paused, id, .. } = destination(&mut reader, "a");
    assert_eq!(sums, Sums { waiting: 5, waiting_bytes: 5000, ..Sums::default() });
    assert_eq!((since_ms, due_ms, is_paused), (Some(1_001_001), None, false));
    // Page by page.
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = reader.waiting(id, after.as_ref(), 2).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        pages.extend(page);
    }
    assert_eq!(names(&pages), names(&owed));
    assert_eq!(fixture.reader().destinations().unwrap().len(), 2);
    assert_eq!(fixture.reader().destination("c").unwrap(), None);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn an_instance_that_comes_again_is_owed_to_what_it_neither_owes_nor_has_had() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a", "b"])]).unwrap();
    fixture.settle("a", &DELIVERED);
    for destinations in [&["a", "b"][..], &["a"], &[], &["a", "b", "c"]] {
        fixture.catalogue.enter(&[record_to(1, 1, 1, destinations)]).unwrap();
    }
    let of = |name| fixture.sums(name);
    assert_eq!(of("a"), Sums { delivered: 1, ..Sums::default() });
    assert_eq!((of("b").waiting, of("c").waiting), (1, 1));
    // The event of an identical resend has no record.
    let again =
        |path: &Path, destinations| Again { path: path.to_owned(), origin: to(destinations).unwrap(), at_ms: 9 };
    let path = record(1, 1, 1).path;
    let again = [again(&path, &["a", "d"]), again(Path::new("not/there.dcm"), &["d"]), again(&path, &["d"])];
    fixture.catalogue.enter_news(&News { again: &again, ..News::default() }).unwrap();
    assert_eq!((fixture.sums("a").waiting, fixture.sums("d").waiting), (0, 1));
    // Another version of the instance is another file.
    let version =
        Record { path: "1.2.1/1.2.1.1/1.2.1.1.1~2.dcm".into(), digest: Some(99), ..record_to(1, 1, 1, &["a"]) };
    fixture.catalogue.enter(&[version]).unwrap();
    assert_eq!(fixture.sums("a"), Sums { waiting: 1, waiting_bytes: 1000, delivered: 1, ..Sums::default() });
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn other_content_is_owed_anew_and_a_note_about_the_former_one_is_void() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a", "b"])]).unwrap();
    fixture.settle("a", &DELIVERED);
    let mut reader = fixture.reader();
    let generation = reader.generation().unwrap();
    let former = waiting(&mut reader, "b").remove(0);
    let other = Record { digest: Some(77), bytes: 3000, ..record_to(1, 1, 1, &["a"]) };
    fixture.catalogue.enter(&[other]).unwrap();
    let owed = Sums { waiting: 1, waiting_bytes: 3000, ..Sums::default() };
    assert_eq!((fixture.sums("a"), fixture.sums("b")), (owed, owed), "b gets what stands there now");
    for outcome in [DELIVERED, dead(), retry(1, true)] {
        assert_eq!(fixture.catalogue.note_deliveries(&[note(generation, &former, outcome)]).unwrap(), 0);
    }
    assert_eq!(fixture.sums("b"), owed);
    assert_eq!(waiting(&mut reader, "b")[0].key, former.key, "it is of the same instance and destination");
    assert_eq!(fixture.catalogue.check().unwrap(), []);
    assert_eq!(fixture.settle("b", &DELIVERED), 1);
}

#[test]
fn a_lost_file_is_a_dead_delivery_until_it_is_back_and_a_released_one_owes_nothing() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..5).map(|at| record_to(1, 1, at, &["a"])).collect();
    fixture.catalogue.enter(&records).unwrap();
    let generation = fixture.reader().generation().unwrap();
    let owed = waiting(&mut fixture.reader(), "a");
    let notes = [
        note(generation, &owed[1], retry(9, true)),
        note(generation, &owed[2], DELIVERED),
        note(generation, &owed[3], dead()),
    ];
    assert_eq!(fixture.catalogue.note_deliveries(&notes).unwrap(), 3);
    let paths: Vec<_> = records.iter().map(|record| record.path.clone()).collect();
    fixture.catalogue.mark_gone(&paths, 6_000_000).unwrap();
    assert_eq!(fixture.sums("a"), Sums { dead: 3, delivered: 1, ..Sums::default() });
    let db = Connection::open(fixture.path()).unwrap();
    let reasons = |db: &Connection| -> i64 {
        db.query_row("SELECT count(*) FROM delivery WHERE why = ?1", [FILE_IS_GONE], |row| row.get(0)).unwrap()
    };
    assert_eq!(reasons(&db), 2, "one was dead before");
    assert_eq!(fixture.catalogue.check().unwrap(), []);
    // Nothing waits of what is not there: an operator cannot have it tried again.
    assert_eq!(fixture.change("a", Change::Retry, &Choice::default()), 0);
    fixture.catalogue.enter(&records).unwrap();
    assert_eq!(fixture.sums("a"), Sums { waiting: 2, waiting_bytes: 2000, dead: 1, delivered: 1, ..Sums::default() });
    fixture.catalogue.mark_released(&paths, 6_000_000).unwrap();
    assert_eq!(fixture.sums("a"), Sums { delivered: 1, ..Sums::default() });
    assert_eq!(destination(&mut fixture.reader(), "a").since_ms, None);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn notes_are_entered_once_and_only_by_the_catalogue_that_they_are_of() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..5).map(|at| record_to(1, 1, at, &["a"])).collect();
    fixture.catalogue.enter(&records).unwrap();
    let mut reader = fixture.reader();
    let (generation, id) = (reader.generation().unwrap(), destination(&mut reader, "a").id);
    assert_ne!(Fixture::new().reader().generation().unwrap(), generation);
    let owed = waiting(&mut reader, "a");
    let foreign = Fixture::new().reader().generation().unwrap();
    assert_eq!(fixture.catalogue.note_deliveries(&[note(foreign, &owed[0], DELIVERED)]).unwrap(), 0);
    let notes = [
        note(generation, &owed[0], retry(300, true)),
        note(generation, &owed[1], retry(200, false)),
        note(generation, &owed[2], Outcome::Delivered { status: 0xB007, why: Some("coerced".to_owned()) }),
        note(generation, &owed[3], dead()),
    ];
    assert_eq!(fixture.catalogue.note_deliveries(&notes).unwrap(), 4);
    let changes = fixture.catalogue.delivery_changes();
    assert_eq!(fixture.catalogue.note_deliveries(&notes).unwrap(), 0, "a note comes twice");
    assert_eq!(fixture.catalogue.delivery_changes(), changes);
    let DestinationRow { sums, due_ms, .. } = destination(&mut reader, "a");
    assert_eq!(sums, Sums { waiting_bytes: 2000, retrying: 2, dead: 1, delivered: 1, ..Sums::default() });
    assert_eq!(due_ms, Some(200));
    assert!(waiting(&mut reader, "a").is_empty() && reader.due(id, 199, 9).unwrap().is_empty());
    let due = reader.due(id, 300, 9).unwrap();
    assert_eq!((names(&due), due[0].attempts, due[1].attempts), (names(&[owed[1].clone(), owed[0].clone()]), 0, 1));
    assert_eq!(reader.due(id, 300, 1).unwrap().len(), 1);
    // What was retried may fail again, once for each time it was read.
    let again = note(generation, &due[1], retry(500, true));
    assert_eq!(fixture.catalogue.note_deliveries(&[again.clone(), again]).unwrap(), 1);
    assert_eq!(reader.due(id, 500, 9).unwrap()[1].attempts, 2);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn operators_add_retry_drop_and_pause() {
    let mut fixture = Fixture::new();
    let mut records: Vec<_> = (0..1500).map(|at| record_to(1, 1, at, &["a"])).collect();
    records.extend((0..600).map(|at| record_to(2, at % 3, at, &[])));
    fixture.catalogue.enter(&records).unwrap();
    let of_study = |study: u32| Choice { study_uid: Some(format!("1.2.{study}")), ..Choice::default() };
    assert_eq!(fixture.change("a", Change::Add, &of_study(2)), 600);
    assert_eq!(fixture.change("a", Change::Add, &of_study(9)), 0);
    assert_eq!(fixture.change("late", Change::Add, &Choice::default()), 2100);
    assert_eq!(fixture.sums("a").waiting, 2100);
    assert_eq!(fixture.change("a", Change::Add, &Choice::default()), 0, "all is owed");
    let before = Choice { before_ms: Some(1_001_010), ..Choice::default() };
    assert_eq!(fixture.change("a", Change::Drop, &before), 10);
    assert_eq!(fixture.sums("a").waiting, 2090);
    // What was dropped is not owed again by itself, but by an operator's wish.
    fixture.catalogue.enter(&records[..20]).unwrap();
    assert_eq!(fixture.sums("a").waiting, 2090);
    let since = Choice { since_ms: Some(1_001_009), ..of_study(1) };
    assert_eq!(fixture.change("a", Change::Add, &since), 1);
    let one = Choice { sop_instance_uid: Some("1.2.1.1.3".parse().unwrap()), ..Choice::default() };
    assert_eq!(fixture.change("a", Change::Add, &one), 1);
    assert_eq!(fixture.settle("a", &dead()), 1000, "a page of the test");
    fixture.settle("a", &retry(i64::MAX, true));
    let Sums { waiting, retrying, dead, .. } = fixture.sums("a");
    assert_eq!((waiting, retrying, dead), (92, 1000, 1000));
    let dead = Choice { is_dead: true, ..Choice::default() };
    assert_eq!(fixture.change("a", Change::Retry, &Choice { is_dead: true, ..of_study(1) }), 1000);
    assert_eq!(fixture.change("a", Change::Drop, &dead), 0);
    assert_eq!(fixture.change("a", Change::Retry, &Choice::default()), 1000);
    let rows = waiting_rows(&fixture);
    let added = rows.iter().filter(|row| row.owed_ms == 7_000_000).count();
    assert!(rows.len() > 100 && rows.iter().all(|row| row.attempts == 0));
    assert_eq!(added, 2, "the others are owed since they came");
    assert_eq!(fixture.change("a", Change::Drop, &Choice::default()), 2092);
    assert_eq!(fixture.sums("a"), Sums::default());
    let changes = fixture.catalogue.delivery_changes();
    for is_paused in [true, false, true] {
        fixture.catalogue.pause("a", is_paused).unwrap();
        assert_eq!(destination(&mut fixture.reader(), "a").is_paused, is_paused);
    }
    fixture.catalogue.pause("new", true).unwrap();
    assert_eq!(fixture.catalogue.delivery_changes(), changes + 4);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

fn waiting_rows(fixture: &Fixture) -> Vec<Owed> {
    waiting(&mut fixture.reader(), "a")
}

/// A file whose receipt is lost has the destinations of the rules of today, unless it is known.
#[test]
fn what_is_assumed_of_a_file_makes_duties_only_of_a_file_that_was_not_known() {
    let mut fixture = Fixture::new();
    let assumed = |destinations: &[&str]| {
        let origin = Origin { address: String::new(), ..(*to(destinations).unwrap()).clone() };
        Some(Arc::new(origin))
    };
    let known = record_to(1, 1, 1, &[]);
    fixture.catalogue.enter(std::slice::from_ref(&known)).unwrap();
    let model = Model::default();
    model.pass_time(1_000_000_000_000);
    model.store(&Record { origin: assumed(&["a"]), ..known });
    model.store(&Record { origin: assumed(&["a"]), ..record(1, 1, 2) });
    model.store(&record_to(1, 1, 3, &["a"]));
    let catch_up = |fixture: &mut Fixture| {
        let mut catch_up = CatchUp::new(model.clone(), Depth::Read);
        while catch_up.step(&mut fixture.catalogue, 4_000_000).unwrap() {}
    };
    catch_up(&mut fixture);
    let owed = waiting(&mut fixture.reader(), "a");
    assert_eq!(names(&owed), ["1.2.1.1.2", "1.2.1.1.3"]);
    assert!(owed.iter().all(|owed| owed.owed_ms == 4_000_000), "what a catch-up finds is owed from then on");
    fixture.settle("a", &DELIVERED);
    catch_up(&mut fixture);
    assert_eq!(fixture.sums("a"), Sums { delivered: 2, ..Sums::default() });
}

#[test]
fn a_catalogue_of_a_former_version_owes_nothing_of_what_it_has() {
    let directory = directory();
    let path = path_in(&directory);
    let db = Connection::open(&path).unwrap();
    db.execute_batch(concat!(
        include_str!("../../schema.sql"),
        include_str!("../../views.sql"),
        include_str!("../../migration-2.sql"),
        include_str!("../../migration-3.sql"),
        "PRAGMA application_id = 1413956417; PRAGMA user_version = 3;
         INSERT INTO study (uid, first_ms, last_ms) VALUES ('1.2.1', 1, 1);
         INSERT INTO series (study, uid, first_ms, last_ms, instances, bytes) VALUES (1, '1.2.1.1', 1, 1, 1, 1000);
         INSERT INTO kind VALUES (1, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1');
         INSERT INTO destination VALUES (1, 'a');
         INSERT INTO source VALUES (1, 'CT1', '10.1.2.3', '', '1');
         INSERT INTO arrival VALUES (1, 1, 0);
         INSERT INTO directory (id, path) VALUES (1, '1.2.1/1.2.1.1');
         INSERT INTO instance VALUES (1, 1, x'1A2A1A1A1F', 1, '', 1, 1, 1000, NULL, 1, NULL, 1, 0, NULL);"
    ))
    .unwrap();
    drop(db);
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(destination(&mut reader, "a").sums, Sums::default());
    catalogue.enter(&[Record { received_ms: 1, ..record_to(1, 1, 1, &["a"]) }, record_to(1, 1, 2, &["a"])]).unwrap();
    assert_eq!(names(&waiting(&mut reader, "a")), ["1.2.1.1.2"]);
    assert_eq!(catalogue.check().unwrap(), []);
}

#[test]
fn what_a_destination_has_had_is_owed_again_only_if_it_is_named() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (0..6).map(|at| record_to(1, 1, at, &["a"])).collect();
    fixture.catalogue.enter(&records).unwrap();
    fixture.settle("a", &DELIVERED);
    assert_eq!(fixture.sums("a").delivered, 6);
    let since = Choice { since_ms: Some(0), ..Choice::default() };
    assert_eq!(fixture.change("a", Change::Add, &since), 0, "a span of time adds what is wanting");
    let one = Choice { sop_instance_uid: Some("1.2.1.1.3".parse().unwrap()), ..Choice::default() };
    assert_eq!(fixture.change("a", Change::Add, &one), 1);
    assert_eq!(fixture.change("a", Change::Add, &one), 0, "it is owed by now");
    assert_eq!((fixture.sums("a").waiting, fixture.sums("a").delivered), (1, 5));
    let study = Choice { study_uid: Some("1.2.1".to_owned()), ..Choice::default() };
    assert_eq!(fixture.change("a", Change::Add, &study), 5);
    assert_eq!((fixture.sums("a").waiting, fixture.sums("a").delivered), (6, 0));
    fixture.settle("a", &DELIVERED);
    assert_eq!(fixture.sums("a").delivered, 6);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn what_a_destination_has_had_is_read_in_pages() {
    let mut fixture = Fixture::new();
    let mut records: Vec<_> = (0..7).map(|at| record_to(1, at % 2, at, &["a"])).collect();
    records.push(record_to(2, 1, 1, &["b"]));
    records.push(record_to(3, 1, 1, &["a"]));
    fixture.catalogue.enter(&records).unwrap();
    fixture.settle("a", &DELIVERED);
    fixture.settle("b", &DELIVERED);
    let one = Choice { sop_instance_uid: Some("1.2.1.0.2".parse().unwrap()), ..Choice::default() };
    fixture.change("a", Change::Add, &one);
    fixture.change("a", Change::Drop, &one);
    let mut reader = fixture.reader();
    let a = reader.destination("a").unwrap().unwrap().id;
    let studies = reader.studies_had(a, None, 0, 9).unwrap();
    assert_eq!(studies.iter().map(|study| &*study.uid).collect::<Vec<_>>(), ["1.2.1", "1.2.3"]);
    assert_eq!(reader.studies_had(a, None, studies[0].id, 9).unwrap(), studies[1..]);
    assert_eq!(reader.studies_had(a, Some("1.2.3"), 0, 9).unwrap(), studies[1..]);
    assert_eq!(reader.studies_had(a, Some("1.2.2"), 0, 9).unwrap(), []);
    let all = reader.instances_had(a, studies[0].id, None, 100).unwrap();
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = reader.instances_had(a, studies[0].id, after.as_ref(), 2).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.uid.clone());
        paged.extend(page);
    }
    assert_eq!((all.len(), &paged), (6, &all), "all but the one that was dropped");
    assert!(reader.knows(&"1.2.2.1.1".parse().unwrap()).unwrap() && !reader.knows(&"1.9".parse().unwrap()).unwrap());
}
