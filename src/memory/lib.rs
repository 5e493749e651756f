//! Memory as a number in the configuration: the budget, the leases that pay for every byte held, and the allocator's own
//! figures beside them.
//!
//! | module | what it knows |
//! |---|---|
//! | [`budget`] | how much may be held altogether |
//! | [`lease`] | who holds how much, for what, where, since when |
//! | [`stage`] | what leased bytes are for |
//! | [`snapshot`] | all of it at one moment, in a form that travels |
//! | [`pressure`] | how near the process is to its ceiling, and what that calls for |
//! | [`sentinel`] | whether a quiet node still grows; [`slope`] is its arithmetic |
//! | [`host`] | how much memory the machine or its container lets this process have |
//! | [`allocator`] | jemalloc: its settings and its statistics |
//! | [`profile`] | jemalloc: which call stacks allocated what |
//!
//! Nothing else in the workspace names jemalloc.

pub mod allocator;
pub mod budget;
mod heap_stacks;
pub mod host;
pub mod lease;
mod pool;
pub mod pressure;
pub mod profile;
mod profile_error;
pub mod sentinel;
pub mod slope;
pub mod snapshot;
pub mod stage;

pub use allocator::AllocatorStatistics;
pub use budget::{BudgetSpent, MemoryBudget};
pub use lease::{Holder, Location, MemoryLease};
pub use pressure::{Level, Watermarks};
pub use snapshot::MemorySnapshot;
pub use stage::{Stage, StageBytes};
