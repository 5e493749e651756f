//! Memory as a number in the configuration: the budget, the leases that pay for every byte held, and the allocator's own
//! figures beside them.
//!
//! | module | what it knows |
//! |---|---|
//! | [`budget`] | how much may be held, and who holds how much since when |
//! | [`allocator`] | jemalloc: its settings and its statistics. Nothing else in the workspace names it |

pub mod allocator;
pub mod budget;

pub use allocator::AllocatorStatistics;
pub use budget::{BudgetSpent, Holder, MemoryBudget, MemoryLease, Stage};
