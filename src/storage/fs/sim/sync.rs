//! Locks, waits and the clock in a simulation; outside of one, the real ones.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::threads::{self, Time};
use super::volume::BEGIN_MS;
use crate::sync::{LOCK_TIMEOUT, real};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    if !threads::is_simulated() {
        return real::lock(mutex);
    }
    threads::pause();
    loop {
        if let Some(guard) = mutex.try_lock() {
            threads::step();
            return guard;
        }
        threads::wait_for_others(None);
    }
}

pub(crate) fn lock_in_time<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    if !threads::is_simulated() {
        return real::lock_in_time(mutex);
    }
    threads::pause();
    let until = threads::time() + LOCK_TIMEOUT;
    loop {
        if let Some(guard) = mutex.try_lock() {
            threads::step();
            return Some(guard);
        }
        if threads::time() >= until {
            return None;
        }
        threads::wait_for_others(Some(until));
    }
}

#[derive(Debug)]
pub(crate) enum Patience {
    Real(real::Patience),
    Simulated(Time),
}

impl Patience {
    pub(crate) fn new() -> Self {
        threads::step(); // the work before the wait
        match threads::is_simulated() {
            true => Self::Simulated(threads::time() + LOCK_TIMEOUT),
            false => Self::Real(real::Patience::new()),
        }
    }
}

pub(crate) fn wait<T>(condvar: &Condvar, guard: &mut MutexGuard<'_, T>, patience: &mut Patience) -> bool {
    let until = match patience {
        Patience::Real(patience) => return real::wait(condvar, guard, patience),
        Patience::Simulated(until) => *until,
    };
    if threads::time() >= until {
        return false;
    }
    let mutex = MutexGuard::mutex(guard);
    // Any running thread may be the one that notifies: the caller checks again.
    MutexGuard::unlocked(guard, || {
        threads::wait_for_others(Some(until));
        while mutex.is_locked() {
            threads::wait_for_others(None);
        }
    });
    true
}

pub(crate) fn now() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    match threads::is_in_simulation() {
        true => *BASE.get_or_init(Instant::now) + threads::time(),
        false => real::now(),
    }
}

pub(crate) fn time_of_day() -> SystemTime {
    match threads::is_in_simulation() {
        true => SystemTime::UNIX_EPOCH + Time::from_millis(BEGIN_MS as u64) + threads::time(),
        false => real::time_of_day(),
    }
}
