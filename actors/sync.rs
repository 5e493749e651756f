//! The primitives of the writers' scheduler.
//!
//! `tests/schedules` compiles the scheduler and the jobs in flight once more, with a module of this name whose primitives are shuttle's.
//! Nothing else differs between the two.

pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};

/// The processor this thread runs on.
pub(crate) fn current_core() -> usize {
    rustix::thread::sched_getcpu()
}
