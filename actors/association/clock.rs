//! The timers of a connection: association request (ARTIM), idle peer, minimum rate, and unused receive segment. The clock does not wait
//! itself: the connection waits, and reports the time that it waited.

use std::time::Duration;

use tokio::time::Instant;

use super::pace::{Pace, TooSlow};
use crate::node::settings::{AssociationSettings, MinimumRate};
use crate::patience::{Patience, coarse_slice};

/// Time that a leased segment is kept without traffic.
const KEEP_SEGMENT: Duration = Duration::from_secs(1);

/// The timers of a connection.
#[derive(Debug)]
pub(super) struct Clock {
    request_timeout: Duration,
    idle_timeout: Duration,
    minimum_rate: MinimumRate,
    /// Time left for the association request and everything before it (ARTIM).
    request_patience: Patience,
    /// Time spent waiting for the peer since its last progress.
    silent_for: Duration,
    /// End of the longest life.
    ends_at: Instant,
    pace: Pace,
    /// The time of the next check whether a leased segment can be returned.
    trim_at: Instant,
}

/// The state of a connection that bounds its next wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// The association request has arrived.
    pub(super) is_requested: bool,
    /// The peer has begun a message and owes the rest.
    pub(super) is_owed: bool,
    /// A segment may be returned.
    pub(super) may_trim: bool,
}

impl Clock {
    pub(super) fn new(settings: &AssociationSettings, now: Instant) -> Self {
        let AssociationSettings { request_timeout, idle_timeout, max_lifetime, minimum_rate, .. } = *settings;
        Self {
            request_timeout,
            idle_timeout,
            minimum_rate,
            request_patience: Patience::new(request_timeout),
            silent_for: Duration::ZERO,
            ends_at: now + max_lifetime,
            pace: Pace::default(),
            trim_at: now,
        }
    }

    /// The time left for the association request. A wait within it is reported to [`Self::spend_on_request`].
    pub(super) fn request_patience(&self) -> Patience {
        self.request_patience
    }

    /// Spends `waited` of the time for the association request.
    pub(super) fn spend_on_request(&mut self, waited: Duration) {
        self.request_patience.spend(waited);
    }

    /// Whether the time for the association request is used up.
    pub(super) fn is_request_overdue(&self) -> bool {
        self.request_patience.left().is_zero()
    }

    /// Bytes have arrived. That alone is no progress: they may be empty PDUs.
    pub(super) fn received(&mut self, now: Instant) {
        self.trim_at = now + KEEP_SEGMENT;
    }

    /// A C-ECHO or C-STORE was answered, or bytes of a dataset have arrived: the idle timer starts again.
    pub(super) fn progress(&mut self) {
        self.silent_for = Duration::ZERO;
    }

    /// Adds time spent waiting for the peer.
    pub(super) fn wait(&mut self, waited: Duration) {
        self.silent_for += waited;
    }

    /// Whether the idle timeout has expired.
    pub(super) fn is_idle(&self) -> bool {
        self.silent_for >= self.idle_timeout
    }

    /// Whether the association has reached its longest life. `is_between`: no message is under way; otherwise the peer has until the idle
    /// timeout to finish it.
    pub(super) fn is_past_life(&self, is_between: bool, now: Instant) -> bool {
        now >= if is_between { self.ends_at } else { self.ends_at + self.idle_timeout }
    }

    /// Records that the peer, in the middle of a message, sent `bytes` while it was waited for.
    pub(super) fn note_pace(&mut self, waited: Duration, bytes: u64) -> Result<(), TooSlow> {
        self.pace.note(waited, bytes, &self.minimum_rate)
    }

    /// Whether it is time to check for a segment that can be returned.
    pub(super) fn is_trim_due(&self, now: Instant) -> bool {
        now >= self.trim_at
    }

    /// The check was made; the next one follows later.
    pub(super) fn trimmed(&mut self, now: Instant) {
        self.trim_at = now + KEEP_SEGMENT;
    }

