//! The rate at which a message arrives, measured over the time spent waiting for its peer. A sender that trickles blocks an association; a
//! sender on a slow line makes progress.

use std::time::Duration;

use crate::node::settings::MinimumRate;

/// Counts only while a message arrives and the socket is read: time that the disk or a full mailbox takes is not the peer's.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
}

/// The peer sent less than the minimum rate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSlow {
    /// Bytes that it sent within the window.
    pub(super) bytes: u64,
}

impl Pace {
    /// The time until the window ends and the rate is judged.
    pub(super) fn until_verdict(&self, minimum: &MinimumRate) -> Duration {
        minimum.window.saturating_sub(self.waited)
    }

    /// Records that the peer, in the middle of a message, sent `bytes` while it was waited for.
    pub(super) fn note(&mut self, waited: Duration, bytes: u64, minimum: &MinimumRate) -> Result<(), TooSlow> {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < minimum.window {
            return Ok(());
        }
        let Self { waited, bytes } = std::mem::take(self);
        // The wait may exceed the window if the thread was busy.
        let owed = u128::from(minimum.bytes_per_s) * waited.as_millis() / 1000;
        if u128::from(bytes) < owed { Err(TooSlow { bytes }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMUM: MinimumRate = MinimumRate { bytes_per_s: 100, window: Duration::from_secs(10) };

    #[test]
    fn a_trickle_is_found_out_at_the_end_of_the_window() {
        let mut pace = Pace::default();
        for second in 1..10 {
            assert_eq!(pace.note(Duration::from_secs(1), 99, &MINIMUM), Ok(()));
            assert_eq!(pace.until_verdict(&MINIMUM), Duration::from_secs(10 - second));
        }
        assert_eq!(pace.note(Duration::from_secs(1), 99, &MINIMUM), Err(TooSlow { bytes: 990 }));
    }

    #[test]
    fn a_slow_line_with_stalls_is_not() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            // Nine seconds of silence, then the queued bytes: slightly more than 1 kbit/s.
            assert_eq!(pace.note(Duration::from_secs(9), 0, &MINIMUM), Ok(()));
            assert_eq!(pace.note(Duration::from_secs(1), 1000, &MINIMUM), Ok(()));
        }
    }

    #[test]
    fn what_is_owed_grows_with_the_time_waited() {
        assert_eq!(Pace::default().note(Duration::from_secs(20), 1999, &MINIMUM), Err(TooSlow { bytes: 1999 }));
        assert_eq!(Pace::default().note(Duration::from_secs(20), 2000, &MINIMUM), Ok(()));
        let off = MinimumRate { bytes_per_s: 0, window: Duration::from_secs(10) };
        assert_eq!(Pace::default().note(Duration::from_secs(3600), 0, &off), Ok(()));
    }
}
