//! The table and the page of a comparison.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Contender;
use crate::render::{Line, Page, Plot, Scale, Table, bytes, count, ms, per_second, rate};
use crate::result::RunResult;
use crate::statistics::median;

/// The table, and what went wrong below it.
pub(crate) fn text(contenders: &[Contender], markdown: bool) -> String {
    let table = table(contenders);
    let mut text = if markdown { table.markdown() } else { table.text() };
    for contender in contenders {
        for problem in problems(contender) {
            let _ = writeln!(text, "{problem}");
        }
    }
    text
}

/// Each problem once, with its receiver.
fn problems(contender: &Contender) -> BTreeSet<String> {
    let named = |problem: &String| match problem.starts_with(&contender.name) {
        true => problem.clone(),
        false => format!("{}: {problem}", contender.name),
    };
    contender.problems.iter().map(named).collect()
}

fn table(contenders: &[Contender]) -> Table {
    let head = [
        "receiver",
        "version",
        "success means",
        "instances/s",
        "MiB/s",
        "p50",
        "p99",
        "peak RSS",
        "CPU-s/GiB",
        "verified",
    ];
    let mut table = Table::new(&head);
    for contender in contenders {
        let runs = &contender.runs;
        table.row([
            contender.name.clone(),
            contender.version.clone(),
            contender.durability.clone(),
            figure(runs, RunResult::per_s, rate),
            figure(runs, RunResult::mib_per_s, rate),
            figure(runs, |run| run.latency.p50_ms, ms),
            figure(runs, |run| run.latency.p99_ms, ms),
            figure(runs, |run| run.target_usage.map_or(f64::NAN, |usage| usage.peak_rss_bytes as f64), bytes),
            figure(runs, cpu_s_per_gib, rate),
            verified(contender),
        ]);
    }
    table
}

/// The median, and the range behind it.
fn figure(runs: &[RunResult], value: impl Fn(&RunResult) -> f64, show: fn(f64) -> String) -> String {
    let values: Vec<f64> = runs.iter().map(value).filter(|value| value.is_finite()).collect();
    let Some(middle) = median(&values) else {
        return "–".to_owned();
    };
    let (low, high) =
        values.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
    if values.len() == 1 { show(middle) } else { format!("{} ({} – {})", show(middle), show(low), show(high)) }
}

fn cpu_s_per_gib(run: &RunResult) -> f64 {
    let gib = run.totals.bytes as f64 / f64::from(1 << 30);
    run.target_usage.filter(|_| gib > 0.0).map_or(f64::NAN, |usage| usage.cpu_s() / gib)
}

/// What the reconciliation found over all runs, and what was not stored at all.
fn verified(contender: &Contender) -> String {
    let failed: u64 = contender.runs.iter().map(|run| run.totals.failed()).sum();
    let checks: Vec<_> = contender.runs.iter().filter_map(|run| run.verification.as_ref()).collect();
    let sum =
        |list: fn(&crate::result::Verification) -> usize| checks.iter().map(|check| list(check) as u64).sum::<u64>();
    let (lost, corrupt, partial) = (sum(|c| c.lost.len()), sum(|c| c.corrupt.len()), sum(|c| c.partial.len()));
    let mut said = match (checks.len(), lost + corrupt + partial) {
        (0, _) => "not checked".to_owned(),
        (_, 0) => "all whole".to_owned(),
        _ => format!("{} lost, {} changed, {} partial", count(lost), count(corrupt), count(partial)),
    };
    if failed > 0 {
        let _ = write!(said, "; {} not stored", count(failed));
    }
    said
}

/// The page: the table, and every run over time.
pub(crate) fn page(scenario: &str, contenders: &[Contender]) -> String {
    let run = contenders.iter().find_map(|contender| contender.runs.first());
    let lead = run.map(|run| format!("{} · {} CPUs, {}", run.load, run.host.cpus, run.host.kernel)).unwrap_or_default();
    let mut page = Page::new(&format!("Receivers compared: {scenario}"), &lead);
    page.table("Medians and ranges", &table(contenders));
    page.paragraph("Receivers take turns, and another one begins each round. Rows with another meaning of success are no rivals: a receiver that syncs does more for each answer.");
    let middle = |contender: &Contender| {
        let mut runs: Vec<&RunResult> = contender.runs.iter().collect();
        runs.sort_by(|one, other| one.per_s().total_cmp(&other.per_s()));
        runs.get(runs.len() / 2).map(|run| (contender.name.clone(), (*run).clone()))
    };
    let runs: Vec<(String, RunResult)> = contenders.iter().filter_map(middle).collect();
    let lines = |figure: fn(&crate::result::Second) -> f64| -> Vec<Line> {
        runs.iter()
            .map(|(name, run)| Line::new(name, run.series.iter().map(|second| (second.t_s, figure(second)))))
            .collect()
    };
    page.plots(
        "The middle run of each",
        &[
            Plot::over_time(
                "Bytes a second",
                "Of the acknowledged datasets.",
                Scale::Bytes,
                runs.iter().map(|(name, run)| per_second(run, name, |second| second.bytes)).collect(),
            ),
            Plot::over_time(
                "Latency p99",
                "Of each second; logarithmic.",
                Scale::Milliseconds,
                lines(|second| second.p99_ms),
            ),
            Plot::over_time(
                "Memory",
                "Resident, of the whole process tree.",
                Scale::Bytes,
                lines(|second| second.target.as_ref().map_or(f64::NAN, |target| target.rss_bytes as f64)),
            ),
        ],
    );
    for contender in contenders {
        for problem in problems(contender) {
            page.paragraph(&problem);
        }
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    fn contenders() -> Vec<Contender> {
        let contender = |name: &str, durability: &str, slower: &[f64]| Contender {
            name: name.into(),
            version: "1".into(),
            durability: durability.into(),
            runs: slower.iter().zip(1..).map(|(slower, seed)| fixture::run(seed, *slower)).collect(),
            problems: Vec::new(),
        };
        let mut broken = contender("broken", "unknown", &[]);
        broken.problems.push("no licence".into());
        vec![
            contender("quick", "nothing synced", &[1.0, 0.9, 1.1]),
            contender("slow", "all synced", &[2.0, 2.0]),
            broken,
        ]
    }

    #[test]
    fn each_row_has_its_median_its_range_and_what_its_success_means() {
        let text = text(&contenders(), true);
        let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(row("quick").contains("nothing synced") && row("quick").contains(" – "), "{text}");
        assert!(row("slow").contains("2 lost") && row("slow").contains("not stored"), "{text}");
        assert!(row("| broken").contains("| – | – |"), "{text}");
        assert!(text.contains("broken: no licence"), "{text}");
    }

    #[test]
    fn the_page_draws_the_middle_run_of_each() {
        let html = page("ct", &contenders());
        assert!(html.contains("Receivers compared: ct") && html.matches("<figure").count() == 3);
        assert!(html.contains("broken: no licence"));
    }
}
