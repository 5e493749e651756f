//! Figures as text for people: sizes, ages, growth, and escaped strings of peers.

use unicode_width::UnicodeWidthChar;

use crate::unprintable::is_unprintable;

/// A number of bytes with one decimal from KiB on.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // A number that would be rounded up to 1024.0 is shown in the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number of bytes that may be negative.
pub(super) fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", size(bytes.unsigned_abs()))
}

/// From `before` to `after`, with its sign.
pub(super) fn growth(bytes: i64) -> String {
    let sign = if bytes > 0 { "+" } else { "" };
    format!("{sign}{}", signed(bytes))
}

/// An age by its two largest units.
pub(super) fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A short time, from microseconds.
pub(super) fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1000 => format!("{microseconds} µs"),
        1000..10_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", microseconds / 1000),
        _ => format!("{:.1} s", microseconds as f64 / 1e6),
    }
}

/// A time of the API, to the second.
pub(super) fn second(rfc3339: &str) -> String {
    rfc3339.get(..19).unwrap_or(rfc3339).replacen('T', " ", 1)
}

/// `count` with the noun `one`, in the plural if needed.
pub(super) fn count(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A string of a peer, with every character escaped that a terminal might interpret or hide. Letters with combining marks stay as they are.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unprintable(c) {
            true => out.extend(c.escape_debug()),
            false => out.push(c),
        }
    }
    out
}

/// The columns that `text` takes in a terminal: two for each wide character, none for a combining mark.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// `text` in at most `width` columns, and in few bytes: combining marks take no column, however many follow each other.
pub(super) fn cut(text: &str, width: usize) -> String {
    const MARKS_OF_COLUMN: usize = 4;
    let most = width.saturating_mul(MARKS_OF_COLUMN);
    if columns(text) <= width && text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let mut taken = 0;
    let kept = text.chars().take(most).take_while(|c| {
        taken += columns_of(*c);
        taken <= room
    });
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal_and_stay_below_the_next_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (65_536, "64.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_047_000, "1022.5 KiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(signed(-2048), "-2.0 KiB");
        assert_eq!(signed(i64::MIN), "-8192.0 PiB");
        assert_eq!([growth(1024), growth(0), growth(-1)], ["+1.0 KiB", "0 B", "-1 B"]);
    }

    #[test]
    fn ages_have_two_units_at_most() {
        for (milliseconds, text) in [
            (0, "0.0s"),
            (9_999, "9.9s"),
            (59_999, "59s"),
            (60_000, "1m 0s"),
            (3_599_999, "59m 59s"),
            (3_600_000, "1h 0m"),
            (200_000_000, "2d 7h"),
        ] {
            assert_eq!(age(milliseconds), text);
        }
    }

    #[test]
    fn short_times_have_the_unit_that_fits() {
        let texts = [999, 6_200, 41_000, 1_240_000].map(duration);
        assert_eq!(texts, ["999 µs", "6.2 ms", "41 ms", "1.2 s"]);
    }

    #[test]
    fn what_a_peer_says_does_nothing_to_the_terminal() {
        let label = "\"A\\u{7}\" \u{1b}[2J\u{9b}31m\u{202e}\r\nÄ";
        assert_eq!(safe(label), "\"A\\u{7}\" \\u{1b}[2J\\u{9b}31m\\u{202e}\\r\\nÄ");
    }

    #[test]
    fn a_text_is_cut_by_the_columns_that_it_takes() {
        assert_eq!([cut("abc", 3), cut("abcd", 3), cut("ab", 0)], ["abc", "ab…", ""]);
        assert_eq!([cut("山田太郎", 8), cut("山田太郎", 7), cut("山田太郎", 6)], ["山田太郎", "山田太…", "山田…"]);
        assert_eq!(cut("山田", 1), "…");
        let marks = format!("e{}", "\u{301}".repeat(1000));
        assert_eq!(cut(&marks, 5).chars().count(), 21, "marks that take no column are bounded all the same");
        assert_eq!(columns("e\u{301}山\u{20ac}"), 4);
    }
}
