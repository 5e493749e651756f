//! The result of a search, with the lines for the configuration.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::figures::Figures;
use super::search::{Answer, LeftOut, Search, Stage};
use super::trial::{Settings, Trial};
use crate::noise::Noise;
use crate::render::{Line, Page, Plot, Scale, Shape, Table, Tone, bytes, change, ms, rate, steps_plots};
use crate::result::Step;

/// Trials that are named when they are not told apart.
const MAX_NAMED: usize = 6;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Tuned {
    pub(crate) scenario: String,
    pub(crate) search: Search,
    /// The node's own values of the keys that were tried.
    pub(crate) defaults: Settings,
    /// The bound on p99 that was asked for.
    pub(crate) asked_p99_ms: f64,
    /// Open loads with the settings recommended.
    pub(crate) knee: Vec<Step>,
    /// The settings recommended, and none synced: what durability costs. It is never recommended.
    pub(crate) unsynced: Option<Figures>,
    pub(crate) cpus: u64,
    pub(crate) filesystem: String,
    /// The worst of all runs.
    pub(crate) noise: Option<Noise>,
}

/// For the terminal.
pub(crate) fn text(tuned: &Tuned) -> String {
    let mut text = String::new();
    for stage in &tuned.search.stages {
        // Writing to a String never fails.
        let _ = writeln!(text, "{}\n", table(tuned, stage).text());
    }
    for sentence in verdict(tuned).into_iter().chain(details(tuned)) {
        let _ = writeln!(text, "{sentence}");
    }
    let _ = write!(text, "\n{}", lines(tuned));
    text
}

fn table(tuned: &Tuned, stage: &Stage) -> Table {
    let keys = stage.keys.join(", ");
    let mut table = Table::new(&[&keys, "rounds", "instances/s", "MiB/s", "p50", "p99", "peak RSS", "CPU-s/GiB"]);
    for trial in &stage.trials {
        let cells = [
            if trial.is_configured() { configured(tuned, stage) } else { trial.words() },
            trial.runs.len().to_string(),
            ranged(trial, |run| run.per_s, rate),
            ranged(trial, |run| run.mib_per_s, rate),
            ms(trial.median(|run| run.p50_ms)),
            ranged(trial, |run| run.p99_ms, ms),
            bytes(trial.median(|run| run.peak_rss_bytes)),
            rate(trial.median(|run| run.cpu_s_per_gib)),
        ];
        if trial.chosen { table.marked_row(cells) } else { table.row(cells) }
    }
    table
}

/// The row of what is configured, with its values of the stage's keys.
fn configured(tuned: &Tuned, stage: &Stage) -> String {
    let settings = stage.trials.first().map(|trial| &trial.settings);
    let value = |key: &String| settings.and_then(|settings| settings.get(key)).or_else(|| tuned.defaults.get(key));
    let values: Vec<&str> = stage.keys.iter().filter_map(value).map(String::as_str).collect();
    let is_whole = values.len() == stage.keys.len();
    if is_whole { format!("as configured ({})", values.join(", ")) } else { "as configured".to_owned() }
}

/// The median, and the range behind it.
fn ranged(trial: &Trial, figure: fn(&Figures) -> f64, show: fn(f64) -> String) -> String {
    let values = || trial.runs.iter().map(figure);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    format!("{} ({} – {})", show(trial.median(figure)), show(low), show(high))
}

/// The answer to each stage in a sentence.
fn verdict(tuned: &Tuned) -> Vec<String> {
    let goal = tuned.search.goal.words();
    let said = tuned.search.stages.iter().map(|stage| {
        let keys = stage.keys.join(" and ");
        let named = |indexes: &[usize]| {
            let names: Vec<String> = indexes.iter().filter_map(|index| Some(stage.trials.get(*index)?.words())).collect();
            let more = names.len().saturating_sub(MAX_NAMED);
            let shown = names.into_iter().take(MAX_NAMED).map(|name| format!("[{name}]")).collect::<Vec<_>>().join(" ");
            if more > 0 { format!("{shown} and {more} more") } else { shown }
        };
        match &stage.answer {
            Answer::AsConfigured => format!("{keys}: leave as configured, within 5 % of everything that was tried, by {goal}."),
            Answer::Take(index) => {
                format!("{keys}: {}, the cheapest within 5 % of everything that was tried, by {goal}.", named(&[*index]))
            }
            Answer::CannotTell(open) => {
                let mut candidates = open.iter().filter_map(|index| stage.trials.get(*index));
                let advice = if candidates.any(Trial::is_configured) {
                    "Leave as configured, or give it"
                } else {
                    "What is configured is worse than these. To tell them apart, give it"
                };
                let open = named(open);
                format!(
                    "{keys}: cannot be told. Not told apart by {goal}: {open}. {advice} a larger --budget or a quieter machine."
                )
            }
            Answer::NoneKept => format!("{keys}: cannot be told, for every combination had failures or broke a bound."),
        }
    });
    let mut said: Vec<String> = said.collect();
    said.extend(tuned.search.left_out.iter().map(left_out));
    said
}