    /// The longest wait before the next look at the timers: a slice of each timer at most, because a pause of the process counts as one
    /// slice.
    pub(super) fn until_look(&self, awaited: Awaited, now: Instant) -> Duration {
        let mut look = if awaited.is_requested {
            let ends_at = if now < self.ends_at { self.ends_at } else { self.ends_at + self.idle_timeout };
            let life = ends_at.saturating_duration_since(now);
            coarse_slice(self.idle_timeout).min(self.idle_timeout.saturating_sub(self.silent_for)).min(life)
        } else {
            coarse_slice(self.request_timeout).min(self.request_patience.left()) // bounds the whole request: a byte does not restart it
        };
        if awaited.is_owed {
            look = look.min(coarse_slice(self.minimum_rate.window)).min(self.pace.until_verdict(&self.minimum_rate));
        }
        if awaited.may_trim {
            look = look.min(self.trim_at.saturating_duration_since(now));
        }
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const QUIET: Awaited = Awaited { is_requested: true, is_owed: false, may_trim: false };

    fn clock(now: Instant) -> Clock {
        Clock {
            request_timeout: SECOND * 8,
            idle_timeout: SECOND * 80,
            minimum_rate: MinimumRate { bytes_per_s: 100, window: SECOND * 16 },
            request_patience: Patience::new(SECOND * 8),
            silent_for: Duration::ZERO,
            ends_at: now + SECOND * 1000,
            pace: Pace::default(),
            trim_at: now,
        }
    }

    #[test]
    fn the_time_for_a_request_is_not_renewed_by_its_bytes() {
        let now = Instant::now();
        let mut clock = clock(now);
        let awaited = Awaited { is_requested: false, ..QUIET };
        assert_eq!(clock.until_look(awaited, now), SECOND);
        clock.spend_on_request(SECOND * 7 + SECOND / 2);
        clock.received(now);
        assert_eq!(clock.until_look(awaited, now), SECOND / 2);
        assert!(!clock.is_request_overdue());
        clock.spend_on_request(SECOND);
        assert!(clock.is_request_overdue());
    }

    #[test]
    fn silence_ends_with_progress_and_not_with_a_byte() {
        let now = Instant::now();
        let mut clock = clock(now);
        clock.wait(SECOND * 79);
        clock.received(now);
        assert_eq!(clock.until_look(QUIET, now), SECOND);
        clock.progress();
        assert_eq!(clock.until_look(QUIET, now), SECOND * 10);
        clock.wait(SECOND * 79);
        assert!(!clock.is_idle());
        clock.received(now);
        clock.wait(SECOND);
        assert!(clock.is_idle());
    }

    #[test]
    fn a_life_ends_between_messages_or_an_idle_timeout_later() {
        let now = Instant::now();
        let mut clock = clock(now);
        clock.ends_at = now + SECOND * 3;
        assert_eq!(clock.until_look(QUIET, now), SECOND * 3);
        let end = now + SECOND * 3;
        assert!(!clock.is_past_life(true, now) && clock.is_past_life(true, end) && !clock.is_past_life(false, end));
        assert_eq!(clock.until_look(QUIET, end + SECOND * 75), SECOND * 5);
        assert!(clock.is_past_life(false, end + SECOND * 80));
    }

    #[test]
    fn a_message_under_way_and_a_segment_shorten_the_wait() {
        let now = Instant::now();
        let mut clock = clock(now);
        assert_eq!(clock.until_look(Awaited { is_owed: true, ..QUIET }, now), SECOND * 2);
        assert_eq!(clock.note_pace(SECOND * 15, 0), Ok(()));
        assert_eq!(clock.until_look(Awaited { is_owed: true, ..QUIET }, now), SECOND);
        assert_eq!(clock.note_pace(SECOND, 0), Err(TooSlow { bytes: 0 }));
        clock.received(now);
        assert_eq!(clock.until_look(Awaited { may_trim: true, ..QUIET }, now), SECOND);
        assert!(!clock.is_trim_due(now) && clock.is_trim_due(now + SECOND));
    }
}
