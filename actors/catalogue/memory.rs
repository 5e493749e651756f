//! The lease of what SQLite and a step of catch-up hold while there is work. At rest the caches are given back, and nothing is leased.

use tidegate_memory::{MemoryBudget, MemoryLease, Stage};

/// The page cache of the writer, and at most a part of the budget of a small node.
const CACHE_BYTES: u64 = 8 << 20;
const BUDGET_SHARE: u64 = 32;
/// The records of one step, the index of the log, and statements.
const WORK_BYTES: u64 = 1 << 20;
/// The page cache without a lease: less than what shows in the figures of memory.
const LEAST_CACHE_BYTES: u64 = 256 << 10;

/// The lease, while there is work.
pub(super) struct WorkMemory {
    budget: MemoryBudget,
    lease: Option<MemoryLease>,
}

impl WorkMemory {
    pub(super) fn new(budget: MemoryBudget) -> Self {
        Self { budget, lease: None }
    }

    /// Leases the memory for work on a file of so many bytes, if it is to be had. The bytes that the page cache may have now.
    pub(super) fn acquire(&mut self, file_bytes: u64) -> u64 {
        let cache = CACHE_BYTES.min(self.budget.limit() / BUDGET_SHARE).max(LEAST_CACHE_BYTES);
        // The cache holds no more than the file has.
        let needed = cache.min(file_bytes) + WORK_BYTES.min(cache);
        if self.lease.as_ref().is_none_or(|lease| lease.bytes() < needed) {
            self.lease = None;
            let holder = self.budget.open_account("catalogue");
            // The file grows: not a lease for each of its pages.
            self.lease = holder.lease(Stage::Catalogue, needed + needed / 4).ok();
        }
        if self.lease.is_some() { cache } else { LEAST_CACHE_BYTES }
    }

    /// Gives it back, after the caches were.
    pub(super) fn release(&mut self) {
        self.lease = None;
    }

    pub(super) fn is_leased(&self) -> bool {
        self.lease.is_some()
    }
}
