//! Measures what the crate's documentation states: leases, the allocator's settings, profiling at rest, purge.
//!
//! `cargo run --release -p tidegate-memory --example measure`; other settings through `MALLOC_CONF`, for instance
//! `MALLOC_CONF=prof:false` or `MALLOC_CONF=dirty_decay_ms:0`.

use std::error::Error;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_memory::allocator::{AllocatorProbe, purge};
use tidegate_memory::profile::{Format, Recording};
use tidegate_memory::{Location, MemoryBudget, Stage};

fn main() -> Result<(), Box<dyn Error>> {
    leases()?;
    small_allocations();
    segments();
    threads()?;
    purging()?;
    if std::env::args().any(|argument| argument == "profile") {
        profile()?;
    }
    Ok(())
}

/// The fastest of many short rounds, in nanoseconds an operation: what the machine can do when nobody disturbs it.
fn fastest(name: &str, times: u32, mut operation: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..1_000_000 / times.max(1000) {
        let start = Instant::now();
        (0..times).for_each(|_| operation());
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(times));
    }
    println!("{name:<52} {best:>10.1} ns");
}

fn leases() -> Result<(), Box<dyn Error>> {
    let budget = MemoryBudget::new(1 << 30);
    let holder = budget.open_account("measure");
    let _floor = holder.lease(Stage::Floor, 1)?;
    fastest("clock", 2000, || {
        black_box(Instant::now());
    });
    fastest("lease and drop", 2000, || {
        black_box(holder.lease(Stage::Receiving, 65_536).ok());
    });
    let lease = holder.lease(Stage::Receiving, 65_536)?;
    let mut ticket = 0;
    fastest("two changes of stage and location", 2000, || {
        ticket += 1;
        lease.enter_at(Stage::Queued, Location::Mailbox { ticket });
        lease.enter_at(Stage::Writing, Location::Writer { index: 1 });
    });
    let holders: Vec<_> = (0..1000).map(|n| budget.open_account(format!("association {n}"))).collect();
    let held: Result<Vec<_>, _> =
        holders.iter().flat_map(|holder| (0..10).map(|_| holder.lease(Stage::Receiving, 1000))).collect();
    fastest("all stages counted: 1000 holders of 10 leases", 1, || {
        black_box(budget.stages());
    });
    fastest("snapshot: 1000 holders of 10 leases", 1, || {
        black_box(budget.snapshot(Default::default(), 0, Default::default()));
    });
    drop(held?);
    Ok(())
}

fn small_allocations() {
    for bytes in [64_usize, 1024, 16 << 10] {
        fastest(&format!("malloc and free of {bytes} bytes"), 5000, || {
            black_box(Vec::<u8>::with_capacity(black_box(bytes)));
        });
    }
}

/// A dataset of 16 segments, allocated, filled and freed.
fn segments() {
    for bytes in [64_usize << 10, 512 << 10] {
        fastest(&format!("16 segments of {} KiB filled and freed", bytes >> 10), 2, || {
            let segments: Vec<_> = (0..16).map(|n| vec![n as u8 + 1; bytes]).collect();
            black_box(segments);
        });
    }
}

/// The bytes that stay resident after eight threads have allocated for each other.
fn threads() -> Result<(), Box<dyn Error>> {
    let probe = AllocatorProbe::new()?;
    let start = Instant::now();
    let (sender, receiver) = crossbeam_channel::bounded::<Vec<u8>>(256);
    thread::scope(|scope| {
        for thread in 0..8_usize {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            scope.spawn(move || {
                for round in 0..4000_usize {
                    let _ = sender.try_send(vec![1_u8; 1024 << ((round + thread) % 8)]);
                    if round % 2 == 0 {
                        drop(receiver.try_recv());
                    }
                }
            });
        }
    });
    let took = start.elapsed();
    let held = probe.read()?;
    while receiver.try_recv().is_ok() {}
    thread::sleep(Duration::from_secs(3));
    let rest = probe.read()?;
    println!("eight threads: {took:?}, {} KiB resident beyond allocated; ", (held.resident - held.allocated) >> 10);
    println!("  freed and 3 s later: {} KiB resident, {} allocated", rest.resident >> 10, rest.allocated >> 10);
    Ok(())
}

fn purging() -> Result<(), Box<dyn Error>> {
    let probe = AllocatorProbe::new()?;
    let held: Vec<_> = (0..4096).map(|_| vec![1_u8; 64 << 10]).collect();
    drop(held);
    let freed = probe.read()?;
    let start = Instant::now();
    purge()?;
    let took = start.elapsed();
    let purged = probe.read()?;
    println!("purge: {} MiB resident, then {} MiB, in {took:?}", freed.resident >> 20, purged.resident >> 20);
    Ok(())
}

fn profile() -> Result<(), Box<dyn Error>> {
    let probe = AllocatorProbe::new()?;
    for round in 0..3 {
        let before = probe.read()?;
        let recording = Recording::start()?;
        let held: Vec<_> = (0..4096).map(|n| vec![1_u8; 1 << (n % 17)]).collect();
        small_allocations();
        let start = Instant::now();
        let stacks = recording.stop()?;
        let (stopped, stopping) = (probe.read()?, start.elapsed());
        let svg = stacks.draw(Format::Svg)?;
        let took = start.elapsed() - stopping;
        drop(held);
        let after = probe.read()?;
        println!(
            "profile {round}: stopped in {stopping:?}, {} KiB drawn in {took:?}; allocated {} KiB, stopped {}, drawn {}; resident {}, {}, {}",
            svg.len() >> 10,
            before.allocated >> 10,
            stopped.allocated >> 10,
            after.allocated >> 10,
            before.resident >> 10,
            stopped.resident >> 10,
            after.resident >> 10
        );
    }
    Ok(())
}
