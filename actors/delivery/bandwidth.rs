//! The bandwidth cap of a destination, over all its connections: a token bucket that holds a twentieth of a second.

use std::time::Duration;

use tokio::time::Instant;

/// Time for whose bytes nobody waits. It levels out timers, which come late by a millisecond.
const BURST: Duration = Duration::from_millis(50);
/// Bytes of a piece at least: a slow line is kept waiting rather than asked for each byte.
const LEAST_PIECE: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Bandwidth {
    /// `None`: no cap.
    bytes_per_s: Option<u64>,
    /// When all that was taken has been paid for.
    paid_at: Instant,
}

impl Bandwidth {
    pub(super) fn new(bytes_per_s: Option<u64>, now: Instant) -> Self {
        Self { bytes_per_s, paid_at: now }
    }

    /// Another cap, or none.
    pub(super) fn set(&mut self, bytes_per_s: Option<u64>, now: Instant) {
        if self.bytes_per_s != bytes_per_s {
            *self = Self::new(bytes_per_s, now);
        }
    }

    /// Bytes that are to be taken at a time, of so many: no connection keeps the others waiting for longer than the burst.
    pub(super) fn piece(&self, bytes: usize) -> usize {
        let Some(bytes_per_s) = self.bytes_per_s else { return bytes };
        let of_burst = (bytes_per_s as f64 * BURST.as_secs_f64()) as usize;
        bytes.min(of_burst.max(LEAST_PIECE))
    }

    /// Takes `bytes`. `Some`: they may be sent then, and not before.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes_per_s = self.bytes_per_s?.max(1);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begins = self.paid_at.max(earliest);
        self.paid_at = begins + Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64);
        (begins > now).then_some(begins)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    /// Bytes that so many connections send in ten seconds.
    async fn sent_in_ten_seconds(bandwidth: &mut Bandwidth, connections: usize, message: usize) -> u64 {
        let began = Instant::now();
        let mut free_at = vec![began; connections];
        let mut sent = 0;
        loop {
            let next = free_at.iter().enumerate().min_by_key(|(_, at)| **at).map(|(index, _)| index).unwrap();
            sleep_until(free_at[next]).await;
            let now = Instant::now();
            if now - began >= Duration::from_secs(10) {
                return sent;
            }
            let piece = bandwidth.piece(message);
            free_at[next] = bandwidth.take(piece, now).unwrap_or(now);
            if free_at[next] - began < Duration::from_secs(10) {
                sent += piece as u64;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cap_is_met_within_a_twentieth_by_any_number_of_connections() {
        for connections in [1, 2, 7] {
            for bytes_per_s in [10_000, 1 << 20, 20 << 20] {
                for message in [1000, 1 << 20] {
                    let mut bandwidth = Bandwidth::new(Some(bytes_per_s), Instant::now());
                    let rate = sent_in_ten_seconds(&mut bandwidth, connections, message).await as f64 / 10.0;
                    let share = rate / bytes_per_s as f64;
                    assert!((0.95..=1.05).contains(&share), "{share} of {bytes_per_s} by {connections}, {message}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_at_rest_is_not_saved_and_no_cap_is_no_wait() {
        let mut bandwidth = Bandwidth::new(Some(1000), Instant::now());
        advance(Duration::from_secs(3600)).await;
        let taken: Vec<_> = (0..3).map(|_| bandwidth.take(1000, Instant::now())).collect();
        assert!(taken[0].is_none() && taken[1].is_some());
        assert!(taken[2].unwrap() - Instant::now() > Duration::from_millis(1900));
        bandwidth.set(None, Instant::now());
        assert_eq!((bandwidth.take(1 << 30, Instant::now()), bandwidth.piece(1 << 30)), (None, 1 << 30));
        bandwidth.set(Some(2000), Instant::now());
        assert!(bandwidth.take(1000, Instant::now()).is_none());
    }
}
