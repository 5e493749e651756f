//! The primitives that the scheduler of writers is made of.
//!
//! `tests/schedules` compiles the scheduler and what is in a writer's hands once more, with a module of this name whose primitives are
//! shuttle's. Nothing else differs between the two.

pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};

/// The processor this thread runs on.
pub(crate) fn current_core() -> usize {
    rustix::thread::sched_getcpu()
}
