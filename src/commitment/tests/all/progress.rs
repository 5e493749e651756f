//! From the request to its report.

use std::time::Duration;

use tidegate_commitment::{Attempt, FailureReason, Outcome, Requests, Retried, Stands, State};

use super::support::{Fixture, MINUTE, MISSING, RETRY_FOR, SECOND, T0, asked, check, directory, path_in, references};

#[test]
fn an_evaluation_is_noted_in_chunks_and_comes_to_a_summary() {
    let mut fixture = Fixture::new();
    let id = fixture.accept(1, 1, 6, T0);
    fixture.requests.record_outcomes(id, &[(0, Outcome::Committed), (1, MISSING), (2, Outcome::Committed)]).unwrap();
    let conflict = Outcome::Failed(FailureReason::ClassInstanceConflict);
    fixture.requests.record_outcomes(id, &[(3, conflict), (4, MISSING), (99, MISSING)]).unwrap();
    let summary = fixture.requests.conclude(id, T0 + 5).unwrap().unwrap();
    assert_eq!(summary.committed, 2);
    let failed = [
        (FailureReason::ProcessingFailure, 1), // the one that was not looked at
        (FailureReason::NoSuchObjectInstance, 2),
        (FailureReason::ClassInstanceConflict, 1),
    ];
    assert_eq!(summary.failed.into_iter().collect::<Vec<_>>(), failed);
    let request = fixture.requests.request(id).unwrap().unwrap();
    assert_eq!((request.state, request.committed, request.refused), (State::Evaluated, 2, 4));
    assert_eq!((request.evaluated_ms, request.next_ms), (Some(T0 + 5), Some(T0 + 5)));
    // Before the report, it is looked at again: one is gone, another has come.
    fixture.requests.record_outcomes(id, &[(0, MISSING), (1, Outcome::Committed), (4, Outcome::Committed)]).unwrap();
    let summary = fixture.requests.conclude(id, T0 + 6).unwrap().unwrap();
    assert_eq!((summary.committed, summary.failed.values().sum::<u32>()), (3, 3));
    let outcomes: Vec<_> = fixture.requests.references(id, 0, 2).unwrap().iter().map(|kept| kept.outcome).collect();
    assert_eq!(outcomes, [Some(MISSING), Some(Outcome::Committed)]);
    check(&fixture.path());
}

#[test]
fn what_has_ended_is_not_evaluated_and_not_reported_again() {
    let mut fixture = Fixture::new();
    let id = fixture.evaluated(1, 1, T0);
    assert_eq!(fixture.requests.record_attempt(id, Attempt::Reported, T0 + 1).unwrap(), Stands::Reported);
    let before = fixture.requests.request(id).unwrap().unwrap();
    assert_eq!((before.state, before.attempts, before.ended_ms), (State::Reported, 1, Some(T0 + 1)));
    assert_eq!(before.next_ms, None);
    fixture.requests.record_outcomes(id, &[(0, MISSING)]).unwrap();
    assert_eq!(fixture.requests.conclude(id, T0 + 2).unwrap(), None);
    assert!(!fixture.requests.wait(id, T0 + 9, T0 + 2).unwrap());
    let late = Attempt::Failed { status: None, why: "late" };
    for id in [id, id + 1] {
        assert_eq!(fixture.requests.record_attempt(id, late, T0 + 2).unwrap(), Stands::Unknown);
        assert_eq!(fixture.requests.record_attempt(id, Attempt::Reported, T0 + 2).unwrap(), Stands::Unknown);
    }
    assert_eq!(fixture.requests.request(id).unwrap().unwrap(), before);
    assert_eq!(fixture.requests.references(id, 0, 1).unwrap()[0].outcome, Some(Outcome::Committed));
    // One that is not evaluated has no report yet.
    let new = fixture.accept(1, 2, 1, T0);
    assert_eq!(fixture.requests.record_attempt(new, Attempt::Reported, T0).unwrap(), Stands::Unknown);
}

