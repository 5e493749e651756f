//! Any history of requests, evaluations, attempts, retries, clock jumps and restarts: the record says what a simple model says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;
use tidegate_commitment::{Attempt, NotAccepted, Outcome, Requests, Retried, Stands, State};

use super::support::{
    DAY, MINUTE, MISSING, RETRY_FOR, SECOND, T0, asked, check, directory, ids, open, path_in, peer, references,
};

const STEP_MS: i64 = 15 * MINUTE;
const WAIT_MS: i64 = 10 * MINUTE;

#[derive(Clone, Debug)]
enum Act {
    Accept {
        peer: u32,
        transaction: u32,
        instances: u32,
    },
    /// Of one of those that are due: some outcomes.
    Evaluate {
        at: usize,
        found: Vec<bool>,
        concludes: bool,
    },
    Wait {
        at: usize,
        ms: i64,
    },
    Report {
        at: usize,
        result: u8,
    },
    Hasten {
        peer: u32,
    },
    Retry {
        at: usize,
    },
    Prune,
    PassTime {
        ms: i64,
    },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let at = 0_usize..20;
    let found = proptest::collection::vec(any::<bool>(), 0..5);
    let times = prop_oneof![
        4 => 0_i64..MINUTE,
        4 => Just(WAIT_MS),
        1 => Just(DAY),
        1 => Just(-DAY),
        1 => Just(31 * DAY),
        1 => Just(-SECOND)
    ];
    prop_oneof![
        4 => (0_u32..3, 0_u32..6, 1_u32..5)
            .prop_map(|(peer, transaction, instances)| Act::Accept { peer, transaction, instances }),
        4 => (at.clone(), found, any::<bool>()).prop_map(|(at, found, concludes)| Act::Evaluate { at, found, concludes }),
        2 => (at.clone(), prop_oneof![0_i64..MINUTE, Just(DAY)]).prop_map(|(at, ms)| Act::Wait { at, ms }),
        6 => (at.clone(), 0_u8..4).prop_map(|(at, result)| Act::Report { at, result }),
        1 => (0_u32..3).prop_map(|peer| Act::Hasten { peer }),
        1 => at.prop_map(|at| Act::Retry { at }),
        1 => Just(Act::Prune),
        5 => times.prop_map(|ms| Act::PassTime { ms }),
        1 => Just(Act::Restart),
    ]
}

#[derive(Clone, Debug)]
struct Model {
    peer: u32,
    transaction: u32,
    state: State,
    outcomes: Vec<Option<bool>>,
    next_ms: i64,
    attempts: u32,
    tried_ms: i64,
    counted_ms: i64,
    ended_ms: i64,
}

impl Model {
    fn try_until(&mut self, now_ms: i64) -> bool {
        self.tried_ms += (now_ms - self.counted_ms).clamp(0, STEP_MS);
        self.tried_ms >= RETRY_FOR.as_millis() as i64
    }
}

struct World {
    path: PathBuf,
    requests: Option<Requests>,
    models: BTreeMap<i64, Model>,
    used: BTreeSet<i64>,
    now_ms: i64,
}

impl World {
    fn requests(&mut self) -> &mut Requests {
        self.requests.as_mut().unwrap()
    }

