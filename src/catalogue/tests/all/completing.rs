//! Completeness, and the events that tell of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use tidegate_catalogue::catch_up::{CatchUp, Depth};
use tidegate_catalogue::{
    Catalogue, Circumstances, Completed, EventChange, EventKind, EventNote, EventOutcome, Following, News, Origin,
    OwedEvent, Quiet, Record, Subscription, Told, Wholeness,
};

use super::delivering::{DELIVERED, dead, record_to};
use super::support::{Fixture, Model, record};

const STUDY_QUIET: i64 = 60_000;

pub(super) fn following(kinds: &[EventKind]) -> Following {
    let sink = |name: &str| Subscription { sink: name.to_owned(), kinds: kinds.to_vec() };
    Following { sinks: vec![sink("ris")], ..Following::default() }
}

fn every() -> Following {
    following(&EventKind::ALL)
}

fn nobody(_: &str) -> bool {
    false
}

impl Fixture {
    pub(super) fn following(following: Following) -> Self {
        let mut fixture = Self::new();
        fixture.catalogue.follow(following).unwrap();
        fixture
    }

    pub(super) fn complete(&mut self, now_ms: i64) -> Completed {
        self.complete_beside(now_ms, &nobody)
    }

    fn complete_beside(&mut self, now_ms: i64, is_busy: &dyn Fn(&str) -> bool) -> Completed {
        self.catalogue.complete(now_ms, 1000, &Circumstances { is_busy, may_ask: &nobody }).unwrap()
    }

    /// Kinds and data of the events that a sink is owed.
    fn events(&self) -> Vec<(EventKind, String)> {
        let events = self.reader().events(0, None, 1000).unwrap().events.into_iter().filter(|event| event.owed > 0);
        events.map(|event| (event.kind, event.data)).collect()
    }

    /// Kinds of all events so far.
    fn written(&self) -> Vec<EventKind> {
        self.reader().events(0, None, 1000).unwrap().events.into_iter().map(|event| event.kind).collect()
    }

    fn kinds(&self) -> Vec<EventKind> {
        self.events().into_iter().map(|(kind, _)| kind).collect()
    }

    pub(super) fn due(&self, now_ms: i64) -> Vec<OwedEvent> {
        let mut reader = self.reader();
        let sink = reader.sink("ris").unwrap().unwrap().id;
        reader.due_events(sink, now_ms, 100).unwrap()
    }

    pub(super) fn note_event(&mut self, event: &OwedEvent, outcome: EventOutcome) {
        let generation = self.reader().generation().unwrap();
        let note = EventNote { generation, sink: event.sink, event: event.event, outcome, at_ms: 1 };
        self.catalogue.enter_news(&News { event_notes: &[&note], ..News::default() }).unwrap();
    }

    /// The state of a study, from its row.
    fn state(&self, uid: &str) -> Wholeness {
        let db = Connection::open(self.path()).unwrap();
        let sql = "SELECT state FROM study WHERE uid = ?1";
        let number: u8 = db.query_row(sql, [uid], |row| row.get(0)).unwrap();
        Wholeness::ALL[usize::from(number)]
    }

    fn reopen(self) -> Self {
        let Self { directory, catalogue } = self;
        drop(catalogue);
        let catalogue = Catalogue::open(&super::support::path_in(&directory), true).unwrap();
        Self { directory, catalogue }
    }
}

use EventKind::{DeliveryDead, DeliveryDone, InstanceStored, SeriesComplete, StudyComplete, StudyReopened};

