//! What a search found, with the lines to put into the configuration.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::figures::Figures;
use super::search::{Search, Settings, Trial};
use crate::render::{Line, Page, Plot, Scale, Shape, Table, bytes, change, ms, rate, steps_plots};
use crate::result::Step;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Tuned {
    pub(crate) scenario: String,
    pub(crate) search: Search,
    /// Open loads with the settings recommended.
    pub(crate) knee: Vec<Step>,
    /// The settings recommended, and none synced: what durability costs. It is never recommended.
    pub(crate) unsynced: Option<Figures>,
    pub(crate) cpus: u64,
    pub(crate) filesystem: String,
}

/// For the terminal.
pub(crate) fn text(tuned: &Tuned) -> String {
    let mut text = format!("{}\n{}\n", table(&tuned.search.trials).text(), conclusion(tuned));
    let _ = write!(text, "\n{}", lines(tuned));
    text
}

fn table(trials: &[Trial]) -> Table {
    let mut table =
        Table::new(&["key", "value", "instances/s", "MiB/s", "range", "p50", "p99", "peak RSS", "CPU-s/GiB"]);
    for trial in trials {
        let throughputs: Vec<f64> = trial.runs.iter().map(|run| run.mib_per_s).collect();
        let low = throughputs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = throughputs.iter().copied().fold(0.0, f64::max);
        let cells = [
            trial.varied.clone(),
            trial.value.clone(),
            rate(trial.median(|run| run.per_s)),
            rate(trial.median(|run| run.mib_per_s)),
            format!("{} – {}", rate(low), rate(high)),
            ms(trial.median(|run| run.p50_ms)),
            ms(trial.median(|run| run.p99_ms)),
            bytes(trial.median(|run| run.peak_rss_bytes)),
            rate(trial.median(|run| run.cpu_s_per_gib)),
        ];
        if trial.chosen { table.marked_row(cells) } else { table.row(cells) }
    }
    table
}

/// In sentences.
fn conclusion(tuned: &Tuned) -> String {
    let search = &tuned.search;
    let mut said = Vec::new();
    match search.best_figures() {
        Some(best) => {
            said.push(format!(
                "Of the values that come within 5 % of the best throughput the first is taken (marked): {} MiB/s, p99 {}, {}.",
                rate(best.mib_per_s),
                ms(best.p99_ms),
                bytes(best.peak_rss_bytes)
            ));
            said.extend(tuned.unsynced.map(|unsynced| cost_of_syncs(best, unsynced)));
        }
        None => said.push("No combination kept to the bounds without a failure.".to_owned()),
    }
    if let Some(knee) = tuned.knee.iter().find(|step| step.knee) {
        said.push(format!(
            "Under an open load it keeps up with {} instances/s (p50 {}, p99 {}).",
            rate(knee.offered_per_s),
            ms(knee.p50_ms),
            ms(knee.p99_ms)
        ));
    } else if let Some(first) = tuned.knee.first() {
        said.push(format!("Under an open load it did not keep up with {} instances/s.", rate(first.offered_per_s)));
    }
    if !search.left_out.is_empty() {
        said.push(format!("There was no time for {}: give it a larger --budget.", search.left_out.join(", ")));
    }
    said.join("\n")
}

fn cost_of_syncs(best: Figures, unsynced: Figures) -> String {
    format!(
        "Without syncs (storage.durability = \"none\", never recommended) it would be {} MiB/s, {}.",
        rate(unsynced.mib_per_s),
        change(unsynced.mib_per_s / best.mib_per_s)
    )
}

/// As the configuration file has them.
fn lines(tuned: &Tuned) -> String {
    let Tuned { scenario, cpus, filesystem, search, .. } = tuned;
    let mut text =
        format!("# For the load {scenario:?} on {cpus} CPUs and {filesystem}, found by `tidegate-loadtest tune`.\n");
    let mut sections: BTreeMap<&str, Settings> = BTreeMap::new();
    for (key, value) in &search.best {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        sections.entry(section).or_default().insert(name.to_owned(), value.clone());
    }
    for (section, settings) in sections {
        let _ = writeln!(text, "[{section}]");
        for (name, value) in settings {
            let plain = value.parse::<f64>().is_ok() || value == "true" || value == "false";
            let _ = if plain { writeln!(text, "{name} = {value}") } else { writeln!(text, "{name} = {value:?}") };
        }
    }
    text
}

