//! Which request is next: in turns between peers, and by any clock.

use std::collections::BTreeMap;

use tidegate_commitment::{Attempt, LONGEST_WAIT, MAX_PENDING_OF_PEER, Peer, Stands, State};

use super::support::{DAY, Fixture, MINUTE, SECOND, T0, ids, peer};

#[test]
fn a_peer_with_a_thousand_requests_that_hang_delays_no_other() {
    let mut fixture = Fixture::new();
    for transaction in 0..MAX_PENDING_OF_PEER as u32 {
        fixture.evaluated(0, transaction, T0);
    }
    let others: Vec<i64> = (1..=10).map(|number| fixture.evaluated(number, 1, T0 + SECOND)).collect();
    let now_ms = T0 + MINUTE;
    let due = fixture.requests.due(now_ms, 1000, |_| true).unwrap();
    assert_eq!(due.len(), 11, "one of each peer");
    assert_eq!(ids(&due[1..]), others);
    // Four calls at once, one to a peer: the first hangs for ever, and the others come through.
    let (mut hanging, mut reported): (BTreeMap<Peer, i64>, Vec<i64>) = Default::default();
    for _ in 0..100 {
        let may = |due: &tidegate_commitment::Due| !hanging.contains_key(&due.asked.peer);
        let due = fixture.requests.due(now_ms, 4 - hanging.len(), may).unwrap();
        for due in due {
            if due.asked.peer == peer(0) {
                hanging.insert(due.asked.peer, due.id);
            } else {
                fixture.requests.record_attempt(due.id, Attempt::Reported, now_ms).unwrap();
                reported.push(due.id);
            }
        }
    }
    assert_eq!((hanging.len(), reported), (1, others));
}

#[test]
fn requests_of_a_peer_that_are_to_be_evaluated_do_not_wait_for_its_reports() {
    let mut fixture = Fixture::new();
    let to_report = fixture.evaluated(1, 1, T0);
    let to_evaluate = fixture.accept(1, 2, 1, T0);
    assert_eq!(fixture.due(T0), [to_report, to_evaluate]);
    let due = fixture.requests.due(T0, 9, |due| due.state == State::Received).unwrap();
    assert_eq!(ids(&due), [to_evaluate]);
    // The same AE title at another address is another peer.
    let mut asked = super::support::asked(1, 3);
    asked.peer.address = peer(9).address;
    let elsewhere = fixture.requests.accept(&asked, super::support::references(1), T0).unwrap();
    assert_eq!(fixture.due(T0), [to_report, to_evaluate, elsewhere]);
}

#[test]
fn of_a_peer_the_oldest_is_first() {
    let mut fixture = Fixture::new();
    let first = fixture.accept(1, 1, 1, T0);
    let second = fixture.accept(1, 2, 1, T0 + 5);
    assert_eq!(fixture.due(T0 + 10), [first]);
    assert!(fixture.requests.wait(first, T0 + SECOND, "", T0 + 10).unwrap());
    assert_eq!(fixture.due(T0 + 10), [second]);
    assert_eq!(fixture.requests.next_due_ms(T0 + 10).unwrap(), Some(T0 + SECOND));
    assert!(fixture.requests.wait(second, T0 + 2 * SECOND, "", T0 + 10).unwrap());
    assert_eq!(fixture.due(T0 + 999), []);
    assert_eq!(fixture.due(T0 + SECOND), [first]);
}

#[test]
fn a_clock_that_is_set_back_by_a_day_delays_a_report_by_ten_minutes_at_most() {
    let mut fixture = Fixture::new();
    let id = fixture.evaluated(1, 1, T0);
    let failed = Attempt::Failed { status: None, why: "away" };
    assert!(matches!(fixture.requests.record_attempt(id, failed, T0).unwrap(), Stands::Again { .. }));
    let back_ms = T0 - DAY;
    let longest_ms = LONGEST_WAIT.as_millis() as i64;
    assert_eq!(fixture.due(back_ms), []);
    assert_eq!(fixture.requests.next_due_ms(back_ms).unwrap(), Some(back_ms + longest_ms));
    assert_eq!(fixture.due(back_ms + longest_ms / 2), [], "counted from when it was seen");
    assert_eq!(fixture.due(back_ms + longest_ms), [id]);
    // Also where nobody asked in between, and after a restart.
    let path = fixture.path();
    let Fixture { directory: _directory, requests } = fixture;
    drop(requests);
    let mut requests = super::support::open(&path).unwrap();
    assert_eq!(ids(&requests.due(back_ms + longest_ms, 9, |_| true).unwrap()), [id]);
}

#[test]
fn a_clock_that_is_set_forward_by_a_day_ends_no_request() {
    let mut fixture = Fixture::new();
    let id = fixture.evaluated(1, 1, T0);
    let waiting = fixture.accept(2, 1, 1, T0);
    let failed = Attempt::Failed { status: Some(0x0110), why: "busy" };
    for (now_ms, attempts) in [(T0, 1), (T0 + DAY, 2), (T0, 3), (T0 + 2 * DAY, 4)] {
        assert!(matches!(fixture.requests.record_attempt(id, failed, now_ms).unwrap(), Stands::Again { .. }));
        assert!(fixture.requests.wait(waiting, now_ms + SECOND, "", now_ms).unwrap());
        let request = fixture.requests.request(id).unwrap().unwrap();
        assert_eq!((request.attempts, request.last_status, &*request.last_comment), (attempts, Some(0x0110), "busy"));
        assert!(request.tried_ms <= 30 * MINUTE, "{}", request.tried_ms);
    }
}

