//! Waits that grow, and differ: what failed together is not tried together for ever.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A wait that doubles with each failure in a row, give or take a fifth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// After the first failure.
    pub(crate) first: Duration,
    /// At most, give or take a fifth.
    pub(crate) longest: Duration,
    /// By which each further failure multiplies it.
    pub(crate) factor: u32,
}

impl Backoff {
    /// The wait after so many failures in a row, at least 1.
    pub(crate) fn after(self, failures: u32) -> Duration {
        let factor = self.factor.saturating_pow(failures.saturating_sub(1).min(20));
        let wait = self.first.saturating_mul(factor).min(self.longest);
        wait.mul_f64(0.8 + 0.4 * fraction())
    }
}

/// A random number from 0 to below 1.
fn fraction() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_give_or_take_a_fifth() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300), factor: 2 };
        for (failures, seconds) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (9, 256.0), (10, 300.0), (u32::MAX, 300.0)]
        {
            let waits: Vec<f64> = (0..200).map(|_| backoff.after(failures).as_secs_f64() / seconds).collect();
            assert!(waits.iter().all(|wait| (0.8..=1.2).contains(wait)), "{failures}");
            let least = waits.iter().copied().fold(f64::MAX, f64::min);
            let most = waits.iter().copied().fold(0.0, f64::max);
            assert!(least < 0.9 && most > 1.1, "they differ: {least} to {most}");
        }
    }
}
