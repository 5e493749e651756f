//! The scheduler itself, compiled against the primitives of this test.

#[path = "../../mailbox/idle.rs"]
mod idle;
#[path = "../../mailbox/queue.rs"]
pub(crate) mod queue;
#[path = "../../mailbox/scheduler.rs"]
pub(crate) mod scheduler;