#[test]
fn a_study_is_complete_when_it_was_quiet_and_says_so_once() {
    let mut fixture = Fixture::following(following(&[StudyComplete, SeriesComplete]));
    let records = [record(1, 1, 1), record(1, 1, 2), record(1, 2, 1)];
    fixture.catalogue.enter(&records).unwrap();
    let last = records[1].received_ms;
    assert_eq!(fixture.state("1.2.1"), Wholeness::Open);
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), Some(records[2].received_ms + 30_000));
    assert_eq!(fixture.complete(last + 30_000).series, 2);
    assert_eq!(fixture.complete(last + STUDY_QUIET - 1), Completed::default());
    // A restart changes nothing.
    let mut fixture = fixture.reopen();
    fixture.catalogue.follow(following(&[StudyComplete, SeriesComplete])).unwrap();
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), Some(last + STUDY_QUIET));
    let done = fixture.complete(last + STUDY_QUIET + 7);
    assert_eq!(done, Completed { studies: 1, late_ms: 7, ..Completed::default() });
    assert_eq!(fixture.kinds(), [SeriesComplete, SeriesComplete, StudyComplete]);
    let data = &fixture.events()[2].1;
    for part in [
        r#""study":"1.2.1""#,
        r#""series":2"#,
        r#""instances":3"#,
        r#""bytes":3000"#,
        r#""completions":1"#,
        r#""modalities":["CT"]"#,
        r#""sources":["CT1"]"#,
    ] {
        assert!(data.contains(part), "{data}");
    }
    assert!(!data.contains("Doe"), "{data}");
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), None);
    // The same again is nothing new, also from a catch-up or to another place.
    fixture.catalogue.enter(&records).unwrap();
    fixture.catalogue.mark_gone(&[records[0].path.clone()], 5).unwrap();
    fixture.catalogue.enter(&[Record { path: "elsewhere/x.dcm".into(), ..records[0].clone() }]).unwrap();
    assert_eq!(fixture.state("1.2.1"), Wholeness::Complete);
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), None);
    assert_eq!(fixture.complete(i64::MAX / 2), Completed::default());
}

#[test]
fn new_content_reopens_and_completes_again() {
    let mut fixture = Fixture::following(following(&[StudyComplete, StudyReopened]));
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    fixture.complete(10_000_000);
    let more = Record { received_ms: 20_000_000, ..record(1, 1, 2) };
    fixture.catalogue.enter(std::slice::from_ref(&more)).unwrap();
    assert_eq!(
        (fixture.state("1.2.1"), fixture.complete(20_000_000 + STUDY_QUIET - 1).studies),
        (Wholeness::Reopened, 0)
    );
    assert_eq!(fixture.complete(20_000_000 + STUDY_QUIET).studies, 1);
    // Other content under the same UID.
    let other = Record { digest: Some(99), received_ms: 30_000_000, ..more };
    fixture.catalogue.enter(&[other]).unwrap();
    assert_eq!(fixture.complete(40_000_000).studies, 1);
    let one_each = [StudyComplete, StudyReopened, StudyComplete, StudyReopened, StudyComplete];
    assert_eq!(fixture.kinds(), one_each);
    let events = fixture.events();
    assert!(events[2].1.contains(r#""instances":2"#) && events[4].1.contains(r#""completions":3"#), "{events:?}");
    let digest = |at: usize| events[at].1.split("digest\":\"").nth(1).unwrap()[..32].to_owned();
    assert_ne!(digest(2), digest(4));
    assert_eq!(digest(1), digest(0), "what was complete before it was reopened");
}

#[test]
fn the_digest_of_a_set_depends_on_its_contents_and_not_on_their_order() {
    let digest_of = |numbers: &[u32]| {
        let mut fixture = Fixture::following(following(&[StudyComplete]));
        let records: Vec<_> = numbers.iter().map(|number| record(1, 1, *number)).collect();
        records.iter().for_each(|record| {
            fixture.catalogue.enter(std::slice::from_ref(record)).unwrap();
        });
        fixture.complete(10_000_000);
        fixture.events()[0].1.split("digest\":\"").nth(1).unwrap()[..32].to_owned()
    };
    assert_eq!(digest_of(&[1, 2, 3]), digest_of(&[3, 1, 2]));
    assert_ne!(digest_of(&[1, 2, 3]), digest_of(&[1, 2]));
    // printf '1.2.1.1.1 00000000000000000000000000000001' | xxh128sum
    assert_eq!(digest_of(&[1]), "7bdaa8838dcc3f5aa92849deab0be381");
}

#[test]
fn a_study_that_somebody_is_sending_is_held_until_it_is_released() {
    let mut fixture = Fixture::following(following(&[StudyComplete, SeriesComplete]));
    fixture.catalogue.enter(&[record(1, 1, 1), record(2, 1, 1)]).unwrap();
    let is_busy = |uid: &str| uid == "1.2.1";
    let done = fixture.complete_beside(10_000_000, &is_busy);
    assert_eq!((done.studies, done.series, done.held), (1, 1, 2));
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), None, "nobody looks at what is held");
    fixture.catalogue.release(&["1.2.7".to_owned(), "1.2.1".to_owned()], 10_000_500).unwrap();
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), Some(10_000_500));
    assert_eq!(fixture.complete(10_000_500).studies, 1);
    // One that is held is due anew with each arrival.
    fixture.catalogue.enter(&[Record { received_ms: 20_000_000, ..record(2, 1, 2) }]).unwrap();
    fixture.complete_beside(30_000_000, &|_| true);
    fixture.catalogue.enter(&[Record { received_ms: 30_000_001, ..record(2, 1, 3) }]).unwrap();
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), Some(30_030_001));
    // After a start nobody is sending.
    fixture.complete_beside(40_000_000, &|_| true);
    let mut fixture = fixture.reopen();
    fixture.catalogue.release_all(40_000_001, 40_000_000).unwrap();
    assert_eq!(fixture.complete(40_000_001).studies, 1);
}

