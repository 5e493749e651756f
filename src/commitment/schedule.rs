//! When a request is looked at again, and for how long it was tried, by a clock that may be set at any time.

use std::time::Duration;

/// Between the first failed attempt and the second. It doubles with each attempt, give or take a tenth.
pub const FIRST_WAIT: Duration = Duration::from_secs(30);

/// Until a report is tried again that this node could not make.
pub const HINDERED_WAIT: Duration = Duration::from_secs(5);

/// The longest time between two attempts. A pending request never waits longer, also where the clock has been set back.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// The longest time between two looks at a request that counts as time in which it was tried: while the node is down, and where the clock is set
/// forward, no more than this passes; where it is set back, none does. So `retry_for` is a time in which the peer was tried, and a request that is found
/// after a week of standstill is tried for the rest of it.
pub const LONGEST_STEP: Duration = Duration::from_secs(900);

pub(crate) const fn ms(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

/// How long a request waits after so many failed attempts, in milliseconds.
pub(crate) fn wait_ms(id: i64, attempts: u32) -> i64 {
    let doubled = ms(FIRST_WAIT) << attempts.saturating_sub(1).min(10);
    let wait = doubled.min(ms(LONGEST_WAIT));
    // Requests that failed together are not tried together for ever.
    let tenth = wait / 10;
    let jitter = mixed(id.cast_unsigned() ^ u64::from(attempts) << 48) % (2 * tenth).cast_unsigned().max(1);
    (wait - tenth + jitter.cast_signed()).min(ms(LONGEST_WAIT))
}

/// A number that looks random (splitmix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// For how long a request was tried, when the time since `counted_ms` is added.
pub(crate) fn tried_ms(tried_ms: i64, counted_ms: i64, now_ms: i64) -> i64 {
    tried_ms.saturating_add(now_ms.saturating_sub(counted_ms).clamp(0, ms(LONGEST_STEP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_half_a_minute_to_ten_minutes_give_or_take_a_tenth() {
        for id in 1..500 {
            for (attempts, seconds) in [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 600), (7, 600), (9999, 600)]
            {
                let wait = wait_ms(id, attempts);
                assert!((seconds * 900..=(seconds * 1100).min(600_000)).contains(&wait), "{attempts}: {wait}");
            }
        }
        let waits: std::collections::BTreeSet<i64> = (1..500).map(|id| wait_ms(id, 1)).collect();
        assert!(waits.len() > 400, "{}", waits.len());
    }

    #[test]
    fn time_that_a_clock_jumps_is_not_tried() {
        assert_eq!(tried_ms(5, 1000, 2000), 1005);
        assert_eq!(tried_ms(5, 1000, 86_401_000), 5 + ms(LONGEST_STEP));
        assert_eq!(tried_ms(5, 86_401_000, 1000), 5);
        assert_eq!(tried_ms(i64::MAX, i64::MIN, i64::MAX), i64::MAX);
    }
}
