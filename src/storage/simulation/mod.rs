//! Histories of a node on a simulated machine, each from a seed, and the invariants that must hold at the end of each.
//!
//! `TIDEGATE_HISTORIES=100000 cargo test -p tidegate-storage --lib simulation` runs that many; `TIDEGATE_SEED=17` runs one and
//! tells every call of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod oracle;
mod people;
mod plan;
mod removing;
mod retries;
mod workload;
mod world;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::world::{Outcome, history};

/// Run by a plain `cargo test`.
const HISTORIES: u64 = 2000;

/// A run stops after this many violations.
const MAX_COMPLAINTS: usize = 20;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().expect("a number"))
}

/// The result of many histories.
#[derive(Debug, Default)]
struct Tally {
    histories: AtomicU64,
    calls: AtomicU64,
    acknowledged: AtomicU64,
    found_aside: AtomicU64,
    complaints: Mutex<Vec<(u64, String)>>,
}

impl Tally {
    fn run(&self, seed: u64) {
        let complaint = match catch_unwind(AssertUnwindSafe(|| history(seed, false))) {
            Ok(Outcome { result, calls, acknowledged, found_aside, .. }) => {
                self.calls.fetch_add(calls, Ordering::Relaxed);
                self.acknowledged.fetch_add(acknowledged as u64, Ordering::Relaxed);
                self.found_aside.fetch_add(found_aside, Ordering::Relaxed);
                result.err()
            }
            Err(_) => Some("the history itself panicked".to_owned()),
        };
        self.histories.fetch_add(1, Ordering::Relaxed);
        if let Some(complaint) = complaint {
            self.complaints.lock().unwrap().push((seed, complaint));
        }
    }

    fn is_enough(&self) -> bool {
        self.complaints.lock().unwrap().len() >= MAX_COMPLAINTS
    }
}

#[test]
fn what_is_acknowledged_is_there_and_what_is_refused_is_not_whatever_happens() {
    if let Some(seed) = number("TIDEGATE_SEED") {
        let outcome = history(seed, true);
        println!("{outcome:?}");
        return outcome.result.unwrap();
    }
    let (first, count) = (number("TIDEGATE_FIRST").unwrap_or(0), number("TIDEGATE_HISTORIES").unwrap_or(HISTORIES));
    let (tally, next, begun) = (Tally::default(), AtomicU64::new(first), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(|| {
                while !tally.is_enough() {
                    let from = next.fetch_add(64, Ordering::Relaxed);
                    let seeds = from..(from + 64).min(first + count);
                    if seeds.is_empty() {
                        return;
                    }
                    seeds.for_each(|seed| tally.run(seed));
                }
            });
        }
    });
    let histories = tally.histories.load(Ordering::Relaxed);
    let each = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / histories as f64;
    println!(
        "{histories} histories, {:.0} in a second; in each {:.0} calls, {:.1} paths acknowledged, {:.3} set aside",
        histories as f64 / begun.elapsed().as_secs_f64(),
        each(&tally.calls),
        each(&tally.acknowledged),
        each(&tally.found_aside),
    );
    let mut complaints = tally.complaints.into_inner().unwrap();
    complaints.sort();
    let text = complaints.iter().fold(String::new(), |mut text, (seed, complaint)| {
        let _ = writeln!(text, "TIDEGATE_SEED={seed}: {complaint}");
        text
    });
    assert!(complaints.is_empty(), "{text}");
}

#[test]
fn a_seed_is_the_same_history_again() {
    for seed in 0..40 {
        let (first, second) = (history(seed, false), history(seed, false));
        assert_eq!((first.hash, first.calls), (second.hash, second.calls), "seed {seed}");
    }
}