#[test]
fn quiet_times_are_those_of_the_access_rule_and_a_clock_that_went_back_delays_nothing() {
    let by_rule = [("slow".to_owned(), Quiet { study_ms: 600_000, series_ms: 1_000 })].into();
    let mut fixture = Fixture::following(Following { by_rule, ..every() });
    let origin = Some(Arc::new(Origin { rule: "slow".to_owned(), ..Origin::default() }));
    fixture.catalogue.enter(&[Record { origin, received_ms: 1_000, ..record(1, 1, 1) }]).unwrap();
    assert_eq!((fixture.complete(2_000).series, fixture.complete(600_999).studies), (1, 0));
    assert_eq!(fixture.complete(601_000).studies, 1);
    fixture.catalogue.enter(&[Record { received_ms: 9_000_000_000, ..record(2, 1, 1) }]).unwrap();
    fixture.complete(1_000_000);
    assert_eq!(fixture.catalogue.next_due_ms().unwrap(), Some(1_030_000));
}

fn clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn what_was_stored_before_is_not_announced_and_what_was_missed_is() {
    let mut fixture = Fixture::following(every());
    let model = Model::default();
    model.store(&record(1, 1, 1));
    let now_ms = clock_ms();
    model.store(&Record { received_ms: now_ms + 1, ..record(2, 1, 1) });
    // Somebody has put a file there: nobody has sent it.
    model.store(&Record { received_ms: now_ms + 1, origin: None, ..record(3, 1, 1) });
    let mut catch_up = CatchUp::new(model.clone(), Depth::Changed);
    while catch_up.step(&mut fixture.catalogue, now_ms).unwrap() {}
    assert_eq!(fixture.state("1.2.1"), Wholeness::Unknown);
    assert_eq!(fixture.complete(now_ms + 10 * STUDY_QUIET).studies, 1);
    assert_eq!((fixture.state("1.2.2"), fixture.state("1.2.3")), (Wholeness::Complete, Wholeness::Unknown));
    assert!(fixture.reader().events(0, None, 10).unwrap().events.iter().all(|event| event.subject == "1.2.2"));
    // Something new of it: then all of it counts.
    fixture.catalogue.enter(&[record(1, 1, 2)]).unwrap();
    fixture.complete(now_ms + 20 * STUDY_QUIET);
    assert!(fixture.events().last().unwrap().1.contains(r#""instances":2"#));
}

#[test]
fn without_a_sink_that_wants_it_an_event_is_for_people_but_those_of_instances_are_not_written() {
    let mut fixture = Fixture::following(following(&[DeliveryDead]));
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    assert_eq!(fixture.complete(10_000_000).studies, 1);
    assert_eq!(fixture.events(), []);
    assert_eq!(fixture.written(), [SeriesComplete, StudyComplete]);
    let mut fixture = Fixture::following(following(&[InstanceStored]));
    fixture.catalogue.enter(&[record(1, 1, 1), record(1, 1, 1)]).unwrap();
    assert_eq!(fixture.kinds(), [InstanceStored]);
    assert!(fixture.events()[0].1.contains(r#""xxh128":"00000000000000000000000000000001""#), "{:?}", fixture.events());
    // A record without a study is of no study.
    let mut nowhere = record(9, 1, 1);
    nowhere.study.uid.clear();
    fixture.catalogue.enter(&[nowhere]).unwrap();
    assert_eq!(fixture.kinds().len(), 1);
}

#[test]
fn a_study_is_told_of_when_a_destination_has_all_of_it_and_when_it_has_not() {
    let mut fixture = Fixture::following(following(&[DeliveryDone, DeliveryDead]));
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a", "b"])]).unwrap();
    fixture.settle("a", &DELIVERED);
    assert_eq!(fixture.kinds(), [], "more may come");
    fixture.complete(10_000_000);
    assert_eq!(fixture.kinds(), [DeliveryDone]);
    fixture.settle("b", &dead());
    assert_eq!(fixture.kinds(), [DeliveryDone, DeliveryDead]);
    fixture.catalogue.enter(&[record_to(1, 1, 2, &["a", "b"])]).unwrap();
    fixture.settle("b", &dead());
    assert_eq!(fixture.kinds().len(), 2, "one for all of a study");
    fixture.complete(20_000_000);
    assert_eq!(fixture.kinds().len(), 2);
    fixture.settle("a", &DELIVERED);
    assert_eq!(fixture.kinds(), [DeliveryDone, DeliveryDead, DeliveryDone]);
    assert!(fixture.events()[2].1.contains(r#""destination":"a","delivered":2"#), "{:?}", fixture.events());
}

#[test]
fn events_of_a_study_are_sent_in_their_order_and_one_that_fails_delays_no_other_study() {
    let mut fixture = Fixture::following(following(&[StudyComplete, SeriesComplete]));
    fixture.catalogue.enter(&[record(1, 1, 1), record(2, 1, 1)]).unwrap();
    fixture.complete(10_000_000);
    let subjects = |fixture: &Fixture, at| -> Vec<(String, EventKind)> {
        fixture.due(at).into_iter().map(|event| (event.study.uid, event.kind)).collect()
    };
    let [one, two] = ["1.2.1".to_owned(), "1.2.2".to_owned()];
    assert_eq!(subjects(&fixture, 0), [(one.clone(), SeriesComplete), (two.clone(), SeriesComplete)]);
    let due = fixture.due(0);
    assert_eq!(due[0].study.patient_name.as_deref(), Some("Doe1^Jane"));
    fixture.note_event(&due[0], EventOutcome::Retry { due_ms: 500, why: "503".to_owned() });
    fixture.note_event(&due[1], EventOutcome::Published);
    fixture.note_event(&due[1], EventOutcome::Published);
    assert_eq!(subjects(&fixture, 499), [(two.clone(), StudyComplete)]);
    assert_eq!(subjects(&fixture, 500), [(two, StudyComplete), (one.clone(), SeriesComplete)]);
    let row = |fixture: &Fixture| fixture.reader().sink("ris").unwrap().unwrap();
    assert_eq!((row(&fixture).waiting, row(&fixture).published, row(&fixture).dead), (3, 1, 0));
    fixture.note_event(&due[0], EventOutcome::Dead { why: "400".to_owned() });
    assert_eq!((row(&fixture).waiting, row(&fixture).published, row(&fixture).dead), (2, 1, 1));
    assert_eq!(subjects(&fixture, 0).len(), 2, "the next one of a study does not wait for what is dead");
    let rows = fixture.reader().owed_events(Some("ris"), true, 0, 10).unwrap();
    assert_eq!((rows.len(), rows[0].why.as_deref(), rows[0].event.attempts), (1, Some("400"), 2));
    // An operator wants it again: it comes first, and the later one waits. Since when they are owed stays with them.
    assert_eq!(fixture.catalogue.change_events("ris", EventChange::Retry, (true, None), 0).unwrap(), (1, None));
    assert!(subjects(&fixture, 0).contains(&(one.clone(), SeriesComplete)));
    assert!(!subjects(&fixture, 0).contains(&(one, StudyComplete)));
    assert!(row(&fixture).asked_ms.is_some_and(|asked_ms| asked_ms > 10_000_000));
    assert!(fixture.due(0).iter().all(|event| (event.owed_ms, event.attempts) == (10_000_000, 0)));
    let first = fixture.due(0)[0].clone();
    fixture.note_event(&first, EventOutcome::Gone { why: "410".to_owned() });
    assert!(row(&fixture).gone_ms.is_some() && row(&fixture).waiting == 3);
    assert_eq!(fixture.catalogue.change_events("ris", EventChange::Drop, (false, None), 0).unwrap(), (3, None));
    assert_eq!((row(&fixture).waiting, row(&fixture).dead, row(&fixture).since_ms), (0, 0, None));
    // A note of another catalogue means nothing.
    fixture.catalogue.enter(&[record(3, 1, 1)]).unwrap();
    fixture.complete(20_000_000);
    let (event, other) = (fixture.due(0)[0].clone(), Fixture::new().reader().generation().unwrap());
    let note = EventNote {
        generation: other,
        sink: event.sink,
        event: event.event,
        outcome: EventOutcome::Published,
        at_ms: 1,
    };
    fixture.catalogue.enter_news(&News { event_notes: &[&note], ..News::default() }).unwrap();
    assert_eq!(row(&fixture).waiting, 2);
}

#[test]
fn what_other_parts_tell_is_an_event_once_of_no_study_and_behind_no_other() {
    let mut fixture = Fixture::following(every());
    let told = |origin: &str, at_ms| Told {
        kind: EventKind::CommitmentReported,
        origin: origin.to_owned(),
        subject: "1.2.9".to_owned(),
        at_ms,
        data: r#"{"transaction":"1.2.9"}"#.to_owned(),
    };
    // The catalogue is made by now: what is older is nothing new.
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let (old, one, two) = (told("0", now_ms - 3_600_000), told("1", now_ms), told("2", now_ms));
    fixture.catalogue.enter_news(&News { told: &[&old, &one, &two, &one], ..News::default() }).unwrap();
    fixture.catalogue.enter_news(&News { told: &[&two], ..News::default() }).unwrap();
    let due = fixture.due(0);
    assert_eq!(due.iter().map(|event| event.subject.as_str()).collect::<Vec<_>>(), ["1.2.9"; 2]);
    assert_eq!((due[0].study.uid.as_str(), due[0].study.patient_name.as_deref()), ("", None));
    fixture.note_event(&due[0], EventOutcome::Dead { why: "400".to_owned() });
    assert_eq!(fixture.due(0), due[1..]);
    fixture.catalogue.change_events("ris", EventChange::Retry, (true, None), 0).unwrap();
    assert_eq!(fixture.due(0).len(), 2);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn an_event_that_fails_while_an_earlier_one_is_put_back_waits_behind_that() {
    let mut fixture = Fixture::following(following(&[InstanceStored]));
    fixture.catalogue.enter(&[record(1, 1, 1), record(1, 1, 2)]).unwrap();
    let first = fixture.due(0)[0].clone();
    fixture.note_event(&first, EventOutcome::Dead { why: "413".to_owned() });
    let second = fixture.due(0)[0].clone();
    fixture.catalogue.change_events("ris", EventChange::Retry, (true, None), 0).unwrap();
    fixture.note_event(&second, EventOutcome::Retry { due_ms: 5, why: "500".to_owned() });
    assert_eq!(fixture.due(9).iter().map(|event| event.event).collect::<Vec<_>>(), [first.event]);
    fixture.note_event(&first, EventOutcome::Published);
    assert_eq!(fixture.due(9).iter().map(|event| event.event).collect::<Vec<_>>(), [second.event]);
}

#[test]
fn events_of_a_former_version_keep_their_numbers_and_their_places() {
    let Fixture { directory, catalogue } = Fixture::new();
    drop(catalogue);
    let path = super::support::path_in(&directory);
    std::fs::remove_file(&path).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(concat!(
        include_str!("../../schema.sql"),
        include_str!("../../views.sql"),
        include_str!("../../migration-2.sql"),
        include_str!("../../migration-3.sql"),
        include_str!("../../migration-4.sql"),
        include_str!("../../migration-5.sql"),
        include_str!("../../migration-6.sql"),
        include_str!("../../migration-7.sql"),
        "PRAGMA application_id = 1413956417; PRAGMA user_version = 7;
         INSERT INTO study (uid, first_ms, last_ms) VALUES ('1.2.1', 1, 1);
         INSERT INTO sink (name, waiting, dead) VALUES ('ris', 1, 1);
         INSERT INTO event VALUES (6, 2, 1, '1.2.1', 5, '{}'), (9, 0, 1, '1.2.1', 7, '{}');
         INSERT INTO owed_event VALUES (1, 6, 1, 1, NULL, 5, 3, 6, '400'), (1, 9, 1, 0, 0, 7, 0, NULL, NULL);"
    ))
    .unwrap();
    drop(db);
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    catalogue.follow(every()).unwrap();
    let mut fixture = Fixture { directory, catalogue };
    let dead = fixture.reader().owed_events(Some("ris"), true, 0, 10).unwrap();
    assert_eq!((dead[0].event.event, dead[0].event.attempts, dead[0].why.as_deref()), (6, 3, Some("400")));
    assert_eq!(fixture.due(0).iter().map(|event| event.event).collect::<Vec<_>>(), [9]);
    fixture.catalogue.enter(&[record(2, 1, 1)]).unwrap();
    fixture.complete(10_000_000_000_000);
    assert_eq!(fixture.reader().last_event().unwrap(), 12);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn due_times_and_due_events_are_found_by_index() {
    let fixture = Fixture::following(every());
    let db = Connection::open(fixture.path()).unwrap();
    for (sql, index) in [
        ("SELECT id, uid, uid, id, due_ms FROM study WHERE due_ms <= 5 ORDER BY due_ms LIMIT 9", "study_due"),
        ("SELECT min(due_ms) FROM study WHERE due_ms IS NOT NULL", "study_due"),
        ("SELECT min(due_ms) FROM series WHERE due_ms IS NOT NULL", "series_due"),
        ("UPDATE study SET due_ms = 9 WHERE due_ms > 9", "study_due"),
        ("UPDATE study SET due_ms = 1, is_held = 0 WHERE is_held = 1", "study_held"),
        (
            "SELECT * FROM owed_event AS o WHERE o.sink = 1 AND o.due_ms <= 5 ORDER BY o.due_ms, o.event LIMIT 9",
            "owed_event_due",
        ),
        (
            "SELECT owed_ms FROM owed_event INDEXED BY owed_event_waiting WHERE sink = 1 AND state = 0 ORDER BY event LIMIT 1",
            "owed_event_waiting",
        ),
    ] {
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert!(plan[0].contains(index) && !plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
    }
}

/// The child looks for the next due time after each batch, and completes what is due: neither may depend on how many studies are open.
#[test]
fn a_hundred_thousand_open_studies_cost_a_look_at_an_index() {
    let mut fixture = Fixture::following(following(&[StudyComplete]));
    for studies in (0..100_000).collect::<Vec<u32>>().chunks(4096) {
        let records: Vec<_> =
            studies.iter().map(|study| Record { received_ms: 1_000_000, ..record(*study, 1, 1) }).collect();
        fixture.catalogue.enter(&records).unwrap();
    }
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(fixture.catalogue.next_due_ms().unwrap(), Some(1_030_000));
    }
    let a_look = began.elapsed() / 1000;
    let began = Instant::now();
    assert_eq!(
        fixture
            .catalogue
            .complete(1_030_000, 256, &Circumstances { is_busy: &nobody, may_ask: &nobody })
            .unwrap()
            .series,
        256
    );
    let a_completion = began.elapsed();
    println!("a look {a_look:?}, a transaction with 256 series {a_completion:?}");
    assert!(a_look < Duration::from_millis(1) && a_completion < Duration::from_secs(1), "{a_look:?} {a_completion:?}");
}
