//! Text that fits the terminal: tables, lines with a label, and lines broken at spaces. A figure, a UID or a path is never cut.

use super::text::{columns, cut};

/// Columns of a text that goes to no terminal, and the fewest that a table needs.
pub(super) const COLUMNS: usize = 80;

/// Columns of a label.
const LABEL: usize = 14;

/// The fewest columns in which remarks of several lines are readable.
const REMARK: usize = 32;

/// Lines of cells under a heading: the first column aligned left, the others right. A last column without a heading is a remark.
///
/// A first cell that has no room beside the figures stands on a line above them, and remarks that have none below.
pub(super) struct Table {
    rows: Vec<Row>,
    left: usize,
}

enum Row {
    Cells(Vec<String>),
    /// Belongs to the row above, and keeps to no column.
    Line(String),
}

/// The columns of a table that is fitted.
struct Fit {
    widths: Vec<usize>,
    /// Of a row without its remark.
    of_row: usize,
    has_remark: bool,
    /// Whether the remarks have room beside their rows.
    is_remark_beside: bool,
}

impl Table {
    pub(super) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![Row::Cells(heading.map(str::to_owned).to_vec())], left: 1 }
    }

    /// Aligns the first `columns` left.
    pub(super) fn left(self, columns: usize) -> Self {
        Self { left: columns, ..self }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Row::Cells(cells.to_vec()));
    }

    /// A line below the last row, broken at spaces where it has no room.
    pub(super) fn line(&mut self, line: impl Into<String>) {
        self.rows.push(Row::Line(line.into()));
    }

    fn cells(&self) -> impl Iterator<Item = &Vec<String>> {
        self.rows.iter().filter_map(|row| if let Row::Cells(cells) = row { Some(cells) } else { None })
    }

    fn fit(&self, width: usize) -> Fit {
        let count = self.cells().map(Vec::len).max().unwrap_or(0);
        let has_remark =
            count > 1 && self.cells().next().and_then(|heading| heading.last()).is_some_and(String::is_empty);
        let cells_of = |column: usize| self.cells().filter_map(move |cells| cells.get(column));
        let columns_of = |column: usize| cells_of(column).map(|cell| columns(cell));
        let mut widths: Vec<usize> = (0..count).map(|column| columns_of(column).max().unwrap_or(0)).collect();
        let remark = if has_remark { widths.pop().unwrap_or(0) } else { 0 };
        let figures: usize = widths.iter().skip(1).map(|width| width + 2).sum();
        let room = width.saturating_sub(figures);
        if let Some(first) = widths.first_mut().filter(|first| **first > room) {
            *first = columns_of(0).filter(|cell| *cell <= room).max().unwrap_or(0);
        }
        let of_row = widths.first().map_or(0, |first| first + figures);
        let room = width.saturating_sub(of_row + 2);
        let word = || cells_of(count - 1).flat_map(|cell| cell.split(' ')).map(columns).max().unwrap_or(0);
        let is_remark_beside = remark <= room || room >= REMARK && word() <= room;
        Fit { widths, of_row, has_remark, is_remark_beside }
    }

    /// The table in lines of at most `width` columns.
    pub(super) fn render(&self, width: usize) -> String {
        let fit = self.fit(width);
        let mut out = String::new();
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.push_row(&mut out, cells, &fit, width),
                Row::Line(line) => out.push_str(&wrapped("  ", line, width)),
            }
        }
        out
    }

    fn push_row(&self, out: &mut String, cells: &[String], fit: &Fit, width: usize) {
        let (figures, remark) = match cells.split_last() {
            Some((remark, figures)) if fit.has_remark => (figures, remark.as_str()),
            _ => (cells, ""),
        };
        let mut line = String::new();
        for (column, (cell, of_column)) in figures.iter().zip(&fit.widths).enumerate() {
            line.push_str(if column == 0 { "" } else { "  " });
            let is_above = column == 0 && columns(cell) > *of_column;
            if is_above {
                out.push_str(&cut(cell, width));
                out.push('\n');
            }
            let cell = if is_above { "" } else { cell.as_str() };
            // Not by the formatter, which counts characters.
            let padding = " ".repeat(of_column.saturating_sub(columns(cell)));
            line.extend(if column < self.left { [cell, &padding] } else { [padding.as_str(), cell] });
        }
        if fit.is_remark_beside && !remark.is_empty() {
            line.push_str(&" ".repeat(fit.of_row + 2 - columns(&line)));
            out.push_str(&wrapped(&line, remark, width));
            return;
        }
        out.push_str(line.trim_end());
        out.push('\n');
        if !remark.is_empty() {
            out.push_str(&wrapped("  ", remark, width));
        }
    }
}

/// A label and its value, in lines of at most `width` columns.
pub(super) fn labelled(label: &str, value: &str, width: usize) -> String {
    wrapped(&format!("{label:<LABEL$}"), value, width)
}

/// `text` behind `begin`, in lines of at most `width` columns that are broken at spaces. What follows the first line is indented as far. A word
/// that has no room on a line is not cut: a person copies it.
pub(super) fn wrapped(begin: &str, text: &str, width: usize) -> String {
    let indent = columns(begin);
    let (mut out, mut taken) = (begin.to_owned(), indent);
    for word in text.split(' ') {
        let of_word = columns(word);
        let is_first = taken == indent;
        if !is_first && taken + 1 + of_word > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            taken = indent;
        } else if !is_first {
            out.push(' ');
            taken += 1;
        }
        out.push_str(word);
        taken += of_word;
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn tables_are_aligned_by_columns() {
        let mut table = Table::new(["WHO", "BYTES", ""]);
        table.row(row(["Ä", "1.0 KiB", "new"]));
        table.row(row(["long", "1 B", ""]));
        assert_eq!(table.render(COLUMNS), "WHO     BYTES\nÄ     1.0 KiB  new\nlong      1 B\n");
        let mut table = Table::new(["WHO", "NAME", "N"]).left(2);
        table.row(row(["a", "山田", "1"]));
        table.line("below");
        table.row(row(["b", "e\u{301}ab", "22"]));
        assert_eq!(table.render(COLUMNS), "WHO  NAME   N\na    山田   1\n  below\nb    e\u{301}ab   22\n");
    }

    #[test]
    fn what_has_no_room_stands_on_a_line_of_its_own() {
        let mut table = Table::new(["WHO", "BYTES", ""]);
        table.row(row(["a name that is long", "1.0 KiB", "and a remark of 1.2.840.10008.5.1.4"]));
        table.row(row(["short", "12.0 KiB", ""]));
        let narrow = "\
WHO       BYTES
a name that is long
        1.0 KiB
  and a remark of
  1.2.840.10008.5.1.4
short  12.0 KiB
";
        assert_eq!(table.render(22), narrow);
        let wide = "\
WHO                     BYTES
a name that is long   1.0 KiB  and a remark of 1.2.840.10008.5.1.4
short                12.0 KiB
";
        assert_eq!(table.render(70), wide);
    }

    #[test]
    fn lines_are_broken_at_spaces_and_words_are_whole() {
        assert_eq!(labelled("disk", "one two", 20), "disk          one\n              two\n");
        assert_eq!(wrapped("  ", "1.2.3.4.5.6.7 a 1.2.3.4.5.6.7", 10), "  1.2.3.4.5.6.7\n  a\n  1.2.3.4.5.6.7\n");
        assert_eq!(labelled("disk", "", 20), "disk\n");
    }
}
