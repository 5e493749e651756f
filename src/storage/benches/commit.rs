//! The cost of storing by stage: reading a head, and the commit by each strategy, on the disk of the temp directory.
// Criterion's macros make public items, and a benchmark whose set-up fails may say so by a panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{EXPLICIT_LE, SERIES, STUDY, Site, dataset, instance, pixels, settings};
use tidegate_storage::head::{HeadLimits, HeadScan};
use tidegate_storage::{CommitStrategy, Durability, Instance};

fn head(criterion: &mut Criterion) {
    let dataset = dataset("1.2.3.4.5", STUDY, SERIES, &pixels(1, 1000));
    let wanted = settings(std::path::Path::new("")).layout.wanted();
    criterion.bench_function("head", |bencher| {
        bencher.iter(|| {
            let mut scan = HeadScan::new(EXPLICIT_LE, wanted.clone(), HeadLimits::default());
            let _ = scan.feed(black_box(&dataset));
            scan.finish().unwrap()
        });
    });
}

fn commit(criterion: &mut Criterion) {
    let strategies = [CommitStrategy::PerFile, CommitStrategy::Log];
    let mut ways: Vec<_> = strategies.map(|strategy| (strategy.to_string(), Durability::Fsync, strategy)).into();
    ways.push(("none".to_owned(), Durability::None, CommitStrategy::PerFile));
    for (bytes, batch) in [(10 * 1024, 1), (10 * 1024, 16), (512 * 1024, 1), (512 * 1024, 8)] {
        let mut group = criterion.benchmark_group(format!("commit of {batch} × {} KiB", bytes / 1024));
        group.throughput(Throughput::Elements(batch)).sample_size(20);
        for (name, durability, strategy) in &ways {
            let site = Site::with(|settings| (settings.durability, settings.commit) = (*durability, *strategy));
            let (next, pixels) = (Cell::new(0), pixels(1, bytes));
            let fresh = || -> Vec<Instance> {
                (0..batch)
                    .map(|_| {
                        next.set(next.get() + 1);
                        instance(&format!("1.2.{}", next.get()), &pixels)
                    })
                    .collect()
            };
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter_batched(
                    fresh,
                    |batch| {
                        let results = site.store.commit(&batch.iter().collect::<Vec<_>>(), &|| ());
                        assert!(results.iter().all(Result::is_ok));
                        site.store.checkpoint(&|| ()).unwrap();
                    },
                    BatchSize::PerIteration,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, head, commit);
criterion_main!(benches);
