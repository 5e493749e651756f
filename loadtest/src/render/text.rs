//! The text in the terminal at the end of a run.

use std::fmt::Write;

use super::run_page::{answers, latencies, modalities, objectives, shares, steps, verdict};
use super::{bytes, count, rate};
use crate::result::RunResult;

/// Partial files that are named; the JSON has them all.
const MAX_PARTIAL: usize = 5;

/// The whole result in some twenty lines.
pub(crate) fn text(run: &RunResult) -> String {
    let target = run.target.name.as_deref().unwrap_or("receiver");
    let mut text = format!("{}: {target} at {}, {}\n", run.scenario, run.target.address, run.load);
    let _ = writeln!(
        text,
        "{} instances ({}) in {} s: {} instances/s, {} MiB/s\n",
        count(run.totals.acknowledged),
        bytes(run.totals.bytes as f64),
        rate(run.elapsed_s),
        rate(run.per_s()),
        rate(run.mib_per_s())
    );
    text.push_str(&latencies(run).text());
    let totals = &run.totals;
    if totals.associations_rejected + totals.associations_failed > 0 {
        let _ = writeln!(
            text,
            "\nassociations: {} opened, {} rejected, {} failed",
            count(totals.associations_opened),
            count(totals.associations_rejected),
            count(totals.associations_failed)
        );
    }
    for (wanted, table) in [
        (run.totals.failed() > 0, answers(run)),
        (run.modalities.len() > 1, modalities(run)),
        (run.senders.len() > 1, shares("sender", &run.senders)),
        (true, steps(run)),
        (true, objectives(run)),
    ] {
        if wanted && !table.is_empty() {
            let _ = write!(text, "\n{}", table.text());
        }
    }
    let generator = &run.generator;
    let _ = write!(
        text,
        "\ngenerator: {} CPU-s, peak RSS {}",
        rate(generator.cpu_s()),
        bytes(generator.peak_rss_bytes as f64)
    );
    if let Some(usage) = &run.target_usage {
        let _ =
            write!(text, "; {target}: {} CPU-s, peak RSS {}", rate(usage.cpu_s()), bytes(usage.peak_rss_bytes as f64));
    }
    if let Some(doubt) = run.noise.and_then(|noise| noise.doubt()) {
        let _ = write!(text, "\ncareful: the figures are {doubt}");
    }
    if let Some(found) = &run.verification {
        for problem in found.partial.iter().take(MAX_PARTIAL) {
            let _ = write!(text, "\npartial: {problem}");
        }
    }
    let _ = writeln!(text, "\n{}", verdict(run));
    text
}
