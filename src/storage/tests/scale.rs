//! What a commit costs does not depend on how many instances are stored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::{Duration, Instant};

use support::*;
use tidegate_storage::{Durability, Instance, Store};

const FILES: u32 = 1_000_000;
const SAMPLES: u32 = 2000;

/// Instances `from..to`: 100 to a series, 20 series to a study.
fn batch(from: u32, to: u32) -> Vec<Instance> {
    (from..to)
        .map(|n| {
            let (study, series) = (format!("1.2.{}", n / 2000), format!("1.2.{}.{}", n / 2000, n / 100));
            instance_in(&study, &series, &format!("{series}.{n}"), &[])
        })
        .collect()
}

/// The median time of storing one instance.
fn cost(store: &Store, first: u32) -> Duration {
    let mut times: Vec<Duration> = batch(first, first + SAMPLES)
        .iter()
        .map(|instance| {
            let began = Instant::now();
            commit(store, instance).unwrap();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "builds a tree of a million files, which takes minutes and 4 GB; run it by hand on a quiet machine"]
fn a_commit_costs_the_same_among_a_million_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&dir.path().join("root"));
    settings.durability = Durability::None;
    let (store, _) = Store::open(settings).unwrap();
    let among_none = cost(&store, 0);
    for first in (SAMPLES..FILES).step_by(1000) {
        let batch = batch(first, first + 1000);
        assert!(store.commit(&batch.iter().collect::<Vec<_>>(), &|| ()).iter().all(Result::is_ok));
    }
    let among_all = cost(&store, FILES + 1000);
    println!("median of a commit: {among_none:?} among none, {among_all:?} among {FILES}");
    assert!(among_all < among_none * 3 / 2, "{among_none:?} among none, {among_all:?} among {FILES}");
}
