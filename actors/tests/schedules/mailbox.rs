//! The scheduler itself, compiled against the primitives of this test.

#[path = "../../mailbox/concurrency.rs"]
mod concurrency;
#[path = "../../mailbox/idle.rs"]
mod idle;
#[path = "../../mailbox/next_task.rs"]
pub(crate) mod next_task;
#[path = "../../mailbox/queue.rs"]
pub(crate) mod queue;
#[path = "../../mailbox/scheduler.rs"]
pub(crate) mod scheduler;
