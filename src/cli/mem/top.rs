//! `mem top`: the table by stage and by association.

use tidegate_memory::snapshot::HolderUse;
use tidegate_memory::{AllocatorStatistics, MemorySnapshot};

use crate::cli::table::{Table, wrapped};
use crate::cli::text::{age, safe, size};

/// The sums, then the holders, the largest first.
pub(super) fn render(snapshot: &MemorySnapshot, width: usize) -> String {
    let parts = [sums(snapshot, width), by_stage(snapshot, width), by_association(snapshot, width)];
    parts.join("\n")
}

fn sums(snapshot: &MemorySnapshot, width: usize) -> String {
    let MemorySnapshot { budget_bytes, held_bytes, highest_bytes, baseline_bytes, unattributed_bytes, .. } = *snapshot;
    let AllocatorStatistics { allocated, resident, .. } = snapshot.allocator;
    let of_budget = format!(
        "{budget}: held {held} ({percent} %), highest {highest}, pressure {pressure}",
        budget = size(budget_bytes),
        held = size(held_bytes),
        percent = held_bytes.saturating_mul(100) / budget_bytes.max(1),
        highest = size(highest_bytes),
        pressure = snapshot.pressure.name(),
    );
    let of_allocator = format!(
        "allocated {allocated}, resident {resident}, baseline {baseline}, unattributed {unattributed}",
        allocated = size(allocated),
        resident = size(resident),
        baseline = size(baseline_bytes),
        unattributed = size(unattributed_bytes),
    );
    wrapped("budget    ", &of_budget, width) + &wrapped("allocator ", &of_allocator, width)
}

fn by_stage(snapshot: &MemorySnapshot, width: usize) -> String {
    let mut stages: Vec<_> = snapshot.stages.iter().filter(|stage| stage.leases > 0).collect();
    stages.sort_by_key(|stage| std::cmp::Reverse(stage.bytes));
    let mut table = Table::new(["STAGE", "BYTES", "LEASES", "OLDEST"]);
    for stage in &stages {
        table.row([stage.stage.name().to_owned(), size(stage.bytes), stage.leases.to_string(), age(stage.oldest_ms)]);
    }
    table.row([
        "all".to_owned(),
        size(stages.iter().map(|stage| stage.bytes).sum()),
        stages.iter().map(|stage| stage.leases).sum::<u64>().to_string(),
        age(stages.iter().map(|stage| stage.oldest_ms).max().unwrap_or(0)),
    ]);
    table.render(width)
}

fn by_association(snapshot: &MemorySnapshot, width: usize) -> String {
    let holders = largest(snapshot);
    let mut table = Table::new(["ASSOCIATION", "BYTES", "LEASES", "OLDEST"]);
    for holder in &holders {
        table.row([safe(&holder.label), size(holder.bytes), holder.leases.len().to_string(), age(oldest_ms(holder))]);
    }
    table.row([
        format!("all {}", holders.len()),
        size(holders.iter().map(|holder| holder.bytes).sum()),
        holders.iter().map(|holder| holder.leases.len()).sum::<usize>().to_string(),
        age(holders.iter().map(|holder| oldest_ms(holder)).max().unwrap_or(0)),
    ]);
    table.render(width)
}

/// All holders, the largest first.
pub(super) fn largest(snapshot: &MemorySnapshot) -> Vec<&HolderUse> {
    let mut holders: Vec<_> = snapshot.holders.iter().filter(|holder| !holder.leases.is_empty()).collect();
    holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    holders
}

/// The age of a holder's oldest lease.
pub(super) fn oldest_ms(holder: &HolderUse) -> u64 {
    holder.leases.iter().map(|lease| lease.age_ms).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mem::sample;
    use crate::cli::table::COLUMNS;

    #[test]
    fn the_tables_are_sorted_by_bytes_and_add_up() {
        let expected = "\
budget    512.0 MiB: held 12.2 MiB (2 %), highest 40.0 MiB, pressure
          pause_accept
allocator allocated 20.0 MiB, resident 31.5 MiB, baseline 6.5 MiB, unattributed
          1.2 MiB

STAGE          BYTES  LEASES  OLDEST
receiving    8.0 MiB       1     12s
writing      3.0 MiB       2    0.9s
queued       1.1 MiB       2    3.0s
floor      128.0 KiB       2   1h 2m
all         12.2 MiB       7   1h 2m

ASSOCIATION                       BYTES  LEASES  OLDEST
\"CT1\" from 10.0.0.7:50112       8.1 MiB       2   1h 2m
\"MR\\u{1b}[2J\" from 10.0.0.8:1   4.2 MiB       5  1m 40s
all 2                          12.2 MiB       7   1h 2m
";
        assert_eq!(render(&sample::snapshot(), COLUMNS), expected);
    }
}