    /// The id of some request, of those that are there.
    fn some(&self, at: usize) -> Option<i64> {
        self.models.keys().nth(at % self.models.len().max(1)).copied()
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Accept { peer, transaction, instances } => self.accept(*peer, *transaction, *instances)?,
            Act::Evaluate { at, found, concludes } => self.evaluate(*at, found, *concludes)?,
            Act::Wait { at, ms } => self.wait(*at, *ms)?,
            Act::Report { at, result } => self.report(*at, *result)?,
            Act::Hasten { peer: number } => {
                let now_ms = self.now_ms;
                self.requests().hasten(&peer(*number), now_ms).unwrap();
                let of_peer = |model: &&mut Model| model.peer == *number && model.state == State::Evaluated;
                self.models.values_mut().filter(of_peer).for_each(|model| model.next_ms = model.next_ms.min(now_ms));
            }
            Act::Retry { at } => self.retry(*at)?,
            Act::Prune => {
                let now_ms = self.now_ms;
                while self.requests().prune(now_ms).unwrap() {}
                self.models.retain(|_, model| model.state.is_pending() || model.ended_ms >= now_ms - 30 * DAY);
            }
            Act::PassTime { ms } => self.now_ms += ms,
            Act::Restart => {
                self.requests = None;
                self.requests = Some(open(&self.path).unwrap());
            }
        }
        Ok(())
    }

    fn accept(&mut self, peer: u32, transaction: u32, instances: u32) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms;
        let is_used = self.models.values().any(|model| (model.peer, model.transaction) == (peer, transaction));
        match self.requests().accept(&asked(peer, transaction), references(instances), now_ms) {
            Ok(id) => {
                prop_assert!(!is_used && self.used.insert(id) && self.used.last() == Some(&id));
                let outcomes = vec![None; instances as usize];
                let (state, attempts, tried_ms, ended_ms) = (State::Received, 0, 0, 0);
                let (next_ms, counted_ms) = (now_ms, now_ms);
                self.models.insert(
                    id,
                    Model { peer, transaction, state, outcomes, next_ms, attempts, tried_ms, counted_ms, ended_ms },
                );
            }
            Err(error) => prop_assert!(is_used && matches!(error, NotAccepted::Duplicate { .. }), "{error}"),
        }
        Ok(())
    }

    fn evaluate(&mut self, at: usize, found: &[bool], concludes: bool) -> Result<(), TestCaseError> {
        let Some(id) = self.some(at) else { return Ok(()) };
        let now_ms = self.now_ms;
        let outcome = |found: &bool| if *found { Outcome::Committed } else { MISSING };
        let outcomes: Vec<_> = found.iter().enumerate().map(|(at, found)| (at as u32, outcome(found))).collect();
        self.requests().record_outcomes(id, &outcomes).unwrap();
        let summary = if concludes { self.requests().conclude(id, now_ms).unwrap() } else { None };
        let model = self.models.get_mut(&id).unwrap();
        if !model.state.is_pending() {
            prop_assert_eq!(summary, None);
            return Ok(());
        }
        model.outcomes.iter_mut().zip(found).for_each(|(outcome, found)| *outcome = Some(*found));
        if concludes {
            model.outcomes.iter_mut().for_each(|outcome| _ = outcome.get_or_insert(false));
            if model.state == State::Received {
                (model.state, model.next_ms) = (State::Evaluated, now_ms);
                (model.tried_ms, model.counted_ms) = (0, now_ms);
            }
            let committed = model.outcomes.iter().filter(|outcome| **outcome == Some(true)).count();
            prop_assert_eq!(summary.map(|summary| summary.committed), Some(committed as u32));
        }
        Ok(())
    }

    fn wait(&mut self, at: usize, ms: i64) -> Result<(), TestCaseError> {
        let Some(id) = self.some(at) else { return Ok(()) };
        let now_ms = self.now_ms;
        let waits = self.requests().wait(id, now_ms + ms, now_ms).unwrap();
        let model = self.models.get_mut(&id).unwrap();
        let mut tried = model.clone();
        let may_wait = model.state == State::Received && !tried.try_until(now_ms);
        prop_assert_eq!(waits, may_wait);
        if may_wait {
            *model = Model { next_ms: now_ms + ms.min(WAIT_MS), counted_ms: now_ms, ..tried };
        }
        Ok(())
    }

    fn report(&mut self, at: usize, result: u8) -> Result<(), TestCaseError> {
        let Some(id) = self.some(at) else { return Ok(()) };
        let now_ms = self.now_ms;
        let attempt = match result {
            0 => Attempt::Reported,
            1 => Attempt::Impossible { why: "no address" },
            _ => Attempt::Failed { status: None, why: "away" },
        };
        let stands = self.requests().record_attempt(id, attempt, now_ms).unwrap();
        let model = self.models.get_mut(&id).unwrap();
        if model.state != State::Evaluated {
            prop_assert_eq!(stands, Stands::Unknown);
            return Ok(());
        }
        let is_over = model.try_until(now_ms);
        model.counted_ms = now_ms;
        model.attempts += u32::from(result != 1);
        match stands {
            Stands::Again { at_ms } => {
                let wait_ms = at_ms - now_ms;
                let doubled = ((30 * SECOND) << (model.attempts.max(1) - 1).min(9)).min(WAIT_MS);
                let is_due = if result == 1 { wait_ms == WAIT_MS } else { (wait_ms - doubled).abs() * 10 <= doubled };
                prop_assert!(result > 0 && !is_over && is_due && wait_ms <= WAIT_MS, "{} {}", wait_ms, doubled);
                model.next_ms = at_ms;
            }
            Stands::Reported => {
                prop_assert_eq!(result, 0);
                (model.state, model.ended_ms) = (State::Reported, now_ms);
            }
            Stands::GivenUp => {
                prop_assert!(result > 0 && is_over);
                (model.state, model.ended_ms) = (State::GivenUp, now_ms);
            }
            Stands::Unknown => prop_assert!(false, "it waits for a report"),
        }
        Ok(())
    }

    fn retry(&mut self, at: usize) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms;
        let id = self.some(at).unwrap_or(1);
        let retried = self.requests().retry(id, now_ms).unwrap();
        let Some(model) = self.models.get_mut(&id) else {
            prop_assert_eq!(retried, Retried::Unknown);
            return Ok(());
        };
        prop_assert_eq!(retried, if model.state.is_pending() { Retried::WasPending } else { Retried::PutBack });
        if !model.state.is_pending() {
            model.state = State::Received;
        }
        (model.next_ms, model.counted_ms) = (now_ms, now_ms);
        (model.attempts, model.tried_ms) = (0, 0);
        Ok(())
    }

    /// Each request, and which are due.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms;
        let due = ids(&self.requests().due(now_ms, 1000, |_| true).unwrap());
        let mut first = BTreeMap::<(u32, i64), i64>::new();
        for model in self.models.values_mut().filter(|model| model.state.is_pending()) {
            model.next_ms = model.next_ms.min(now_ms + WAIT_MS);
            if model.next_ms <= now_ms {
                let group = (model.peer, i64::from(model.state == State::Evaluated));
                let first = first.entry(group).or_insert(model.next_ms);
                *first = (*first).min(model.next_ms);
            }
        }
        let group = |id: &i64| (self.models[id].peer, i64::from(self.models[id].state == State::Evaluated));
        let found: BTreeMap<_, _> = due.iter().map(|id| (group(id), self.models[id].next_ms)).collect();
        prop_assert_eq!((found, due.len()), (first.clone(), first.len()));
        prop_assert!(due.is_sorted_by_key(|id| self.models[id].next_ms));
        let requests = self.requests.as_ref().unwrap();
        for (id, model) in &self.models {
            let request = requests.request(*id).unwrap().unwrap();
            prop_assert_eq!((request.state, request.attempts), (model.state, model.attempts));
            prop_assert_eq!(request.tried_ms, model.tried_ms);
            prop_assert_eq!(request.next_ms, model.state.is_pending().then_some(model.next_ms));
            prop_assert_eq!(request.ended_ms, (!model.state.is_pending()).then_some(model.ended_ms));
            let kept = requests.references(*id, 0, 100).unwrap();
            let outcome = |found: bool| if found { Outcome::Committed } else { MISSING };
            for (kept, model) in kept.iter().zip(&model.outcomes) {
                let is_same = match (kept.outcome, *model) {
                    // Those that were not looked at have another reason.
                    (Some(Outcome::Failed(_)), Some(false)) => true,
                    (kept, model) => kept == model.map(outcome),
                };
                prop_assert!(is_same, "{:?} {:?}", kept, model);
            }
            prop_assert_eq!(kept.len(), model.outcomes.len());
        }
        let counts = requests.counts().unwrap();
        let count = |state| self.models.values().filter(|model| model.state == state).count() as u64;
        let expected = (count(State::Received), count(State::Evaluated), count(State::GivenUp));
        prop_assert_eq!((counts.received, counts.evaluated, counts.failed), expected);
        Ok(())
    }
}

/// As many as `TIDEGATE_HISTORIES` says.
fn histories() -> u32 {
    std::env::var("TIDEGATE_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_record_says_what_the_model_says(acts in proptest::collection::vec(act(), 1..120)) {
        let directory = directory();
        let path = path_in(&directory);
        let requests = Some(open(&path).unwrap());
        let mut world = World { path, requests, models: BTreeMap::new(), used: BTreeSet::new(), now_ms: T0 };
        for act in &acts {
            world.act(act)?;
            world.compare()?;
        }
        world.requests = None;
        check(&world.path);
    }
}
