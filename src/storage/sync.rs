//! Locks, waits and the clock for storage. In a simulation the seed decides which thread gets a lock, and the time is simulated.

use std::time::{Duration, Instant, SystemTime};

#[cfg(not(test))]
use self::real as source;
#[cfg(test)]
use crate::fs::sim::sync as source;

pub(crate) use parking_lot::MutexGuard;

/// How long a thread waits for another that syncs or renames the same object. It is longer than a healthy disk takes, and short enough
/// that one thread that hangs on an instance does not make the threads waiting for it look hung.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 5000 });

/// A wait is divided into this many slices. Each counts as no more than its share, so a process that was stopped meanwhile has not
/// waited.
const SLICES: u32 = 20;

/// A lock whose waiters give up after [`LOCK_TIMEOUT`], unless its holder never blocks.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// Locks without a timeout, for critical sections of a few instructions.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        source::lock(&self.0)
    }

    /// `None` if another thread holds the lock.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// Locks with a timeout, for critical sections with I/O. `None` if another thread held the lock for [`LOCK_TIMEOUT`].
    pub(crate) fn lock_in_time(&self) -> Option<MutexGuard<'_, T>> {
        source::lock_in_time(&self.0)
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

/// A condition variable for the state that a [`Mutex`] guards.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

/// The remaining time of a wait.
#[derive(Debug)]
pub(crate) struct Patience(source::Patience);

impl Patience {
    /// A wait that ends [`LOCK_TIMEOUT`] from now.
    pub(crate) fn new() -> Self {
        Self(source::Patience::new())
    }
}

impl Condvar {
    /// Waits for a slice; `false` at the end of the timeout. In either case the caller checks its condition again.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>, patience: &mut Patience) -> bool {
        source::wait(&self.0, guard, &mut patience.0)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// The monotonic time, for deadlines.
pub(crate) fn now() -> Instant {
    source::now()
}

/// The time of day in milliseconds since 1970.
pub(crate) fn time_of_day_ms() -> i64 {
    let now = source::time_of_day().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The real implementation, outside of simulations.
#[cfg_attr(test, allow(dead_code, reason = "what a thread outside of a simulation uses"))]
pub(crate) mod real {
    use std::time::{Duration, Instant, SystemTime};

    use parking_lot::{Condvar, Mutex, MutexGuard};

    use super::{LOCK_TIMEOUT, SLICES};

    const SLICE: Duration = LOCK_TIMEOUT.checked_div(SLICES).unwrap();

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    pub(crate) fn lock_in_time<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock().or_else(|| (0..SLICES).find_map(|_| mutex.try_lock_for(SLICE)))
    }

    #[derive(Debug)]
    pub(crate) struct Patience(u32);

    impl Patience {
        pub(crate) fn new() -> Self {
            Self(SLICES)
        }
    }

    pub(crate) fn wait<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, patience: &mut Patience) -> bool {
        if patience.0 == 0 {
            return false;
        }
        if condvar.wait_for(guard, SLICE).timed_out() {
            patience.0 -= 1;
        }
        true
    }

    pub(crate) fn now() -> Instant {
        Instant::now()
    }

    pub(crate) fn time_of_day() -> SystemTime {
        SystemTime::now()
    }
}
