//! Locks, waits and the clock, as storage uses them. In a simulation the seed decides who gets a lock, and time is the simulation's.

use std::time::{Duration, Instant, SystemTime};

#[cfg(not(test))]
use self::real as source;
#[cfg(test)]
use crate::fs::sim::sync as source;

pub(crate) use parking_lot::MutexGuard;

/// How long a thread waits for another that syncs or renames the same thing: longer than a healthy disk takes, short enough that
/// an instance on which one thread hangs does not make others look as if they hung too.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 5000 });

/// A wait is cut into so many slices, and each counts as no more than its share: a process that was stopped meanwhile has not waited.
const SLICES: u32 = 20;

/// A lock that is waited for no longer than [`LOCK_TIMEOUT`], unless its holder never blocks.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// For what is held for a few instructions at a time.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        source::lock(&self.0)
    }

    /// `None`: another thread has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    /// For what is held while a disk works. `None`: another thread has had it for [`LOCK_TIMEOUT`].
    pub(crate) fn lock_in_time(&self) -> Option<MutexGuard<'_, T>> {
        source::lock_in_time(&self.0)
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

/// Threads that wait for a change of what a [`Mutex`] guards.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

/// What is left of a wait.
#[derive(Debug)]
pub(crate) struct Patience(source::Patience);

impl Patience {
    /// [`LOCK_TIMEOUT`] from now.
    pub(crate) fn new() -> Self {
        Self(source::Patience::new())
    }
}

impl Condvar {
    /// Waits for a while; `false` once the patience has come to its end. The caller looks again at what it waits for, either way.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>, patience: &mut Patience) -> bool {
        source::wait(&self.0, guard, &mut patience.0)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// The time, for what is due.
pub(crate) fn now() -> Instant {
    source::now()
}

/// The time of day in milliseconds since 1970.
pub(crate) fn time_of_day_ms() -> i64 {
    let now = source::time_of_day().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The real ones.
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
