//! Hints that shorten or lengthen the wait for the end of a study.

use tidegate_catalogue::{
    Answer, Circumstances, Completed, EventKind, Following, Hints, Question, Record, Subscription, ToldNumbers,
};

use super::support::{Fixture, path_in, record};

/// When all has come, and the quiet times.
const AT: i64 = 10_000_000;
const STUDY: i64 = 60_000;
const SERIES: i64 = 30_000;
const MISSING: i64 = 120_000;

fn following() -> Following {
    let kinds = vec![EventKind::StudyComplete, EventKind::SeriesComplete];
    Following {
        missing_ms: MISSING,
        sinks: vec![Subscription { sink: "ris".to_owned(), kinds }],
        ..Following::default()
    }
}

/// A study whose quiet time runs, and what became of it.
struct Hinted {
    fixture: Fixture,
    is_sending: bool,
    may_ask: bool,
}

impl Hinted {
    fn new() -> Self {
        let mut fixture = Fixture::new();
        fixture.catalogue.follow(following()).unwrap();
        Self { fixture, is_sending: false, may_ask: false }
    }

    /// The study `1.2.1`, of which these numbers of the series 1 have come, each telling that.
    fn of(numbers: &[u32], told: ToldNumbers) -> Self {
        let mut hinted = Self::new();
        hinted.come(AT, numbers, |_| told);
        hinted
    }

    fn come(&mut self, at_ms: i64, numbers: &[u32], told: impl Fn(u32) -> ToldNumbers) {
        let of = |number: &u32| Record { received_ms: at_ms, told: told(*number), ..record(1, 1, *number) };
        self.fixture.catalogue.enter(&numbers.iter().map(of).collect::<Vec<_>>()).unwrap();
    }

    fn complete(&mut self, now_ms: i64) -> Completed {
        let (is_sending, may_ask) = (self.is_sending, self.may_ask);
        let circumstances = Circumstances { is_busy: &|_| is_sending, may_ask: &|title| may_ask && title == "CT1" };
        self.fixture.catalogue.complete(now_ms, 100, &circumstances).unwrap()
    }

    /// Asks at that time, and answers 5 ms later. What is done then.
    fn ask(&mut self, now_ms: i64, instances: Option<i64>) -> Completed {
        let asked = self.complete(now_ms);
        let question = Question {
            study_uid: "1.2.1".to_owned(),
            ae_title: "CT1".to_owned(),
            asked_ms: now_ms,
            until_ms: now_ms + 30_000,
        };
        assert_eq!((asked.studies, asked.questions), (0, vec![question]));
        self.answer(now_ms, instances);
        self.complete(now_ms + 5)
    }

    fn answer(&mut self, asked_ms: i64, instances: Option<i64>) {
        let answer = Answer { study_uid: "1.2.1".to_owned(), asked_ms, instances };
        self.fixture.catalogue.answer(&[answer], asked_ms + 5).unwrap();
    }

    /// The times at which series and study are complete, while nothing happens.
    fn ends(&mut self) -> (i64, i64) {
        let mut ends = (0, 0);
        while let Some(due_ms) = self.fixture.catalogue.next_due_ms().unwrap() {
            let done = self.complete(due_ms);
            assert_eq!(done.late_ms, 0);
            ends.0 = if done.series > 0 { due_ms } else { ends.0 };
            ends.1 = if done.studies > 0 { due_ms } else { ends.1 };
        }
        ends
    }

