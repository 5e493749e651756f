//! Figures as text for people: sizes, ages, growth, tables, and escaped strings of peers.

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

/// `count` with the noun `one`, in the plural if needed.
pub(super) fn count(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A string of a peer, with every character escaped that a terminal might interpret or hide.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => out.push(c), // the label has its quotes and its own escapes
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

/// `text` in at most `width` columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…").chars().take(width).collect()
}

/// Lines of cells under a heading: the first column aligned left, the others right. A last column without a heading is a remark, aligned
/// left.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned).to_vec()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell_width = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
        let widths: Vec<usize> =
            (0..columns).map(|column| self.rows.iter().map(|row| cell_width(row, column)).max().unwrap_or(0)).collect();
        let is_remark = |column: usize| column > 0 && self.rows[0].get(column).is_none_or(String::is_empty);
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let gap = if column == 0 { "" } else { "  " };
                if column == 0 || is_remark(column) {
                    line.push_str(&format!("{gap}{cell:<width$}"));
                } else {
                    line.push_str(&format!("{gap}{cell:>width$}"));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
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
    fn tables_are_aligned_by_characters() {
        let mut table = Table::new(["WHO", "BYTES", ""]);
        table.row(["Ä".to_owned(), "1.0 KiB".to_owned(), "new".to_owned()]);
        table.row(["long".to_owned(), "1 B".to_owned(), String::new()]);
        assert_eq!(table.render(), "WHO     BYTES\nÄ     1.0 KiB  new\nlong      1 B\n");
        assert_eq!([cut("abc", 3), cut("abcd", 3), cut("ab", 0)], ["abc", "ab…", ""]);
    }
}
