//! The times of a connection: for the association request, for a silent peer, for one that trickles, and for a receive segment that is
//! not used. Nothing here waits: the connection waits, and notes here how long.

use std::time::Duration;

use tokio::time::Instant;

use super::pace::{Pace, TooSlow};
use crate::node::settings::{AssociationSettings, MinimumRate};
use crate::patience::{Patience, coarse_slice};

/// How long a leased segment is kept while nothing arrives.
const KEEP_SEGMENT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Clock {
    request_timeout: Duration,
    idle_timeout: Duration,
    minimum_rate: MinimumRate,
    /// For the association request, and for what comes before it (ARTIM).
    request_patience: Patience,
    /// How long the peer was waited for since it last sent something, or was last given something it waited for.
    silent_for: Duration,
    pace: Pace,
    /// When to look whether a leased segment can be given back.
    trim_at: Instant,
}

/// What a connection waits for, as far as it bounds the wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// The association request has come.
    pub(super) is_requested: bool,
    /// The peer has begun something that it is yet to end.
    pub(super) is_owed: bool,
    /// There is a segment that may be given back.
    pub(super) may_trim: bool,
}

impl Clock {
    pub(super) fn new(settings: &AssociationSettings, now: Instant) -> Self {
        let AssociationSettings { request_timeout, idle_timeout, minimum_rate, .. } = *settings;
        Self {
            request_timeout,
            idle_timeout,
            minimum_rate,
            request_patience: Patience::new(request_timeout),
            silent_for: Duration::ZERO,
            pace: Pace::default(),
            trim_at: now,
        }
    }

    /// The time left for the association request, for a wait that [`Self::spend_on_request`] is told of.
    pub(super) fn request_patience(&self) -> Patience {
        self.request_patience
    }

    /// The peer was waited for so long without an association request.
    pub(super) fn spend_on_request(&mut self, waited: Duration) {
        self.request_patience.spend(waited);
    }

    /// Whether the time for the association request is over.
    pub(super) fn is_request_overdue(&self) -> bool {
        self.request_patience.left().is_zero()
    }

    /// The peer has sent something.
    pub(super) fn received(&mut self, now: Instant) {
        self.silent_for = Duration::ZERO;
        self.trim_at = now + KEEP_SEGMENT;
    }

    /// An instance has come back from the writers: the peer waited for us, not we for it.
    pub(super) fn settled(&mut self) {
        self.silent_for = Duration::ZERO;
    }

    /// The peer was waited for so long and sent nothing. `true`: it is silent for too long.
    pub(super) fn is_silent_too_long(&mut self, waited: Duration) -> bool {
        self.silent_for += waited;
        self.silent_for >= self.idle_timeout
    }

    /// The peer, in the middle of a message, was waited for so long and sent so many bytes.
    pub(super) fn note_pace(&mut self, waited: Duration, bytes: u64) -> Result<(), TooSlow> {
        self.pace.note(waited, bytes, &self.minimum_rate)
    }

    /// Whether it is time to look for a segment that can be given back.
    pub(super) fn is_trim_due(&self, now: Instant) -> bool {
        now >= self.trim_at
    }

    /// That was looked for; what is still in use is looked at again later.
    pub(super) fn trimmed(&mut self, now: Instant) {
        self.trim_at = now + KEEP_SEGMENT;
    }

    /// How long to wait for the peer before the next look at its times: a part of each at most, because a pause of the process is
    /// counted up to that.
    pub(super) fn until_look(&self, awaited: Awaited, now: Instant) -> Duration {
        let mut look = if awaited.is_requested {
            coarse_slice(self.idle_timeout).min(self.idle_timeout.saturating_sub(self.silent_for))
        } else {
            coarse_slice(self.request_timeout).min(self.request_patience.left()) // for all of it: not renewed by each byte
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
    fn silence_ends_with_a_byte_or_an_answer() {
        let now = Instant::now();
        let mut clock = clock(now);
        for end in [|clock: &mut Clock| clock.received(Instant::now()), Clock::settled] {
            assert!(!clock.is_silent_too_long(SECOND * 79));
            assert_eq!(clock.until_look(QUIET, now), SECOND);
            end(&mut clock);
            assert_eq!(clock.until_look(QUIET, now), SECOND * 10);
        }
        assert!(clock.is_silent_too_long(SECOND * 80));
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
