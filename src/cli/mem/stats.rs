//! `mem stats`: the allocator's pages, arenas and size classes, beside the figures of the system and the control group.

use tidegate_memory::arenas::{AllocatorDetail, Arena, SizeClass};
use tidegate_memory::cgroup::GroupMemory;

use crate::admin::wire::Allocator;
use crate::cli::table::Table;
use crate::cli::text::size;

pub(super) fn render(found: &Allocator, width: usize) -> String {
    let AllocatorDetail { statistics, all, arenas, bins, large } = &found.detail;
    let mut sums = Table::new(["JEMALLOC", "BYTES", ""]);
    for (name, bytes, meaning) in [
        ("allocated", statistics.allocated, "small and large, the caches of threads included"),
        ("  small", all.small_bytes, ""),
        ("  large", all.large_bytes, ""),
        ("  cached", all.cached_bytes, "freed, in the caches of threads"),
        ("active", statistics.active, "pages that hold anything allocated"),
        ("dirty", all.dirty_bytes, "free pages in physical memory: `mem purge` gives them back"),
        ("muzzy", all.muzzy_bytes, "free pages that the system may take"),
        ("metadata", statistics.metadata, "its own structures"),
        ("resident", statistics.resident, "active, dirty and metadata: physical memory"),
        ("retained", statistics.retained, "address space without memory behind it"),
    ] {
        sums.row([name.to_owned(), size(bytes), meaning.to_owned()]);
    }
    let tables = [
        sums,
        system(found),
        allocated_table(arenas),
        page_table(arenas),
        class_table("SMALL", bins),
        class_table("LARGE", large),
    ];
    tables.map(|table| table.render(width)).join("\n")
}

/// The kernel's figures of the process and of its control group.
fn system(found: &Allocator) -> Table {
    let mut table = Table::new(["SYSTEM", "BYTES", ""]);
    let mut row = |name: &str, bytes: Option<u64>, meaning: &str| {
        table.row([name.to_owned(), bytes.map_or("-".to_owned(), size), meaning.to_owned()]);
    };
    row("process resident", found.process_resident_bytes, "jemalloc's, code, stacks and mapped files");
    row("process virtual", found.process_virtual_bytes, "");
    let stalled = found.memory_stalled_us.map(|us| format!("waits for memory {:.1} s", us as f64 / 1e6));
    match found.control_group {
        Some(GroupMemory { current_bytes, max_bytes, high, max, oom, oom_kill }) => {
            row("control group", Some(current_bytes), "everything in it, pages of files included");
            let events = format!("events: high {high}, max {max}, oom {oom}, oom_kill {oom_kill}");
            row("  limit", max_bytes, &stalled.map_or(events.clone(), |stalled| format!("{events}; {stalled}")));
        }
        None => row("control group", None, stalled.as_deref().unwrap_or("none that accounts for memory")),
    }
    table
}

/// What is allocated in each arena.
fn allocated_table(arenas: &[Arena]) -> Table {
    let mut table = Table::new(["ARENA", "THREADS", "SMALL", "LARGE", "CACHED", "METADATA"]);
    for arena in arenas {
        table.row([
            arena.index.to_string(),
            arena.threads.to_string(),
            size(arena.small_bytes),
            size(arena.large_bytes),
            size(arena.cached_bytes),
            size(arena.metadata_bytes),
        ]);
    }
    table
}

/// The pages of each arena.
fn page_table(arenas: &[Arena]) -> Table {
    let mut table = Table::new(["ARENA", "ACTIVE", "DIRTY", "MUZZY", "RESIDENT"]);
    for arena in arenas {
        table.row([
            arena.index.to_string(),
            size(arena.active_bytes),
            size(arena.dirty_bytes),
            size(arena.muzzy_bytes),
            size(arena.resident_bytes),
        ]);
    }
    table
}

fn class_table(heading: &str, classes: &[SizeClass]) -> Table {
    let mut table = Table::new([heading, "ALLOCATIONS", "BYTES", "PAGES"]);
    for class in classes {
        table.row([
            size(class.size_bytes),
            class.allocations.to_string(),
            size(class.size_bytes * class.allocations),
            size(class.page_bytes),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::COLUMNS;

    #[test]
    fn every_part_of_the_memory_is_shown() {
        let arena = Arena { index: 2, threads: 5, small_bytes: 1 << 20, dirty_bytes: 3 << 20, ..Arena::default() };
        let class = SizeClass { size_bytes: 16 << 10, allocations: 3, page_bytes: 64 << 10 };
        let detail = AllocatorDetail {
            all: arena,
            arenas: vec![arena],
            bins: vec![class],
            large: Vec::new(),
            ..Default::default()
        };
        let found = Allocator {
            detail,
            process_resident_bytes: Some(40 << 20),
            process_virtual_bytes: None,
            control_group: Some(GroupMemory { current_bytes: 50 << 20, max: 7, ..GroupMemory::default() }),
            memory_stalled_us: Some(1_500_000),
        };
        let text = render(&found, COLUMNS);
        for line in [
            "dirty      3.0 MiB  free pages in physical memory: `mem purge` gives them back",
            "  limit                  -  events: high 0, max 7, oom 0, oom_kill 0; waits for\n                            memory 1.5 s\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(text.contains("16.0 KiB            3  48.0 KiB  64.0 KiB"), "{text}");
    }
}
