//! The cost of a commit does not depend on the number of stored instances.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::*;
use tidegate_storage::{Durability, Instance, Store};

const FILES: u32 = 1_000_000;
/// Of each of the two trees, which take turns.
const SAMPLES: u32 = 2000;
const ROUNDS: u32 = 20;

/// Instances `from..to`: 100 to a series, 20 series to a study.
fn batch(from: u32, to: u32) -> Vec<Instance> {
    (from..to)
        .map(|n| {
            let (study, series) = (format!("1.2.{}", n / 2000), format!("1.2.{}.{}", n / 2000, n / 100));
            instance_in(&study, &series, &format!("{series}.{n}"), &[])
        })
        .collect()
}

/// How long it takes to store each of the instances from `first` on.
fn times(store: &Store, first: u32) -> impl Iterator<Item = Duration> {
    batch(first, first + SAMPLES / ROUNDS).into_iter().map(|instance| {
        let began = Instant::now();
        commit(store, &instance).unwrap();
        began.elapsed()
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "builds a tree of a million files, which takes minutes and 4 GB; run it by hand on a quiet machine"]
fn a_commit_costs_the_same_among_a_million_files() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let mut settings = settings(&dir.path().join(name));
        settings.durability = Durability::None;
        Store::open(settings).unwrap().0
    };
    let (full, empty) = (open("full"), open("empty"));
    for first in (0..FILES).step_by(1000) {
        let batch = batch(first, first + 1000);
        assert!(full.commit(&batch.iter().collect::<Vec<_>>(), &|| ()).iter().all(Result::is_ok));
    }
    // Dirty pages are synced first: otherwise the first measurement would wait for them.
    assert!(Command::new("sync").status().unwrap().success());
    let (mut among_all, mut among_none) = (Vec::new(), Vec::new());
    for first in (FILES..).step_by(1000).take(ROUNDS as usize) {
        among_all.extend(times(&full, first));
        among_none.extend(times(&empty, first));
    }
    let (among_all, among_none) = (median(among_all), median(among_none));
    println!("median of a commit: {among_none:?} among none, {among_all:?} among {FILES}");
    assert!(among_all < among_none * 3 / 2, "{among_none:?} among none, {among_all:?} among {FILES}");
}
