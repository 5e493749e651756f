//! A node at one moment, for tests of printed text.

use tidegate_memory::snapshot::{HolderUse, LeaseUse, StageUse};
use tidegate_memory::{AllocatorStatistics, Level, Location, MemorySnapshot, Stage};

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
        unattributed_bytes: 20 * MIB - 13 * MIB / 2 - held_bytes,
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