#[test]
fn a_peer_that_comes_back_has_its_reports_at_once() {
    let mut fixture = Fixture::new();
    let mine: Vec<i64> = (0..3).map(|transaction| fixture.evaluated(1, transaction, T0)).collect();
    let other = fixture.evaluated(2, 1, T0);
    for id in mine.iter().chain([&other]) {
        fixture.requests.record_attempt(*id, Attempt::Impossible { why: "no address" }, T0).unwrap();
    }
    assert_eq!(fixture.due(T0 + 9 * MINUTE), []);
    assert_eq!(fixture.requests.hasten(&peer(1).calling, Some(&peer(1).address), T0 + 9 * MINUTE).unwrap(), 3);
    assert_eq!(fixture.due(T0 + 9 * MINUTE), [mine[0]]);
    assert_eq!(fixture.requests.request(mine[0]).unwrap().unwrap().attempts, 0, "none was made");
    assert_eq!(fixture.due(T0 + 10 * MINUTE).len(), 2);
}

#[test]
fn what_hinders_the_node_is_no_attempt_and_a_peer_that_is_away_is_not_called_for_what_is_evaluated_later() {
    let mut fixture = Fixture::new();
    let id = fixture.evaluated(1, 1, T0);
    let hindered = Attempt::Hindered { why: "catching up" };
    let stands = fixture.requests.record_attempt(id, hindered, T0).unwrap();
    assert_eq!(stands, Stands::Again { at_ms: T0 + 5 * SECOND });
    let request = fixture.requests.request(id).unwrap().unwrap();
    assert_eq!((request.attempts, &*request.last_comment), (0, "catching up"));
    assert_eq!(
        fixture.requests.record_attempt(id, hindered, T0 + 100 * DAY).unwrap(),
        Stands::Again { at_ms: T0 + 100 * DAY + 5 * SECOND }
    );
    let later = fixture.evaluated(1, 2, T0);
    fixture.requests.defer(later, T0 + MINUTE).unwrap();
    assert_eq!(fixture.due(T0 + MINUTE - 1), []);
    fixture.requests.defer(later, T0 + SECOND).unwrap();
    assert_eq!(fixture.due(T0 + MINUTE), [later], "never earlier");
}

#[test]
fn a_peer_that_cannot_be_reached_is_tried_with_one_request_at_a_time() {
    let mut fixture = Fixture::new();
    let mine: Vec<i64> = (0..4).map(|transaction| fixture.evaluated(1, transaction, T0)).collect();
    let other = fixture.evaluated(2, 1, T0);
    let later = fixture.evaluated(1, 9, T0 + MINUTE);
    let fail = |fixture: &mut Fixture, id: i64, now_ms: i64| {
        let attempt = Attempt::Failed { status: None, why: "silent" };
        let Stands::Again { at_ms } = fixture.requests.record_attempt(id, attempt, now_ms).unwrap() else { panic!() };
        let leader = fixture.requests.request(id).unwrap().unwrap();
        let given_up = fixture.requests.postpone(&leader, at_ms, "silent", now_ms, |other| other.id == mine[3]);
        (at_ms, ids(&given_up.unwrap()))
    };
    let (at_ms, given_up) = fail(&mut fixture, mine[0], T0);
    assert_eq!(given_up, []);
    assert_eq!(fixture.due(T0), [mine[3], other], "what has another way, and other peers, wait for nothing");
    let request = |fixture: &Fixture, id: i64| fixture.requests.request(id).unwrap().unwrap();
    let waiting = request(&fixture, mine[1]);
    assert_eq!((waiting.attempts, waiting.next_ms, &*waiting.last_comment), (1, Some(at_ms - 1), "silent"));
    // The one that failed comes last, so that a report that its peer cannot take stands in the way of no other.
    assert_eq!(request(&fixture, mine[0]).next_ms, Some(at_ms));
    assert_eq!(request(&fixture, later).attempts, 1 - u32::from(at_ms < T0 + MINUTE), "it was not due yet");
    fixture.requests.record_attempt(mine[3], Attempt::Reported, T0).unwrap();
    // All are given up together, and nothing is left behind.
    let mut now_ms = at_ms;
    let mut ended = Vec::new();
    for _ in 0..1000 {
        let Some(id) = fixture.due(now_ms).into_iter().find(|id| *id != other) else { break };
        let attempt = Attempt::Failed { status: None, why: "silent" };
        match fixture.requests.record_attempt(id, attempt, now_ms).unwrap() {
            Stands::Again { at_ms } => {
                let leader = request(&fixture, id);
                let given_up = fixture.requests.postpone(&leader, at_ms, "silent", now_ms, |_| false);
                ended.extend(ids(&given_up.unwrap()));
                now_ms = at_ms;
            }
            _ => ended.push(id),
        }
    }
    ended.retain(|id| *id != later);
    ended.sort_unstable();
    assert_eq!(ended, mine[..3]);
    let tried: Vec<i64> = mine[..3].iter().map(|id| request(&fixture, *id).attempts.into()).collect();
    assert!(tried.iter().all(|attempts| (140..170).contains(attempts)), "one every ten minutes of a day: {tried:?}");
}
