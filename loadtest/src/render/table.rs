//! A table that becomes text or HTML.

use std::fmt::Write;

use super::escape;

/// Cells by row. A column of figures stands to the right, one of words to the left.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<(Vec<String>, bool)>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push((cells.into_iter().collect(), false));
    }

    /// A row that is drawn strongly, and in text has a `*` behind it.
    pub(crate) fn marked_row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push((cells.into_iter().collect(), true));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a column holds figures alone.
    fn is_figures(&self, column: usize) -> bool {
        let figure =
            |cell: &String| cell.chars().next().is_none_or(|first| first.is_ascii_digit() || "+-–".contains(first));
        column > 0 && self.rows.iter().filter_map(|(cells, _)| cells.get(column)).all(figure)
    }

    /// Columns under one another, for a font of one width.
    pub(crate) fn text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(self.rows.iter().map(|(cells, _)| cells));
        let width =
            |column: usize| lines().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max();
        let columns: Vec<_> =
            (0..self.head.len()).map(|column| (width(column).unwrap_or(0), self.is_figures(column))).collect();
        let marks = std::iter::once(false).chain(self.rows.iter().map(|(_, marked)| *marked));
        let mut text = String::new();
        for (cells, marked) in lines().zip(marks) {
            let aligned = cells.iter().zip(&columns).map(|(cell, &(width, figures))| {
                if figures { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            let line = aligned.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{}{}", line.trim_end(), if marked { " *" } else { "" });
        }
        text
    }

    /// As Markdown has it.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = |column| if self.is_figures(column) { "---:" } else { "---" }.to_owned();
        let rule: Vec<String> = (0..self.head.len()).map(rule).collect();
        let rows: String = self.rows.iter().map(|(cells, _)| line(cells)).collect();
        format!("{}{}{rows}", line(&self.head), line(&rule))
    }

    /// A table that scrolls sideways within itself on a narrow screen.
    pub(crate) fn html(&self) -> String {
        let classes: Vec<&str> =
            (0..self.head.len()).map(|column| if self.is_figures(column) { " class=\"figure\"" } else { "" }).collect();
        let mut html = String::from("<div class=\"scroll\"><table><thead><tr>");
        for (name, class) in self.head.iter().zip(&classes) {
            let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(name));
        }
        html.push_str("</tr></thead><tbody>");
        for (cells, marked) in &self.rows {
            html.push_str(if *marked { "<tr class=\"marked\">" } else { "<tr>" });
            for (cell, class) in cells.iter().zip(&classes) {
                let _ = write!(html, "<td{class}>{}</td>", escape(cell));
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table></div>");
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_one_another_and_the_marked_row_is_seen() {
        let mut table = Table::new(&["step", "rate"]);
        table.row(["one".into(), "5".into()]);
        table.marked_row(["two & more".into(), "1\u{202f}000".into()]);
        assert_eq!(table.text(), "step         rate\none             5\ntwo & more  1\u{202f}000 *\n");
        assert!(table.html().contains("<tr class=\"marked\"><td>two &amp; more</td>"));
        assert_eq!(table.markdown().lines().nth(1), Some("| --- | ---: |"));
        table.row(["three".into(), "unknown".into()]);
        assert_eq!(table.markdown().lines().nth(1), Some("| --- | --- |"));
    }
}