/// The combinations that there was no time for.
fn left_out(left: &LeftOut) -> String {
    let LeftOut { keys, combinations, takes_s } = left;
    let named = combinations.iter().take(MAX_NAMED).map(|values| format!("[{}]", values.join(", ")));
    let more = combinations.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "{}: not measured for want of time: {}{more}. They would take {} in addition: give it a larger --budget.",
        keys.join(", "),
        named.collect::<Vec<_>>().join(" "),
        length(*takes_s)
    )
}

/// A length of time as `--budget` takes it.
fn length(seconds: f64) -> String {
    if seconds < 100.0 { format!("{}s", seconds.ceil()) } else { format!("{}m", (seconds / 60.0).ceil()) }
}

/// Remarks on the result.
fn details(tuned: &Tuned) -> Vec<String> {
    let search = &tuned.search;
    let mut said = Vec::new();
    if let Some(doubt) = tuned.noise.and_then(|noise| noise.doubt()) {
        said.push(format!("The figures are {doubt} (the worst run)."));
    }
    if let Some(bound_ms) = search.stages.iter().filter_map(|stage| stage.p99_bound_ms).reduce(f64::max) {
        said.push(format!(
            "Nothing kept p99 within {}: {} was the bound instead, a quarter above the least.",
            ms(tuned.asked_p99_ms),
            ms(bound_ms)
        ));
    }
    if let Some(best) = search.best_figures() {
        said.push(format!(
            "With what is {}: {} instances/s, {} MiB/s, p99 {}, {}.",
            if search.changes() { "recommended" } else { "configured" },
            rate(best.per_s),
            rate(best.mib_per_s),
            ms(best.p99_ms),
            bytes(best.peak_rss_bytes)
        ));
        said.extend(tuned.unsynced.map(|unsynced| cost_of_syncs(best, unsynced)));
    }
    if let Some((index, knee)) = tuned.knee.iter().enumerate().find(|(_, step)| step.knee) {
        // No step that it did not keep up with: the knee lies beyond.
        let at_least = if index + 1 == tuned.knee.len() { "at least " } else { "" };
        said.push(format!(
            "Under an open load it keeps up with {at_least}{} instances/s (p50 {}, p99 {}).",
            rate(knee.offered_per_s),
            ms(knee.p50_ms),
            ms(knee.p99_ms)
        ));
    } else if let Some(first) = tuned.knee.first() {
        said.push(format!("Under an open load it did not keep up with {} instances/s.", rate(first.offered_per_s)));
    }
    said
}

fn cost_of_syncs(best: Figures, unsynced: Figures) -> String {
    format!(
        "Without syncs (storage.durability = \"none\", never recommended) it would be {} instances/s, {}.",
        rate(unsynced.per_s),
        change(unsynced.per_s / best.per_s)
    )
}

/// As the configuration file has them.
fn lines(tuned: &Tuned) -> String {
    let Tuned { scenario, cpus, filesystem, search, .. } = tuned;
    if !search.changes() {
        let is_answered = !search.stages.is_empty() && search.left_out.is_empty();
        let stands = is_answered && search.stages.iter().all(|stage| matches!(stage.answer, Answer::AsConfigured));
        return if stands { "# Nothing to change.\n" } else { "# Nothing is recommended.\n" }.to_owned();
    }
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
    let stages = &tuned.search.stages;
    let runs: usize = stages.iter().flat_map(|stage| &stage.trials).map(|trial| trial.runs.len()).sum();
    let lead = format!("{} CPUs, {} · {runs} runs", tuned.cpus, tuned.filesystem);
    let mut page = Page::of_command(&format!("Tuning for {}", tuned.scenario), &lead);
    let open = |stage: &Stage| matches!(stage.answer, Answer::CannotTell(_) | Answer::NoneKept);
    let tone = if stages.is_empty() || stages.iter().any(open) { Tone::Open } else { Tone::Good };
    page.verdict(tone, &verdict(tuned).join(" "));
    for sentence in details(tuned) {
        page.paragraph(&sentence);
    }
    page.lines("Recommended", &lines(tuned));
    page.plots("Throughput and latency", &stages.iter().map(scatter).collect::<Vec<_>>());
    let achieved = "With the recommended settings; where the lines part, the node no longer keeps up.";
    page.plots("Load in steps", &steps_plots(&tuned.knee, achieved));
    for stage in stages {
        page.table(&stage.keys.join(" and "), &table(tuned, stage));
    }
    page.paragraph("Medians, and ranges over the rounds. Within a round every combination sends the same instances; combinations are compared within rounds.");
    page.finish()
}

