//! The hours of a destination, by the local time of this host.

use std::time::Duration;

use crate::node::settings::Hours;

const DAY_S: u32 = 86_400;

/// Whether sending may begin at this second of the day, and for how long that holds.
pub(super) fn at(hours: Hours, second: u32) -> (bool, Duration) {
    let (from, until) = (u32::from(hours.from_minute) * 60, u32::from(hours.until_minute) * 60);
    let ahead = |of: u32| (of + DAY_S - second % DAY_S) % DAY_S;
    // Whichever comes first: its end while it lasts, and its beginning otherwise.
    let (to_from, to_until) = (ahead(from), ahead(until));
    let is_within = second % DAY_S == from || (to_until < to_from && to_until > 0);
    let holds_for = if is_within { to_until } else { to_from };
    (is_within, Duration::from_secs(holds_for.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_begin_end_and_wrap_around_midnight() {
        let clock = |text: &str| {
            let (hour, minute) = text.split_once(':').unwrap();
            hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
        };
        let hours = |from, until| Hours { from_minute: clock(from), until_minute: clock(until) };
        let night = hours("20:00", "06:00");
        let day = hours("08:00", "17:30");
        for (hours, now, is_within, holds_for) in [
            (night, "19:59", false, 60),
            (night, "20:00", true, 36_000),
            (night, "23:59", true, 21_660),
            (night, "00:00", true, 21_600),
            (night, "05:59", true, 60),
            (night, "06:00", false, 50_400),
            (day, "07:00", false, 3600),
            (day, "08:00", true, 34_200),
            (day, "17:29", true, 60),
            (day, "17:30", false, 52_200),
            (day, "00:00", false, 28_800),
            (hours("00:00", "12:00"), "00:00", true, 43_200),
            (hours("12:00", "00:00"), "23:59", true, 60),
            (hours("12:00", "00:00"), "00:00", false, 43_200),
        ] {
            let second = u32::from(clock(now)) * 60;
            assert_eq!(at(hours, second), (is_within, Duration::from_secs(holds_for)), "{hours:?} at {now}");
        }
        assert_eq!(at(night, 86_399), (true, Duration::from_secs(21_601)));
    }
}
