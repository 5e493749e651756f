//! Durations of the steps of an instance, as histograms. An entry costs two relaxed additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from a slot of the mailbox that is free, through an instance that a fast disk stores at
/// once, to one that waits for every default timeout. A longer duration falls into a last bucket without a bound.
pub const BOUNDS_US: [u64; 20] = [
    10,
    50,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Durations by size. Any thread adds to it.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The counts now. Buckets are read one after the other: an instance that is counted meanwhile may be in the counts and
    /// not in the sum.
    pub fn read(&self) -> Distribution {
        let mut counts = [0; BUCKETS];
        for (to, from) in counts.iter_mut().zip(&self.buckets) {
            *to = from.load(Ordering::Relaxed);
        }
        Distribution { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// The entries of a histogram up to one moment, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

impl Distribution {
    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Each bucket by its upper bound in seconds, with the number of entries up to that bound and above the previous one.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied())
    }

    /// The entries since `earlier`, a distribution of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Self { counts, sum_us: self.sum_us.saturating_sub(earlier.sum_us) }
    }

    /// The quantile `q` (0 to 1) in microseconds, interpolated within its bucket. `None`: no entries.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let total = self.count();
        let rank = (q.clamp(0.0, 1.0) * total as f64).max(1.0);
        let mut below = 0;
        for (index, count) in self.counts.iter().copied().enumerate() {
            if count > 0 && (below + count) as f64 >= rank {
                let low = index.checked_sub(1).map_or(0, |before| BOUNDS_US[before]);
                let high = BOUNDS_US.get(index).copied().unwrap_or(low);
                let part = (rank - below as f64) / count as f64;
                return Some(low + ((high - low) as f64 * part) as u64);
            }
            below += count;
        }
        None
    }
}

/// The steps of an instance, in their order.
#[derive(Debug, Default)]
pub struct Latencies {
    /// From the command set to the last byte of the dataset: the sender and the network.
    pub receive: Histogram,
    /// The wait for a slot in the writers' mailbox: the back-pressure on senders. Parts of spooled datasets are counted too.
    pub handoff_wait: Histogram,
    /// In the mailbox, until a writer takes the job.
    pub queue_wait: Histogram,
    /// From the begin of a batch until its instance is stored.
    pub commit: Histogram,
    /// From the last byte of the dataset to its acknowledgement: the time that the sender waits.
    pub response: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 10, 11, 250, 251, 1_000_000, 1_000_001, u64::MAX] {
            histogram.record(Duration::from_micros(us));
        }
        let found: Vec<_> = histogram.read().buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            found,
            [(0.000_01, 2), (0.000_05, 1), (0.000_25, 1), (0.000_5, 1), (1.0, 1), (2.0, 1), (f64::INFINITY, 1)]
        );
    }

    #[test]
    fn sums_and_differences_add_up() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(3));
        let before = histogram.read();
        (0..5).for_each(|_| histogram.record(Duration::from_millis(2)));
        let since = histogram.read().since(&before);
        assert_eq!((since.count(), since.sum_s()), (5, 0.01));
        assert_eq!(histogram.read().count(), 6);
        assert_eq!(before.since(&histogram.read()).count(), 0, "the wrong way round is nothing");
    }

    #[test]
    fn quantiles_lie_in_the_bucket_of_their_rank() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile_us(0.5), None);
        (0..90).for_each(|_| histogram.record(Duration::from_micros(800)));
        (0..10).for_each(|_| histogram.record(Duration::from_millis(80)));
        let read = histogram.read();
        for (q, low, high) in [(0.0, 500, 1_000), (0.5, 500, 1_000), (0.9, 500, 1_000), (0.95, 50_000, 100_000)] {
            let us = read.quantile_us(q).unwrap();
            assert!((low..=high).contains(&us), "{q}: {us}");
        }
        assert_eq!(read.quantile_us(1.0), Some(100_000));
        histogram.record(Duration::from_secs(1000));
        assert_eq!(histogram.read().quantile_us(1.0), Some(120_000_000), "the last bound is all that is known");
    }
}
