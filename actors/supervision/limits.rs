//! Restart intensity and backoff, as functions of time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The delay before the second restart in a row; the first comes at once.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A child whose end ends nothing else is started again after so long when it has died too often: what kills it may have gone, and what it does must be done.
pub(crate) const REST: Duration = Duration::from_secs(300);
/// A child that has lived this long has recovered: its next restart comes at once again.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// Restart intensity: the restarts allowed within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// Restarts allowed within the window.
    pub max: u32,
    /// The window.
    pub window: Duration,
}

/// The limits of the supervision.
#[derive(Clone, Copy, Debug)]
pub struct SupervisionSettings {
    /// A child with work and without progress for this long counts as hung.
    pub hang_timeout: Duration,
    /// Restart intensity of one group; above it, the node stops.
    pub restarts: RestartLimit,
    /// Most fenced threads that still hang; above it, the node stops.
    pub max_hung_threads: usize,
}

/// The restarts of a group of children within the window.
#[derive(Debug, Default)]
pub(crate) struct Intensity(VecDeque<Instant>);

impl Intensity {
    /// Counts a restart at `now`. True: the limit is exceeded.
    pub(crate) fn exceeds(&mut self, now: Instant, limit: RestartLimit) -> bool {
        while self.0.front().is_some_and(|first| now.saturating_duration_since(*first) >= limit.window) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() > limit.max as usize
    }
}

/// The backoff of a child: no delay for the first restart, then growing delays, until it has lived long enough.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    in_a_row: u32,
}

impl Backoff {
    /// The delay before the restart of a child that has lived for `lived`.
    pub(crate) fn delay(&mut self, lived: Duration) -> Duration {
        if lived >= RECOVERED_AFTER {
            self.in_a_row = 0;
        }
        let delay = match self.in_a_row {
            0 => Duration::ZERO,
            row => FIRST_DELAY.saturating_mul(1 << (row - 1).min(16)).min(LONGEST_DELAY),
        };
        self.in_a_row += 1;
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn restarts_are_counted_within_the_window_only() {
        let limit = RestartLimit { max: 3, window: Duration::from_secs(10) };
        let mut intensity = Intensity::default();
        for _ in 0..100 {
            assert!(!intensity.exceeds(Instant::now(), limit), "one every 4 s is three in 10 s");
            tokio::time::advance(Duration::from_secs(4)).await;
        }
        assert!(intensity.0.len() <= 4, "what is past is forgotten");
        tokio::time::advance(Duration::from_secs(60)).await;
        let verdicts: Vec<_> = (0..4).map(|_| intensity.exceeds(Instant::now(), limit)).collect();
        assert_eq!(verdicts, [false, false, false, true]);
    }

    #[test]
    fn the_delay_doubles_up_to_its_bound_and_begins_anew_after_a_recovery() {
        let mut backoff = Backoff::default();
        let short = Duration::from_millis(10);
        let delays: Vec<_> = (0..9).map(|_| backoff.delay(short).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.delay(RECOVERED_AFTER), Duration::ZERO);
        assert_eq!(backoff.delay(short), FIRST_DELAY);
        for _ in 0..100 {
            assert!(backoff.delay(short) <= LONGEST_DELAY);
        }
    }

    #[test]
    fn a_child_that_dies_at_once_each_time_is_given_up_and_not_slowed_down_for_ever() {
        let limit = RestartLimit { max: 10, window: Duration::from_secs(60) };
        let (mut backoff, mut intensity) = (Backoff::default(), Intensity::default());
        let mut now = Instant::now();
        let restarts = (0..100).take_while(|_| {
            now += backoff.delay(Duration::ZERO);
            !intensity.exceeds(now, limit)
        });
        assert_eq!(restarts.count(), 10);
    }
}
