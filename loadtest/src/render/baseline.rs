//! The comparison of two runs, in words and figures.

use std::fmt::Write;

use super::{Table, escape, percent};
use crate::baseline::{self, Finding, Verdict};
use crate::result::RunResult;

const EXPLANATION: &str = "The change and its bounds of 95 % confidence. Throughput: moving-block bootstrap over seconds; percentiles: order statistics of the \
whole histogram, widened by how much the seconds differ. What varies between one run and the next (the machine, the disk's \
state) is not in the bounds: repeat both, or use compare.";

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["", "verdict", "change", "bounds", "baseline", "this run"]);
    for finding in findings {
        let change = finding.ratio.map(|ratio| percent(ratio.estimate)).unwrap_or_default();
        let bounds = finding.ratio.map(|ratio| format!("{} … {}", percent(ratio.low), percent(ratio.high)));
        let figures = [change, bounds.unwrap_or_default(), finding.base.clone(), finding.new.clone()];
        let cells = [finding.name.to_owned(), finding.verdict.words().to_owned()].into_iter().chain(figures);
        if finding.verdict == Verdict::Worse { table.marked_row(cells) } else { table.row(cells) }
    }
    table
}

/// A run held against an earlier one, for the terminal.
pub(crate) fn comparison(base: &RunResult, new: &RunResult) -> String {
    comparison_text(&baseline::compare(base, new), &baseline::differences(base, new))
}

fn comparison_text(findings: &[Finding], differences: &[String]) -> String {
    let mut text = String::from("Compared with the baseline (95 % confidence):\n");
    text.push_str(&table(findings).text());
    for difference in differences {
        let _ = writeln!(text, "careful: {difference}");
    }
    text
}

/// For a page.
pub(crate) fn comparison_html(findings: &[Finding], differences: &[String]) -> String {
    let mut html = format!("<p>{EXPLANATION}</p>{}", table(findings).html());
    for difference in differences {
        let _ = write!(html, "<p class=\"careful\">Careful: {}.</p>", escape(difference));
    }
    html
}