    /// Basis, expected and missing of the last event, which is of the study.
    fn told(&self) -> String {
        let mut reader = self.fixture.reader();
        let event = reader.events(0, None, 100).unwrap().events.pop().unwrap();
        assert_eq!(event.kind, EventKind::StudyComplete);
        let told = event.data.split("\"basis\":").nth(1).unwrap().trim_end_matches('}').to_owned();
        // People are told the same of the study.
        let Hints { basis, expected, missing } = reader.study("1.2.1").unwrap().unwrap().hints.unwrap();
        let expected = expected.map_or_else(|| "null".to_owned(), |number| number.to_string());
        assert_eq!(format!(r#""{}","expected":{expected},"missing":{missing}"#, basis.name()), told);
        told
    }
}

const NOTHING: ToldNumbers = ToldNumbers { study: None, series: None, acquisition: None };

#[test]
fn without_hints_the_quiet_times_hold() {
    let mut hinted = Hinted::of(&[1, 2, 3], NOTHING);
    assert_eq!(hinted.ends(), (AT + SERIES, AT + STUDY));
    assert_eq!(hinted.told(), r#""quiet","expected":null,"missing":0"#);
}

#[test]
fn a_hole_in_the_instance_numbers_lengthens_the_wait_to_its_bound() {
    let mut hinted = Hinted::of(&[1, 2, 4, 5, 7], NOTHING);
    assert_eq!(hinted.ends(), (AT + SERIES + MISSING, AT + STUDY + MISSING));
    assert_eq!(hinted.told(), r#""quiet","expected":null,"missing":2"#);
    // What is missing ends it: the quiet time holds from then on, and not what is left of the longer one.
    let mut hinted = Hinted::of(&[1, 3], NOTHING);
    assert_eq!(hinted.complete(AT + STUDY).waiting, 2);
    hinted.come(AT + STUDY + 1, &[2], |_| NOTHING);
    assert_eq!(hinted.ends(), (AT + STUDY + 1 + SERIES, AT + STUDY + 1 + STUDY));
    // Numbers that begin with 101, and numbers by tens, have no holes.
    assert_eq!(Hinted::of(&[101, 102, 103], NOTHING).ends().1, AT + STUDY);
    assert_eq!(Hinted::of(&[10, 20, 30], NOTHING).ends().1, AT + STUDY);
    // The last step of a wait is not begun anew, and shorter times in the settings hold at once.
    let mut hinted = Hinted::of(&[1, 3], NOTHING);
    hinted.complete(AT + STUDY);
    hinted.fixture.catalogue.follow(Following { missing_ms: 1_000, ..following() }).unwrap();
    hinted.complete(AT + STUDY + 1);
    assert_eq!(hinted.ends().1, AT + STUDY + 1_001);
    hinted.come(2 * AT, &[5], |_| NOTHING);
    hinted.fixture.catalogue.follow(Following { missing_ms: 0, ..following() }).unwrap();
    assert_eq!(hinted.ends().1, 2 * AT + STUDY);
}

#[test]
fn a_number_that_was_told_and_is_not_reached_lengthens_the_wait() {
    let study = ToldNumbers { study: Some(9), ..NOTHING };
    let mut hinted = Hinted::of(&[1, 2], study);
    assert_eq!(hinted.ends(), (AT + SERIES, AT + STUDY + MISSING));
    assert_eq!(hinted.told(), r#""quiet","expected":9,"missing":7"#);
    // It is forgotten then: what comes later tells anew.
    hinted.come(2 * AT, &[3], |_| NOTHING);
    assert_eq!(hinted.ends().1, 2 * AT + STUDY);
    let mut hinted = Hinted::of(&[1, 2], ToldNumbers { series: Some(4), ..NOTHING });
    assert_eq!(hinted.ends(), (AT + SERIES + MISSING, AT + STUDY + MISSING));
    assert_eq!(hinted.told(), r#""quiet","expected":null,"missing":2"#);
    // Images in Acquisition are not instances of a series, so it counts while half of them is there, and never shortens.
    assert_eq!(Hinted::of(&[1, 2], ToldNumbers { acquisition: Some(4), ..NOTHING }).ends().1, AT + STUDY + MISSING);
    assert_eq!(Hinted::of(&[1, 2], ToldNumbers { acquisition: Some(5), ..NOTHING }).ends().1, AT + STUDY);
    assert_eq!(Hinted::of(&[1, 2], ToldNumbers { acquisition: Some(2), ..NOTHING }).ends(), (AT + SERIES, AT + STUDY));
}

#[test]
fn a_number_that_was_told_and_is_reached_ends_the_wait_when_nobody_sends() {
    let told = ToldNumbers { study: Some(3), ..NOTHING };
    let mut hinted = Hinted::of(&[1, 2], told);
    assert_eq!(hinted.fixture.catalogue.next_due_ms().unwrap(), Some(AT + SERIES));
    hinted.come(AT + 10, &[3], |_| told);
    assert_eq!(hinted.ends(), (AT + 2_010, AT + 2_010), "with its series");
    assert_eq!(hinted.told(), r#""told","expected":3,"missing":0"#);
    // While somebody sends of it, it is held; then it is due at once.
    let mut hinted = Hinted::of(&[1, 2, 9], told);
    hinted.is_sending = true;
    assert_eq!(hinted.complete(AT + 2_000).held, 1);
    hinted.is_sending = false;
    hinted.fixture.catalogue.release(&["1.2.1".to_owned()], AT + 5_000).unwrap();
    assert_eq!(hinted.ends().1, AT + 5_000, "whatever the Instance Numbers are");
    // A series by itself.
    let mut hinted = Hinted::of(&[1, 2], ToldNumbers { series: Some(2), ..NOTHING });
    assert_eq!(hinted.ends(), (AT + 2_000, AT + STUDY));
}

#[test]
fn a_number_that_is_no_promise_shortens_nothing() {
    // How many the sender had so far.
    let mut hinted = Hinted::new();
    for number in 1..=4 {
        hinted.come(AT + i64::from(number), &[number], |so_far| ToldNumbers { study: Some(so_far.into()), ..NOTHING });
    }
    assert_eq!(hinted.ends().1, AT + 4 + STUDY);
    assert_eq!(hinted.told(), r#""quiet","expected":4,"missing":0"#);
    // One more, which again tells how many there are with it.
    hinted.come(2 * AT, &[5], |_| ToldNumbers { study: Some(5), ..NOTHING });
    assert_eq!(hinted.ends().1, 2 * AT + STUDY);
    // More than was told.
    let mut hinted = Hinted::of(&[1, 2], ToldNumbers { study: Some(2), ..NOTHING });
    hinted.come(AT + 100, &[3], |_| NOTHING);
    assert_eq!(hinted.ends().1, AT + 100 + STUDY);
    assert_eq!(hinted.told(), r#""quiet","expected":2,"missing":0"#);
    // Two contents of one instance are one instance.
    let mut hinted = Hinted::of(&[1], ToldNumbers { study: Some(2), ..NOTHING });
    let again = Record { path: "again.dcm".into(), digest: Some(77), ..record(1, 1, 1) };
    let told = ToldNumbers { study: Some(2), ..NOTHING };
    hinted.fixture.catalogue.enter(&[Record { received_ms: AT, told, ..again }]).unwrap();
    assert_eq!(hinted.ends().1, AT + STUDY + MISSING);
}

#[test]
fn a_source_that_has_no_more_ends_the_wait() {
    let mut hinted = Hinted::of(&[1, 3], NOTHING);
    hinted.may_ask = true;
    assert_eq!(hinted.ask(AT + STUDY, Some(2)).studies, 1, "a hole is no matter then");
    assert_eq!(hinted.told(), r#""asked","expected":2,"missing":0"#);
    assert_eq!(hinted.fixture.catalogue.next_due_ms().unwrap(), None, "the series is complete with it");
    // A late answer to it means nothing.
    hinted.answer(AT + STUDY, Some(7));
    assert_eq!(hinted.fixture.catalogue.next_due_ms().unwrap(), None);
}

#[test]
fn a_source_that_has_more_is_asked_again_to_the_bound() {
    let mut hinted = Hinted::of(&[1, 2], NOTHING);
    hinted.may_ask = true;
    let mut now = AT + STUDY;
    assert_eq!(hinted.ask(now, Some(4)).waiting, 1);
    now += 5 + STUDY;
    assert_eq!(hinted.fixture.catalogue.next_due_ms().unwrap(), Some(now));
    assert_eq!(hinted.ask(now, Some(4)).waiting, 1);
    now = AT + STUDY + 5 + MISSING;
    let done = hinted.ask(now, Some(3));
    assert_eq!((done.studies, done.lacking), (1, 1));
    assert_eq!(hinted.told(), r#""asked","expected":3,"missing":1"#);
}

#[test]
fn a_source_without_an_answer_delays_by_a_bounded_time() {
    let mut hinted = Hinted::of(&[1, 2], NOTHING);
    hinted.may_ask = true;
    assert_eq!(hinted.ask(AT + STUDY, None).studies, 1, "it says nothing");
    let mut hinted = Hinted::of(&[1, 2], NOTHING);
    hinted.may_ask = true;
    assert_eq!(hinted.complete(AT + STUDY).questions.len(), 1);
    assert_eq!(hinted.ends().1, AT + STUDY + 30_000);
    assert_eq!(hinted.told(), r#""quiet","expected":null,"missing":0"#);
    // What comes meanwhile begins the quiet time anew, and the answer is not to it.
    hinted.come(2 * AT, &[3], |_| NOTHING);
    hinted.complete(2 * AT + STUDY);
    hinted.come(2 * AT + STUDY + 1, &[4], |_| NOTHING);
    hinted.answer(2 * AT + STUDY, Some(3));
    assert_eq!(hinted.complete(2 * AT + 2 * STUDY).studies, 0);
    assert_eq!(hinted.ask(2 * AT + 2 * STUDY + 1, Some(4)).studies, 1);
}

#[test]
fn after_a_crash_between_question_and_answer_it_is_asked_again() {
    let mut hinted = Hinted::of(&[1, 2], NOTHING);
    hinted.may_ask = true;
    hinted.complete(AT + STUDY);
    let Hinted { fixture: Fixture { directory, catalogue }, .. } = hinted;
    drop(catalogue);
    let catalogue = tidegate_catalogue::Catalogue::open(&path_in(&directory), true).unwrap();
    let mut hinted = Hinted { fixture: Fixture { directory, catalogue }, is_sending: false, may_ask: true };
    hinted.fixture.catalogue.follow(following()).unwrap();
    hinted.fixture.catalogue.release_all(AT + STUDY + 3_000, AT + STUDY + 2_000).unwrap();
    hinted.answer(AT + STUDY, Some(2));
    assert_eq!(hinted.ask(AT + STUDY + 3_000, Some(2)).studies, 1);
    assert_eq!(hinted.told(), r#""asked","expected":2,"missing":0"#);
}

#[test]
fn settings_that_change_between_question_and_answer_begin_no_time_anew() {
    let mut hinted = Hinted::of(&[1, 2], NOTHING);
    hinted.may_ask = true;
    assert_eq!(hinted.complete(AT + STUDY).questions.len(), 1);
    for after_ms in [10_000, 20_000] {
        hinted.fixture.catalogue.follow(following()).unwrap();
        hinted.fixture.catalogue.release_all(AT + STUDY + after_ms, AT).unwrap();
        assert_eq!(hinted.complete(AT + STUDY + after_ms), Completed::default());
    }
    assert_eq!(hinted.fixture.catalogue.next_due_ms().unwrap(), Some(AT + STUDY + 30_000));
    hinted.answer(AT + STUDY, Some(2));
    assert_eq!(hinted.complete(AT + STUDY + 20_000).studies, 1);
    assert_eq!(hinted.told(), r#""asked","expected":2,"missing":0"#);
}
