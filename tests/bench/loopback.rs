//! The whole way of an instance: a C-STORE over one association of the loopback, from its first byte to its answer.
// Criterion's macros make public items, and a benchmark whose set-up fails may say so by a panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/node.rs"]
mod node;
#[path = "../support/wire.rs"]
mod wire;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use node::Node;
use wire::{Wire, dataset, request, store_message};

fn store(criterion: &mut Criterion) {
    for (name, durability) in [("durable", "fsync"), ("unsynced", "none")] {
        let node = Node::start(&[("TIDEGATE__STORAGE__DURABILITY", durability)]);
        let mut group = criterion.benchmark_group(format!("a C-STORE, {name}"));
        group.sample_size(30);
        for bytes in [10 * 1024, 512 * 1024] {
            let (mut wire, _) = Wire::associate(node.address(), request());
            let mut count = 0_u64;
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::from_parameter(format!("{} KiB", bytes / 1024)), |bencher| {
                bencher.iter_batched(
                    || {
                        count += 1;
                        let uid = format!("1.2.{bytes}.{count}");
                        store_message(1, &uid, &dataset(&uid, bytes), 128 * 1024 - 6)
                    },
                    |message| {
                        wire.send(&message);
                        assert_eq!(wire.response().status, 0);
                    },
                    criterion::BatchSize::PerIteration,
                );
            });
        }
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