#[test]
fn a_report_is_tried_for_a_day_and_then_given_up() {
    let mut fixture = Fixture::new();
    let id = fixture.evaluated(1, 1, T0);
    let long = "ä".repeat(2000);
    let (mut now_ms, mut waits) = (T0, Vec::new());
    loop {
        let why = Attempt::Failed { status: None, why: &long };
        match fixture.requests.record_attempt(id, why, now_ms).unwrap() {
            Stands::Again { at_ms } => {
                waits.push(at_ms - now_ms);
                assert_eq!(fixture.due(at_ms - 1), []);
                assert_eq!(fixture.due(at_ms), [id]);
                now_ms = at_ms;
            }
            stands => break assert_eq!(stands, Stands::GivenUp),
        }
    }
    let tried_ms = now_ms - T0;
    let day_ms = RETRY_FOR.as_millis() as i64;
    assert!((day_ms..day_ms + 11 * MINUTE).contains(&tried_ms), "{tried_ms}");
    assert!((27 * SECOND..=33 * SECOND).contains(&waits[0]) && (54 * SECOND..=66 * SECOND).contains(&waits[1]));
    assert!(waits[6..].iter().all(|wait| (540 * SECOND..=600 * SECOND).contains(wait)), "{waits:?}");
    let request = fixture.requests.request(id).unwrap().unwrap();
    assert_eq!((request.state, request.attempts), (State::GivenUp, waits.len() as u32 + 1));
    assert_eq!(request.last_comment, "ä".repeat(512));
    assert_eq!((fixture.requests.counts().unwrap().failed, fixture.due(now_ms * 2).len()), (1, 0));
}

#[test]
fn instances_are_waited_for_and_the_report_has_its_own_time() {
    let directory = directory();
    let mut requests = Requests::open(&path_in(&directory), Duration::from_secs(60), T0).unwrap();
    let id = requests.accept(&asked(1, 1), references(1), T0).unwrap();
    let mut now_ms = T0;
    while requests.wait(id, now_ms + 5 * SECOND, now_ms).unwrap() {
        now_ms += 5 * SECOND;
        assert_eq!(requests.due(now_ms, 1, |_| true).unwrap().len(), 1);
    }
    assert_eq!(now_ms, T0 + MINUTE);
    let summary = requests.conclude(id, now_ms).unwrap().unwrap();
    assert_eq!(summary.failed.get(&FailureReason::ProcessingFailure), Some(&1));
    assert!(!requests.wait(id, now_ms + 1, now_ms).unwrap(), "its outcome is known");
    let failed = Attempt::Failed { status: None, why: "away" };
    assert!(matches!(requests.record_attempt(id, failed, now_ms + 59 * SECOND).unwrap(), Stands::Again { .. }));
    assert_eq!(requests.record_attempt(id, failed, now_ms + MINUTE).unwrap(), Stands::GivenUp);
    // No wait is longer than ten minutes, whatever the caller says.
    let id = requests.accept(&asked(1, 2), references(1), now_ms).unwrap();
    assert!(requests.wait(id, i64::MAX, now_ms).unwrap());
    assert_eq!(requests.request(id).unwrap().unwrap().next_ms, Some(now_ms + 10 * MINUTE));
}

#[test]
fn an_operator_puts_back_what_has_ended_and_hastens_what_waits() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.requests.retry(5, T0).unwrap(), Retried::Unknown);
    let id = fixture.evaluated(1, 1, T0);
    let failed = Attempt::Failed { status: Some(0xC000), why: "full" };
    fixture.requests.record_attempt(id, failed, T0).unwrap();
    assert_eq!(fixture.due(T0 + 1), []);
    assert_eq!(fixture.requests.retry(id, T0 + 1).unwrap(), Retried::WasPending);
    assert_eq!(fixture.due(T0 + 1), [id]);
    assert_eq!(fixture.requests.request(id).unwrap().unwrap().state, State::Evaluated);
    fixture.requests.record_attempt(id, Attempt::Reported, T0 + 2).unwrap();
    assert_eq!(fixture.requests.retry(id, T0 + 3).unwrap(), Retried::PutBack);
    let request = fixture.requests.request(id).unwrap().unwrap();
    assert_eq!((request.state, request.attempts, request.ended_ms), (State::Received, 0, None));
    assert_eq!(fixture.due(T0 + 3), [id]);
    assert_eq!(fixture.requests.conclude(id, T0 + 4).unwrap().unwrap().committed, 2);
}
