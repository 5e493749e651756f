//! A node at one moment, for tests of printed text.

use tidegate_memory::arenas::{AllocatorDetail, Arena, SizeClass};
use tidegate_memory::cgroup::GroupMemory;
use tidegate_memory::snapshot::{HolderUse, LeaseUse, StageUse};
use tidegate_memory::{AllocatorStatistics, Level, Location, MemorySnapshot, Stage};

use super::diff::Diff;
use super::who::{Least, Queue, Who};
use super::{purged, stats, top};
use crate::admin::wire::{Allocator, Purged};
use crate::cli::table::COLUMNS;
use crate::cli::table_tests::{PEER, titles};

const MIB: u64 = 1 << 20;

fn lease(stage: Stage, bytes: u64, age_ms: u64, in_stage_ms: u64, location: Location) -> LeaseUse {
    LeaseUse { stage, bytes, age_ms, in_stage_ms, location }
}

/// An account that holds `leases`.
pub(super) fn holder(id: u64, label: &str, age_ms: u64, leases: Vec<LeaseUse>) -> HolderUse {
    let bytes = leases.iter().map(|lease| lease.bytes).sum();
    HolderUse { id, label: label.to_owned(), age_ms, bytes, leases }
}

/// A snapshot of these holders, with the stages and sums that follow from them.
pub(super) fn of(holders: Vec<HolderUse>) -> MemorySnapshot {
    let leases = || holders.iter().flat_map(|holder| &holder.leases);
    let stages: Vec<StageUse> = Stage::ALL
        .into_iter()
        .map(|stage| {
            let here = || leases().filter(|lease| lease.stage == stage);
            StageUse {
                stage,
                bytes: here().map(|lease| lease.bytes).sum(),
                leases: here().count() as u64,
                oldest_ms: here().map(|lease| lease.in_stage_ms).max().unwrap_or(0),
            }
        })
        .collect();
    let held_bytes = stages.iter().map(|stage| stage.bytes).sum();
    MemorySnapshot {
        taken_unix_ms: 1_700_000_000_000,
        budget_bytes: 512 * MIB,
        held_bytes,
        unused_bytes: 0,
        highest_bytes: 40 * MIB,
        allocator: AllocatorStatistics {
            allocated: 20 * MIB,
            resident: 63 * MIB / 2,
            ..AllocatorStatistics::default()
        },
        baseline_bytes: 13 * MIB / 2,
        unattributed_bytes: (20 * MIB - 13 * MIB / 2).saturating_sub(held_bytes),
        pressure: Level::PauseAccept,
        stages,
        holders,
    }
}

/// One association receives; another, with a hostile name, has one dataset with a writer and two in the mailbox.
pub(super) fn snapshot() -> MemorySnapshot {
    let ct = vec![
        lease(Stage::Floor, 64 << 10, 3_723_000, 3_723_000, Location::Association),
        lease(Stage::Receiving, 8 * MIB, 12_300, 12_300, Location::Association),
    ];
    let mr = vec![
        lease(Stage::Floor, 64 << 10, 100_000, 100_000, Location::Association),
        lease(Stage::Writing, 2 * MIB, 90_000, 900, Location::Writer { index: 3 }),
        lease(Stage::Writing, MIB, 89_000, 900, Location::Writer { index: 3 }),
        lease(Stage::Queued, MIB, 20_000, 3_000, Location::Mailbox { ticket: 41 }),
        lease(Stage::Queued, 128 << 10, 10_000, 200, Location::Mailbox { ticket: 44 }),
    ];
    of(vec![
        holder(7, "\"CT1\" from 10.0.0.7:50112", 3_723_000, ct),
        holder(9, "\"MR\u{1b}[2J\" from 10.0.0.8:1", 100_000, mr),
        holder(10, "connection from 10.0.0.9:2", 5, Vec::new()),
    ])
}

/// Each file that makes tables, how many it makes, and all of them with the longest values that they can have.
pub(in crate::cli) fn widest() -> Vec<(&'static str, usize, String)> {
    let lease = |stage, location| lease(stage, 1023 * MIB, 90_000_000, 90_000_000, location);
    let leases = || {
        let mut leases = vec![lease(Stage::Negotiating, Location::Association)];
        leases.extend((0..999).map(|ticket| lease(Stage::Queued, Location::Mailbox { ticket })));
        leases.push(lease(Stage::Writing, Location::Writer { index: 255 }));
        leases
    };
    let holders = |first: u64| {
        let holder = |(id, title)| holder(id, &format!("{title:?} from {PEER}"), 90_000_000, leases());
        (first..).zip(titles()).map(holder).collect::<Vec<_>>()
    };
    let [before, mut after] = [of(holders(0)), of(holders(1))];
    after.allocator.allocated = 1023 << 50;
    let arena = Arena { index: 255, threads: 99, ..all_of(1023 * MIB) };
    let class = SizeClass { size_bytes: 1023 * MIB, allocations: 9_999_999, page_bytes: 1023 * MIB };
    let allocator = Allocator {
        detail: AllocatorDetail {
            all: arena,
            arenas: vec![arena],
            bins: vec![class],
            large: vec![class],
            ..AllocatorDetail::default()
        },
        process_resident_bytes: Some(1023 * MIB),
        process_virtual_bytes: Some(1023 * MIB),
        control_group: Some(GroupMemory {
            high: 9_999_999,
            max: 9_999_999,
            oom: 9_999_999,
            oom_kill: 9_999_999,
            ..GroupMemory::default()
        }),
        memory_stalled_us: Some(9_999_999_999),
    };
    let who = Who::of(&before, Least::default()).render(&Queue::of(&before), COLUMNS);
    let purged_of = Purged { before: before.allocator, after: after.allocator };
    vec![
        ("mem/top.rs", 2, top::render(&before, COLUMNS)),
        ("mem/who.rs", 1, who),
        ("mem/diff.rs", 2, Diff::of(&before, &after).unwrap().render(COLUMNS)),
        ("mem/stats.rs", 5, stats::render(&allocator, COLUMNS)),
        ("mem/mod.rs", 1, purged(&purged_of, COLUMNS)),
    ]
}

fn all_of(bytes: u64) -> Arena {
    Arena {
        small_bytes: bytes,
        large_bytes: bytes,
        cached_bytes: bytes,
        active_bytes: bytes,
        dirty_bytes: bytes,
        muzzy_bytes: bytes,
        resident_bytes: bytes,
        retained_bytes: bytes,
        metadata_bytes: bytes,
        ..Arena::default()
    }
}
