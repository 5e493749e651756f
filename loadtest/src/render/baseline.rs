//! The comparison of two sets of runs, in words and figures.

use std::fmt::Write;

use super::{Table, change, escape};
use crate::baseline::{Comparison, Verdict};
use crate::statistics::MIN_RUNS;

fn table(compared: &Comparison) -> Table {
    let mut table = Table::new(&["", "verdict", "change", "bounds", "baseline", "new"]);
    for finding in &compared.findings {
        let bounds = finding.ratio.map(|ratio| format!("{} … {}", change(ratio.low), change(ratio.high)));
        let cells = [
            finding.name.to_owned(),
            finding.verdict.words().to_owned(),
            finding.change.map(change).unwrap_or_default(),
            bounds.unwrap_or_default(),
            finding.base.clone(),
            finding.new.clone(),
        ];
        if finding.verdict == Verdict::Worse { table.marked_row(cells) } else { table.row(cells) }
    }
    table
}

/// The answer in a sentence.
pub(crate) fn verdict(compared: &Comparison) -> String {
    let named = |wanted| {
        let names: Vec<&str> =
            compared.findings.iter().filter(|finding| finding.verdict == wanted).map(|finding| finding.name).collect();
        (!names.is_empty()).then(|| format!("{}: {}", Verdict::words(wanted), names.join(", ")))
    };
    let Comparison { base_runs, new_runs, base_empty, new_empty, .. } = compared;
    if compared.stores_nothing_now() {
        return format!("Worse: {new_empty} of {new_runs} new runs stored nothing, and there is no ratio to that.");
    }
    if !compared.is_comparable() {
        return format!(
            "Cannot be compared: {base_empty} of {base_runs} baseline and {new_empty} of {new_runs} new runs stored nothing."
        );
    }
    if compared.findings.iter().all(|finding| finding.verdict == Verdict::TooFew) {
        return format!(
            "Cannot be told: {} and {} runs. How much runs differ by themselves shows from {MIN_RUNS} of each on, better 6, made in turns: \
             tidegate-loadtest compare --node OLD --node NEW --rounds 6, or run --result and diff --base … --new ….",
            compared.base_runs, compared.new_runs
        );
    }
    let said: Vec<String> = [Verdict::Worse, Verdict::Better].into_iter().filter_map(named).collect();
    if !said.is_empty() {
        return format!("{}.", said.join("; "));
    }
    // How large a difference may still be there says more than that none was shown.
    let may_be = compared.findings.iter().find_map(|finding| Some((finding.name, finding.ratio?)));
    let may_be =
        may_be.map(|(name, ratio)| format!(": {name} may differ by {} to {}", change(ratio.low), change(ratio.high)));
    format!("No difference shown{}.", may_be.unwrap_or_default())
}

/// How it was compared.
fn method(compared: &Comparison) -> String {
    let how = if compared.paired {
        "made in turns, compared in pairs"
    } else {
        "not made in turns: what drifted between them counts as theirs"
    };
    format!(
        "{} runs against {}, {how}. Medians and ranges; bounds of 98 % confidence for all figures together, each run one observation.",
        compared.base_runs, compared.new_runs
    )
}

/// For the terminal.
pub(crate) fn comparison(compared: &Comparison) -> String {
    let mut text = match compared.is_comparable() {
        true => format!("{}\n\n{}\n{}\n", verdict(compared), table(compared).text(), method(compared)),
        false => format!("{}\n", verdict(compared)),
    };
    for difference in &compared.differences {
        let _ = writeln!(text, "careful: {difference}");
    }
    text
}

/// For a page.
pub(crate) fn comparison_html(compared: &Comparison) -> String {
    let mut html = format!(
        "<p><b>{}</b></p><p>{}</p>{}",
        escape(&verdict(compared)),
        escape(&method(compared)),
        table(compared).html()
    );
    for difference in &compared.differences {
        let _ = write!(html, "<p class=\"careful\">Careful: {}.</p>", escape(difference));
    }
    html
}
