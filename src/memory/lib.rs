//! Memory accounting: a budget in bytes, the leases that pay for all bytes held, and the allocator's statistics.
//!
//! | module | subject |
//! |---|---|
//! | [`budget`] | the upper bound of all leases together |
//! | [`lease`] | the holder of each lease, its bytes, purpose, location and age |
//! | [`stage`] | the purpose of leased bytes |
//! | [`snapshot`] | a consistent, serialisable view of all leases at one moment |
//! | [`pressure`] | the distance of the process from its ceiling, and the reaction to it |
//! | [`sentinel`] | growth of a quiet node; [`slope`] is its arithmetic |
//! | [`host`] | the memory limit of this process, from the machine or its container |
//! | [`cgroup`] | the control groups of this process: memory and its events, stall times |
//! | [`process`] | this process as the kernel accounts for it |
//! | [`usage`] | processor time used and waited for over an interval, and the machine's |
//! | [`allocator`] | jemalloc: its settings and its statistics |
//! | [`arenas`] | jemalloc: pages, arenas and size classes of the live process |
//! | [`profile`] | jemalloc: allocations by call stack |
//!
//! Nothing else in the workspace names jemalloc.

pub mod allocator;
pub mod arenas;
pub mod budget;
pub mod cgroup;
mod heap_stacks;
pub mod host;
pub mod lease;
mod pool;
mod pprof;
pub mod pressure;
pub mod process;
pub mod profile;
mod profile_error;
pub mod sentinel;
pub mod slope;
pub mod snapshot;
pub mod stage;
pub mod usage;

pub use allocator::AllocatorStatistics;
pub use budget::{BudgetExhausted, MemoryBudget};
pub use lease::{Holder, Location, MemoryLease};
pub use pressure::{Level, Watermarks};
pub use snapshot::MemorySnapshot;
pub use stage::{Stage, StageBytes};
