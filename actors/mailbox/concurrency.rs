//! How many writers may commit large jobs at a time.
//!
//! A disk that serves many requests at once gains by many writers. One that does not only gets a longer queue: each sync takes as many
//! times longer, and small instances wait behind large ones. The limit follows the time that a job takes: above [`SLOW`] there are
//! fewer writers, and larger batches; below [`FAST`] one more, as long as jobs wait. Only a batch whose every job was written tells the
//! time: an error, an instance that is stored already, or a frame that another writer syncs takes no time of the disk.

use std::time::Duration;

/// A job for which the disk needs longer waits in a queue of the disk.
const SLOW: Duration = Duration::from_millis(100);
/// Within this time the disk could do more at once.
const FAST: Duration = Duration::from_millis(50);
/// With two, one writer may hang and the other continues.
const LEAST: usize = 2;
/// Writers of a new node. If the disk is fast, the limit rises within some hundred jobs.
const FIRST: usize = 4;
/// Bytes that take the disk at most as long as a job without its bytes does.
const MIB: f64 = 1_048_576.0;

/// The limit of the writers that commit large jobs, adapted to the time that a job takes.
#[derive(Debug)]
pub(crate) struct Concurrency {
    limit: usize,
    /// Batches that were begun under another limit and have not ended: their times say nothing of this limit.
    to_skip: usize,
}

/// A batch of large jobs that were all written to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeasuredBatch {
    pub(crate) jobs: usize,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl MeasuredBatch {
    /// The time of the disk for a job, or for a MiB of it.
    fn time_per_job(&self) -> Duration {
        self.took.div_f64(self.jobs.max(1) as f64 + self.bytes as f64 / MIB)
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { limit: FIRST, to_skip: 0 }
    }
}

impl Concurrency {
    /// Whether another writer may take large jobs while `active` do.
    pub(super) fn permits(&self, active: usize) -> bool {
        active < self.limit
    }

    /// Writers of `writers` that may take large jobs.
    pub(super) fn limit(&self, writers: usize) -> usize {
        self.limit.min(writers).max(1)
    }

    /// Notes that a batch is done; `None` if its time does not tell the speed of the disk. `true`: the limit has risen, and one more writer
    /// may take jobs.
    pub(super) fn note(&mut self, batch: Option<MeasuredBatch>, writers: usize, is_waiting: bool) -> bool {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return false;
        }
        let Some(a_job) = batch.map(|batch| batch.time_per_job()) else { return false };
        let limit = self.limit(writers);
        if a_job > SLOW && limit > LEAST {
            self.limit = (limit * 3 / 4).max(LEAST);
            self.to_skip = limit;
        } else if a_job < FAST && is_waiting && limit < writers {
            self.limit = limit + 1;
            self.to_skip = limit;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITERS: usize = 16;

    fn one_job(bytes: u64, took: Duration) -> Option<MeasuredBatch> {
        Some(MeasuredBatch { jobs: 1, bytes, took })
    }

    /// The limit for a disk that takes `alone` for a CT slice and serves `at_once` of them in that time.
    fn settled(alone: Duration, at_once: usize) -> usize {
        let mut concurrency = Concurrency::default();
        for _ in 0..2000 {
            let limit = concurrency.limit(WRITERS);
            let took = alone.mul_f64((limit as f64 / at_once as f64).max(1.0));
            concurrency.note(one_job(512 << 10, took), WRITERS, true);
        }
        concurrency.limit(WRITERS)
    }

    #[test]
    fn a_disk_that_serves_one_at_a_time_gets_few_writers_and_a_fast_one_all() {
        assert_eq!(settled(Duration::from_millis(3), 8), WRITERS);
        assert_eq!(settled(Duration::from_millis(10), 4), WRITERS);
        assert!((3..=6).contains(&settled(Duration::from_millis(25), 1)));
        assert_eq!(settled(Duration::from_secs(1), 1), LEAST);
    }

    #[test]
    fn a_disk_that_gets_fast_again_gets_all_writers_back_if_jobs_wait() {
        let mut concurrency = Concurrency::default();
        while concurrency.limit(WRITERS) > LEAST {
            concurrency.note(one_job(0, Duration::from_secs(1)), WRITERS, true);
        }
        let fast = one_job(0, Duration::from_millis(1));
        for _ in 0..1000 {
            assert!(!concurrency.note(fast, WRITERS, false));
        }
        assert_eq!(concurrency.limit(WRITERS), LEAST, "nobody asks for more");
        let more = (0..1000).filter(|_| concurrency.note(fast, WRITERS, true)).count();
        assert_eq!((more, concurrency.limit(WRITERS)), (WRITERS - LEAST, WRITERS));
    }

    #[test]
    fn a_large_dataset_may_take_longer() {
        let mut concurrency = Concurrency::default();
        concurrency.note(one_job(100 << 20, Duration::from_secs(7)), WRITERS, true);
        assert_eq!(concurrency.limit(WRITERS), FIRST);
    }

    #[test]
    fn a_batch_that_is_not_measured_ends_without_a_change_of_the_limit() {
        let mut concurrency = Concurrency::default();
        assert!((0..1000).all(|_| !concurrency.note(None, WRITERS, true)));
        assert_eq!(concurrency.limit(WRITERS), FIRST);
        // It was begun under the limit before, as the others were that are skipped.
        let fast = one_job(0, Duration::from_millis(1));
        assert!(concurrency.note(fast, WRITERS, true));
        assert!((0..FIRST).all(|_| !concurrency.note(None, WRITERS, true)));
        assert!(concurrency.note(fast, WRITERS, true), "none is left to skip");
    }
}
