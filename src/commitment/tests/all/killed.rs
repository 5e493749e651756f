//! kill -9 in the middle of everything.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_commitment::{Attempt, Outcome, State};

use super::support::{DAY, MISSING, T0, asked, check, directory, open, path_in, reference, references};

const FILE: &str = "TIDEGATE_TEST_COMMITMENTS";

/// Rounds, of a day each, after which a request that was reported may be gone.
const KEPT_ROUNDS: u32 = 30;

fn instances_of(round: u32) -> u32 {
    1 + round * 37 % 300
}

/// Not a test of its own: the process that is killed. It says what it has done.
#[test]
fn the_process_that_is_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let mut requests = open(&PathBuf::from(path)).unwrap();
    println!();
    for round in 0.. {
        let now_ms = T0 + i64::from(round) * DAY;
        let instances = instances_of(round);
        let id = requests.accept(&asked(round % 7, round), references(instances), now_ms).unwrap();
        println!("accepted {id} {round}");
        let outcomes: Vec<_> =
            (0..instances).map(|at| (at, if at % 5 == 0 { MISSING } else { Outcome::Committed })).collect();
        for chunk in outcomes.chunks(100) {
            requests.record_outcomes(id, chunk).unwrap();
        }
        requests.conclude(id, now_ms).unwrap();
        let failed = Attempt::Failed { status: None, why: "away" };
        requests.record_attempt(id, failed, now_ms).unwrap();
        // Of three, one stays pending.
        if round % 3 > 0 {
            requests.record_attempt(id, Attempt::Reported, now_ms).unwrap();
            println!("reported {id} {round}");
        }
        if round % 3 == 2 && round % 2 == 0 {
            requests.retry(id, now_ms).unwrap();
        }
        requests.prune(now_ms).unwrap();
    }
}

/// What it has said, by round.
fn run_for(time: Duration, path: &std::path::Path) -> (BTreeMap<u32, i64>, BTreeMap<u32, i64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_is_killed", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.by_ref().find(|line| line.starts_with("accepted")).unwrap();
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut accepted, mut reported) = (BTreeMap::new(), BTreeMap::new());
    for line in std::iter::once(first).chain(lines) {
        let words: Vec<&str> = line.split(' ').collect();
        match *words {
            ["accepted", id, round] => _ = accepted.insert(round.parse().unwrap(), id.parse().unwrap()),
            ["reported", id, round] => _ = reported.insert(round.parse().unwrap(), id.parse().unwrap()),
            _ => {}
        }
    }
    (accepted, reported)
}

#[test]
fn what_was_accepted_is_there_after_kill_9_and_what_was_reported_is_not_pending() {
    let kills = std::env::var("TIDEGATE_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(25);
    for kill in 0..kills {
        let directory = directory();
        let path = path_in(&directory);
        let (accepted, reported) = run_for(Duration::from_micros(kill * 4271 % 120_000), &path);
        let last = *accepted.last_key_value().unwrap().0;
        let mut requests = open(&path).unwrap();
        let now_ms = T0 + i64::from(last) * DAY;
        for (round, id) in &accepted {
            let Some(request) = requests.request(*id).unwrap() else {
                assert!(round % 3 > 0 && last - round >= KEPT_ROUNDS, "request {round} of {last} is lost");
                continue;
            };
            let kept = requests.references(*id, 0, u32::MAX).unwrap();
            assert_eq!(kept.len() as u32, instances_of(*round));
            assert!(kept.iter().all(|kept| kept.reference == reference(kept.position)));
            let was_reported = reported.contains_key(round);
            let may_be_put_back = round % 6 == 2;
            assert!(!was_reported || may_be_put_back || request.state == State::Reported, "{round}: {request:?}");
            assert!(round % 3 > 0 || request.state.is_pending(), "{round}: {request:?}");
            let was_evaluated = request.evaluated_ms.is_some();
            match request.state {
                State::Received => assert!(!was_evaluated || may_be_put_back, "{round}: {request:?}"),
                _ => assert!(was_evaluated, "{round}: {request:?}"),
            }
        }
        assert!(requests.accept(&asked(99, 1), references(3), now_ms).unwrap() > *accepted.last_key_value().unwrap().1);
        while requests.prune(now_ms + 100 * DAY).unwrap() {}
        drop(requests);
        check(&path);
    }
}
