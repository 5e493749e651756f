//! The cost of one entry in a histogram: alone, and while another thread adds to the same histogram.

#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate_actors::gauges::latency::Histogram;

fn entries(c: &mut Criterion) {
    let histogram = Arc::new(Histogram::default());
    let durations = [90, 700, 3_000, 40_000, 2_000_000].map(Duration::from_micros);
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 1) % durations.len();
        durations[turn]
    };
    c.bench_function("an entry", |bencher| bencher.iter(|| histogram.record(black_box(next()))));
    c.bench_function("an entry and its readings of the clock", |bencher| {
        bencher.iter(|| {
            let began = Instant::now();
            histogram.record(black_box(began.elapsed()));
        });
    });
    let done = Arc::new(AtomicBool::new(false));
    let other = {
        let (histogram, done) = (histogram.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                histogram.record(Duration::from_micros(700));
            }
        })
    };
    c.bench_function("an entry beside another thread", |bencher| bencher.iter(|| histogram.record(black_box(next()))));
    done.store(true, Ordering::Relaxed);
    let _ = other.join();
}

criterion_group!(benches, entries);
criterion_main!(benches);
