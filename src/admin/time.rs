//! Times in answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 as RFC 3339. Beyond the years that it can write, the nearest that it can.
pub(crate) fn rfc3339(ms: i64) -> String {
    const END_OF_9999_MS: u64 = 253_402_300_799_999;
    let ms = u64::try_from(ms).unwrap_or(0).min(END_OF_9999_MS);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

pub(super) fn ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, ms)
}

/// A time of the clock, as [`rfc3339`].
pub(crate) fn at(time: SystemTime) -> String {
    rfc3339(i64::try_from(unix_ms(time)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_calendar_has_is_written_all_the_same() {
        assert_eq!(rfc3339(1_790_000_000_123), "2026-09-21T14:13:20.123Z");
        assert_eq!(rfc3339(i64::MIN), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
