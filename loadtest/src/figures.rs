//! Numbers as they are read: three digits that mean something, and a unit.

/// With three significant digits and thousands apart.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.09995 => 2,
        _ => 3,
    };
    grouped(&format!("{value:.decimals$}"))
}

/// Thousands apart by a space that does not break.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let length = whole.trim_start_matches('-').len();
    let mut text = String::new();
    let mut left = length;
    for digit in whole.chars() {
        if digit.is_ascii_digit() {
            if left != length && left % 3 == 0 {
                text.push('\u{202f}');
            }
            left -= 1;
        }
        text.push(digit);
    }
    fraction.map_or(text.clone(), |fraction| format!("{text}.{fraction}"))
}

/// A number of things.
pub(crate) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A figure of some unit that stands elsewhere, such as per second.
pub(crate) fn rate(value: f64) -> String {
    digits(value)
}

/// Milliseconds; seconds when they are many.
pub(crate) fn ms(value: f64) -> String {
    if value >= 10_000.0 { format!("{} s", digits(value / 1000.0)) } else { format!("{} ms", digits(value)) }
}

/// Bytes in the largest binary unit that leaves a digit before the point.
pub(crate) fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            return format!("{} {unit}", digits(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", digits(value))
}

/// A ratio as a change in percent with its sign, and as a multiple where that is shorter.
pub(crate) fn change(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 2.0 => format!("×{}", digits(ratio)),
        ratio if ratio > 0.0 && ratio <= 0.5 => format!("÷{}", digits(1.0 / ratio)),
        ratio => format!("{:+.1} %", (ratio - 1.0) * 100.0),
    }
}

/// Date and time in UTC (days to civil date: H. Hinnant's algorithm).
pub(crate) fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest / 60 % 60)
}

/// Text that is safe within HTML, in attributes too.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits_and_their_unit() {
        assert_eq!(
            (rate(0.0), rate(0.0123), rate(3.456), rate(34.56)),
            ("0".into(), "0.012".into(), "3.46".into(), "34.6".into())
        );
        assert_eq!(rate(1_234_567.8), "1\u{202f}234\u{202f}568");
        assert_eq!(count(999), "999");
        assert_eq!(rate(-1234.0), "-1\u{202f}234");
        assert_eq!((ms(0.5), ms(12_345.0)), ("0.50 ms".into(), "12.3 s".into()));
        assert_eq!((bytes(1536.0), bytes(1_073_741_824.0)), ("1.50 KiB".into(), "1.00 GiB".into()));
        assert_eq!((change(1.125), change(0.9)), ("+12.5 %".into(), "-10.0 %".into()));
        assert_eq!((change(37.59), change(0.1)), ("×37.6".into(), "÷10.0".into()));
    }

    #[test]
    fn what_a_peer_or_a_file_says_is_no_markup() {
        assert_eq!(escape("<a href=\"x\" & 'y'>"), "&lt;a href=&quot;x&quot; &amp; &#39;y&#39;&gt;");
    }
}
