//! Time that counts only while the observer was awake.
//!
//! A process can be stopped (SIGSTOP), its container frozen, its machine suspended. The clock runs on meanwhile, and when the process
//! continues, every timer fires at once, although neither a peer nor another thread had a chance to act. [`Patience`] bounds a wait: it
//! is used up in slices, and a pause of any length costs at most one of them. [`AwakeClock`] is for an observer that looks at intervals:
//! the time between two looks counts up to a bound.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

/// The longest slice, which is the most that a pause costs a wait.
const LONGEST_SLICE: Duration = Duration::from_millis(250);
/// Least number of slices of a short wait, so that a pause leaves most of it.
const SLICES: u32 = 8;

/// A [`Patience`] is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Expired;

impl From<Expired> for std::io::Error {
    fn from(_: Expired) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

/// Time left for a wait, or for several in a row. A wait that ends within its first slice arms one timer and reads the clock twice.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    total: Duration,
    left: Duration,
}

impl Patience {
    /// Patience for `total`.
    pub const fn new(total: Duration) -> Self {
        Self { total, left: total }
    }

    /// The time left.
    pub const fn left(&self) -> Duration {
        self.left
    }

    /// The time used up.
    pub fn spent(&self) -> Duration {
        self.total - self.left
    }

    /// Uses up some of it.
    pub fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// The patience of one step: the time left, at most `most`. The caller spends here the time that the step has spent.
    pub fn for_step(&self, most: Duration) -> Self {
        Self::new(self.left.min(most))
    }

    /// Waits for `future` while time is left. A future that is ready counts, however late it is polled.
    ///
    /// # Errors
    /// [`Expired`] if no time is left; `future` is dropped.
    pub async fn wait<F: Future>(&mut self, future: F) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        loop {
            let (began, slice) = (Instant::now(), self.slice());
            // Polls the future first.
            let output = timeout_at(began + slice, &mut future).await;
            self.spend(began.elapsed().min(slice));
            match output {
                Ok(output) => return Ok(output),
                Err(_) if self.left.is_zero() => break,
                Err(_) => {}
            }
        }
        // When a stopped process continues, its timers may fire before the reactor has polled its sockets.
        yield_now().await;
        future.now_or_never().ok_or(Expired)
    }

    fn slice(&self) -> Duration {
        coarse_slice(self.total).min(LONGEST_SLICE).min(self.left)
    }
}

/// The slice of `total` where more frequent timers would cost too much: for hundreds of associations that are idle for minutes.
pub(crate) fn coarse_slice(total: Duration) -> Duration {
    (total / SLICES).max(Duration::from_millis(1))
}

/// Waits for `future` for at most `patience`, of which a pause of the process costs one slice.
///
/// # Errors
/// [`Expired`] after that time.
pub async fn within<F: Future>(patience: Duration, future: F) -> Result<F::Output, Expired> {
    Patience::new(patience).wait(future).await
}

/// The time during which an observer was awake. The time between two looks counts up to the longest gap.
#[derive(Debug)]
pub(crate) struct AwakeClock {
    longest_gap: Duration,
    looked: Instant,
    awake: Instant,
}

impl AwakeClock {
    /// A clock that shows `now`. `longest_gap` is a small multiple of the interval of the looks.
    pub(crate) fn new(longest_gap: Duration, now: Instant) -> Self {
        Self { longest_gap, looked: now, awake: now }
    }

    /// The time that the next look leaves out: the excess over the longest gap.
    pub(crate) fn asleep(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.looked).saturating_sub(self.longest_gap)
    }

    /// The clock's time. Compare it only with times of the same clock.
    pub(crate) fn look(&mut self, now: Instant) -> Instant {
        self.awake += now.saturating_duration_since(self.looked).min(self.longest_gap);
        self.looked = now;
        self.awake
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;
    use tokio::time::{advance, sleep};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    /// Milliseconds until the end of a wait that nothing else ends.
    async fn expires_after(patience: &mut Patience) -> u128 {
        let began = Instant::now();
        assert_eq!(patience.wait(pending::<()>()).await, Err(Expired));
        began.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn while_awake_the_whole_time_is_given_and_no_more() {
        for ms in [1, 5, 100, 999, 60_000] {
            let mut patience = Patience::new(Duration::from_millis(ms));
            let after = expires_after(&mut patience).await;
            assert!(u128::from(ms) <= after && after <= u128::from(ms + ms / 50 + u64::from(SLICES)), "{ms}: {after}");
            assert_eq!((patience.left(), patience.spent()), (Duration::ZERO, Duration::from_millis(ms)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_costs_a_slice_however_long_it_is() {
        for total in [Duration::from_millis(400), LONG] {
            let mut patience = Patience::new(total);
            let paused = async {
                sleep(total / 16).await;
                advance(HOUR).await;
                sleep(total / 16).await;
                advance(HOUR).await;
            };
            assert_eq!(patience.wait(paused).await, Ok(()));
            assert!(patience.left() > total / 2, "{:?} of {total:?}", patience.left());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_there_wins_over_the_clock() {
        let mut patience = Patience::new(LONG);
        patience.spend(LONG - Duration::from_millis(1));
        let (answer, answered) = oneshot::channel();
        let stopped = async {
            sleep(Duration::from_micros(500)).await;
            answer.send(7).unwrap();
            advance(HOUR).await;
        };
        let (output, ()) = tokio::join!(patience.wait(answered), stopped);
        assert_eq!(output, Ok(Ok(7)));
        assert_eq!(Patience::new(Duration::ZERO).wait(ready(8)).await, Ok(8));
        assert_eq!(Patience::new(Duration::ZERO).wait(pending::<()>()).await, Err(Expired));
    }

    #[tokio::test(start_paused = true)]
    async fn several_waits_share_it_and_none_is_for_nothing() {
        let mut patience = Patience::new(Duration::from_secs(1));
        for _ in 0..9 {
            assert_eq!(patience.wait(sleep(Duration::from_millis(100))).await, Ok(()));
        }
        assert_eq!(patience.spent(), Duration::from_millis(900));
        let step = patience.for_step(LONG);
        assert_eq!(step.left(), Duration::from_millis(100));
        assert!(expires_after(&mut patience).await <= 101);
    }

    #[tokio::test(start_paused = true)]
    async fn an_awake_clock_leaves_out_what_lies_between_two_looks_beyond_the_bound() {
        let (gap, tick) = (Duration::from_millis(200), Duration::from_millis(100));
        let began = Instant::now();
        let mut clock = AwakeClock::new(gap, began);
        for count in 1..=10 {
            advance(tick).await;
            assert_eq!(clock.look(Instant::now()), began + tick * count);
        }
        advance(HOUR).await;
        assert_eq!(clock.asleep(Instant::now()), HOUR - gap);
        assert_eq!(clock.look(Instant::now()), began + tick * 10 + gap);
        assert_eq!(clock.asleep(Instant::now()), Duration::ZERO);
        assert_eq!(clock.look(Instant::now()), began + tick * 10 + gap);
        advance(tick).await;
        assert_eq!(clock.look(Instant::now()), began + tick * 11 + gap);
        assert_eq!(clock.look(began), clock.look(began), "it never goes back");
    }
}