/// Every combination as a point; down and to the right is better.
fn scatter(stage: &Stage) -> Plot {
    let line =
        |trial: &Trial| Line::new(&trial.words(), [(trial.median(|run| run.per_s), trial.median(|run| run.p99_ms))]);
    let marks = stage.trials.iter().filter(|trial| trial.chosen);
    Plot {
        shape: Shape::Dots,
        x: Scale::Number,
        x_label: "instances a second",
        lines: stage.trials.iter().map(line).collect(),
        marks: marks.map(|trial| (trial.median(|run| run.per_s), "taken".to_owned())).collect(),
        ..Plot::over_time(
            &stage.keys.join(", "),
            "p99 by throughput; down and to the right is better.",
            Scale::Milliseconds,
            Vec::new(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Goal;
    use super::super::search::{Bench, search};
    use super::super::trial::{Axis, Rules};
    use super::*;

    struct Quiet(f64);

    impl Bench for Quiet {
        type Error = String;

        fn measure(&mut self, settings: &Settings, _: usize, length_s: f64) -> Result<Figures, String> {
            self.0 -= length_s;
            let writers: f64 = settings.get("writers.count").map_or(1.0, |writers| writers.parse().unwrap());
            Ok(Figures {
                per_s: 100.0 * writers,
                mib_per_s: 50.0 * writers,
                p50_ms: 4.0,
                p99_ms: 9.0,
                peak_rss_bytes: 4e7,
                cpu_s_per_gib: 0.9,
                failed: 0.0,
            })
        }

        fn left_s(&self) -> f64 {
            self.0
        }

        fn beside_s(&self) -> f64 {
            0.0
        }
    }

    fn tuned() -> Tuned {
        let axes = vec![
            vec![Axis { key: "writers.count".into(), values: vec!["2".into(), "8".into()] }],
            vec![Axis { key: "memory.spool_threshold".into(), values: vec!["1 MiB".into()] }],
        ];
        let rules =
            Rules { goal: Goal::Instances, rounds: 3, length_s: 1.0, max_rss_bytes: f64::INFINITY, max_p99_ms: 1000.0 };
        let search = search(&axes, &Settings::new(), &Settings::new(), &rules, &mut Quiet(1000.0)).unwrap();
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
            defaults: Settings::from([("writers.count".to_owned(), "4".to_owned())]),
            asked_p99_ms: 1000.0,
            knee: vec![step(500.0, 500.0, true), step(900.0, 700.0, false)],
            unsynced: Some(Figures { per_s: 1600.0, ..Figures::default() }),
            cpus: 2,
            filesystem: "ext4".into(),
            noise: Some(Noise { steal: 0.2, foreign: None }),
        }
    }

    #[test]
    fn the_lines_can_be_put_into_a_configuration() {
        let lines = lines(&tuned());
        let read: toml::Table = toml::from_str(&lines).unwrap();
        assert_eq!(read["writers"]["count"].as_integer(), Some(8));
        assert!(lines.starts_with("# For the load \"ct\" on 2 CPUs and ext4"));
    }

    #[test]
    fn what_was_found_is_said_and_drawn() {
        let mut tuned = tuned();
        tuned.search.left_out.push(LeftOut {
            keys: vec!["writers.mailbox_capacity".into(), "writers.count".into()],
            combinations: (0..8).map(|count| vec!["64".into(), count.to_string()]).collect(),
            takes_s: 130.0,
        });
        let text = text(&tuned);
        for said in [
            "as configured (4) ",
            "writers.mailbox_capacity, writers.count: not measured for want of time: [64, 0] [64, 1]",
            "[64, 5] and 2 more. They would take 3m in addition",
            "writers.count: [8], the cheapest within 5 % of everything that was tried, by instances/s.",
            "memory.spool_threshold: leave as configured",
            "keeps up with 500 instances/s",
            "it would be 1\u{202f}600 instances/s, ×2.00",
            "20.0 % stolen by the hypervisor",
            "[writers]",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        let html = page(&tuned);
        assert!(html.matches("<figure").count() == 4 && html.contains(">taken<") && html.contains(">knee<"));
        let verdict = html.find("class=\"verdict good\"").unwrap();
        assert!(verdict < html.find("<table").unwrap() && html.contains("<code>") && html.contains(" UTC"), "{html}");
    }

    #[test]
    fn what_cannot_be_told_is_said_with_its_candidates_and_changes_nothing() {
        let mut tuned = tuned();
        tuned.search.best.clear();
        tuned.search.stages[0].answer = Answer::CannotTell(vec![0, 2]);
        let text = text(&tuned);
        assert!(text.contains("cannot be told. Not told apart by instances/s: [as configured] [8]"), "{text}");
        assert!(text.contains("# Nothing is recommended."), "{text}");
        assert!(page(&tuned).contains("class=\"verdict open\""));
    }
}
