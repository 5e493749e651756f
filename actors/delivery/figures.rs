//! The figures of a destination: written by its child, read by operators.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::state::{DestinationPhase, DestinationState};
use crate::gauges::counters::Counter;

/// Seconds over which a rate is taken.
const RATE_SECONDS: usize = 60;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(super) delivered: Counter,
    pub(super) warned: Counter,
    pub(super) retried: Counter,
    pub(super) dead: Counter,
    pub(super) bytes: Counter,
    connections: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    peer: String,
    phase: DestinationPhase,
    studies: u64,
    last_error: Option<(SystemTime, String)>,
    not_committing: Option<(SystemTime, String)>,
    last_success: Option<SystemTime>,
    rate: Option<Rate>,
}

impl Figures {
    /// Open associations, and those that are being opened.
    pub(super) fn set_connections(&self, connections: usize) {
        self.connections.store(connections as u64, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn note_phase(&self, peer: &str, phase: DestinationPhase, studies: usize) {
        let mut seen = self.seen.lock();
        if seen.peer != peer {
            peer.clone_into(&mut seen.peer);
        }
        (seen.phase, seen.studies) = (phase, studies as u64);
    }

    pub(super) fn note_error(&self, why: &str) {
        self.seen.lock().last_error = Some((SystemTime::now(), why.to_owned()));
    }

    /// Why it does not commit, if so.
    pub(super) fn note_not_committing(&self, why: Option<&str>) {
        let mut seen = self.seen.lock();
        let since = seen.not_committing.as_ref().map_or_else(SystemTime::now, |(since, _)| *since);
        seen.not_committing = why.map(|why| (since, why.to_owned()));
    }

    pub(super) fn note_delivered(&self, bytes: u64, now: Instant) {
        self.delivered.increment();
        self.bytes.add(bytes);
        let mut seen = self.seen.lock();
        seen.last_success = Some(SystemTime::now());
        seen.rate.get_or_insert_with(|| Rate::new(now)).add(bytes, now);
    }

    /// The state for operators.
    pub(super) fn state(&self, name: &str) -> DestinationState {
        let mut seen = self.seen.lock();
        let (bytes, instances) = seen.rate.as_mut().map_or((0, 0), |rate| rate.sums(Instant::now()));
        DestinationState {
            name: name.to_owned(),
            peer: seen.peer.clone(),
            phase: seen.phase.clone(),
            connections: self.connections(),
            studies: seen.studies,
            delivered: self.delivered.get(),
            warned: self.warned.get(),
            retried: self.retried.get(),
            dead: self.dead.get(),
            not_committing: seen.not_committing.clone(),
            bytes: self.bytes.get(),
            bytes_per_s: bytes / RATE_SECONDS as u64,
            instances_per_s: instances as f64 / RATE_SECONDS as f64,
            last_error: seen.last_error.clone(),
            last_success: seen.last_success,
        }
    }
}

/// The bytes and instances of each of the last seconds.
#[derive(Debug)]
struct Rate {
    began: Instant,
    /// The second that was written last.
    second: u64,
    seconds: [(u64, u64); RATE_SECONDS],
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { began: now, second: 0, seconds: [(0, 0); RATE_SECONDS] }
    }

    fn move_to(&mut self, now: Instant) -> &mut (u64, u64) {
        let second = now.saturating_duration_since(self.began).as_secs().max(self.second);
        for passed in (self.second + 1..=second).take(RATE_SECONDS) {
            self.seconds[passed as usize % RATE_SECONDS] = (0, 0);
        }
        if second - self.second > RATE_SECONDS as u64 {
            self.seconds = [(0, 0); RATE_SECONDS];
        }
        self.second = second;
        &mut self.seconds[second as usize % RATE_SECONDS]
    }

    fn add(&mut self, bytes: u64, now: Instant) {
        let second = self.move_to(now);
        *second = (second.0 + bytes, second.1 + 1);
    }

    fn sums(&mut self, now: Instant) -> (u64, u64) {
        self.move_to(now);
        self.seconds.iter().fold((0, 0), |sums, second| (sums.0 + second.0, sums.1 + second.1))
    }
}

/// The time of the wall clock at a moment of the other.
pub(super) fn wall_clock(at: Instant) -> SystemTime {
    let (now, wall) = (Instant::now(), SystemTime::now());
    match at.checked_duration_since(now) {
        Some(ahead) => wall + ahead,
        None => wall.checked_sub(now.saturating_duration_since(at)).unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_of_the_last_minute() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut rate = Rate::new(began);
        for second in 0..30 {
            rate.add(100, at(second));
        }
        assert_eq!(rate.sums(at(30)), (3000, 30));
        assert_eq!(rate.sums(at(69)), (2000, 20));
        assert_eq!(rate.sums(at(200)), (0, 0));
        rate.add(7, at(100_000));
        assert_eq!(rate.sums(at(100_001)), (7, 1));
        rate.add(8, at(5));
        assert_eq!(rate.sums(at(100_002)), (15, 2), "a clock that goes back adds to the present");
    }
}