/// The page.
pub(crate) fn page(tuned: &Tuned) -> String {
    let lead = format!("{} CPUs, {} · {} combinations", tuned.cpus, tuned.filesystem, tuned.search.trials.len());
    let mut page = Page::new(&format!("Tuning for {}", tuned.scenario), &lead);
    page.lines("Recommended", &lines(tuned));
    for sentence in conclusion(tuned).lines() {
        page.paragraph(sentence);
    }
    page.plots("Throughput and latency", &[scatter(&tuned.search.trials)]);
    let achieved = "With the recommended settings; where the lines part, the node no longer keeps up.";
    page.plots("Load in steps", &steps_plots(&tuned.knee, achieved));
    page.table("All combinations", &table(&tuned.search.trials));
    page.finish()
}

/// Every combination as a point; up and to the left is better. One colour a key.
fn scatter(trials: &[Trial]) -> Plot {
    let mut lines: Vec<Line> = Vec::new();
    for trial in trials {
        let point = (trial.median(|run| run.mib_per_s), trial.median(|run| run.p99_ms));
        match lines.iter_mut().find(|line| line.label == trial.varied) {
            Some(line) => line.points.push(point),
            None => lines.push(Line::new(&trial.varied, [point])),
        }
    }
    let marks = trials.iter().rev().find(|trial| trial.chosen);
    Plot {
        title: "p99 by throughput".to_owned(),
        note: "Each combination is a point, the median of its runs: to the right is faster, below answers sooner."
            .to_owned(),
        shape: Shape::Dots,
        x: Scale::Number,
        x_label: "MiB a second",
        y: Scale::Milliseconds,
        lines,
        marks: marks.map(|trial| (trial.median(|run| run.mib_per_s), "taken".to_owned())).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::search::{Axis, Rules, one_by_one};
    use super::*;

    fn tuned() -> Tuned {
        let axes = [
            Axis { key: "writers.count".into(), values: vec!["2".into(), "8".into()] },
            Axis { key: "memory.spool_threshold".into(), values: vec!["1 MiB".into()] },
        ];
        let mut measure = |settings: &Settings| -> Result<Figures, String> {
            let writers: f64 = settings["writers.count"].parse().unwrap();
            Ok(Figures {
                per_s: 100.0 * writers,
                mib_per_s: 50.0 * writers,
                p50_ms: 4.0,
                p99_ms: 9.0,
                peak_rss_bytes: 4e7,
                cpu_s_per_gib: 0.9,
                failed: 0.0,
            })
        };
        let rules = Rules { repeats: 3, max_rss_bytes: None, max_p99_ms: None };
        let search = one_by_one(&axes, &Settings::new(), &rules, |_| true, &mut measure).unwrap();
        let step = |offered_per_s: f64, achieved_per_s, knee| Step {
            offered_per_s,
            achieved_per_s,
            p50_ms: 4.0,
            p99_ms: 20.0,
            knee,
        };
        Tuned {
            scenario: "ct".into(),
            search,
            knee: vec![step(500.0, 500.0, true), step(900.0, 700.0, false)],
            unsynced: Some(Figures { mib_per_s: 800.0, ..Figures::default() }),
            cpus: 2,
            filesystem: "ext4".into(),
        }
    }

    #[test]
    fn the_lines_can_be_put_into_a_configuration() {
        let lines = lines(&tuned());
        let read: toml::Table = toml::from_str(&lines).unwrap();
        assert_eq!(read["writers"]["count"].as_integer(), Some(8));
        assert_eq!(read["memory"]["spool_threshold"].as_str(), Some("1 MiB"));
        assert!(lines.starts_with("# For the load \"ct\" on 2 CPUs and ext4"));
    }

    #[test]
    fn what_was_found_is_said_and_drawn() {
        let text = text(&tuned());
        for said in
            ["8          800    400", "keeps up with 500 instances/s", "it would be 800 MiB/s, ×2.00", "[writers]"]
        {
            assert!(text.contains(said), "{said} in {text}");
        }
        let html = page(&tuned());
        assert!(html.matches("<figure").count() == 3 && html.contains(">taken<") && html.contains(">knee<"));
    }
}
