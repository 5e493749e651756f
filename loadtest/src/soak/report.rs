//! The verdict of a soak in words and plots.

use std::fmt::Write;

use serde::Serialize;

use super::judge::{Cycle, Judgement, Verdict};
use crate::render::{Line, Page, Plot, Scale, Table, Tone, bytes, count};
use crate::result::TargetSample;

/// Everything that was seen.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Soaked {
    pub(crate) receiver: String,
    pub(crate) scenario: String,
    pub(crate) cycles: Vec<Cycle>,
    pub(crate) judgements: Vec<Judgement>,
    /// Each second: from the start, and what was seen.
    pub(crate) samples: Vec<(f64, TargetSample)>,
}

/// One line a cycle while it runs.
pub(crate) fn progress(cycle: &Cycle, number: u64, length_s: f64) -> String {
    let shown = |figure: Option<f64>| figure.map_or("?".to_owned(), bytes);
    format!(
        "cycle {number}, {:.0} of {length_s:.0} s: {} instances, {} failed{}; memory {} under load, {} at rest",
        cycle.end_s,
        count(cycle.acknowledged),
        count(cycle.failed),
        cycle.faults.iter().map(|fault| format!(", {fault}")).collect::<String>(),
        shown(cycle.loaded_rss_bytes),
        shown(cycle.resting_rss_bytes)
    )
}

/// For the terminal.
pub(crate) fn text(soaked: &Soaked) -> String {
    format!("{}\n{}\n", table(&soaked.judgements).text(), conclusion(soaked))
}

fn per_hour(value: f64) -> String {
    let sign = if value < 0.0 { "" } else { "+" };
    format!("{sign}{}", bytes(value))
}

fn table(judgements: &[Judgement]) -> Table {
    let mut table = Table::new(&["", "verdict", "growth in an hour", "bounds (95 %)", "for each instance"]);
    for judgement in judgements {
        let words = match judgement.verdict {
            Verdict::Leak => "leak",
            Verdict::NoLeak => "no leak",
            Verdict::Unclear => "unclear",
            Verdict::TooShort => "too short",
        };
        let bounds = |slope: crate::statistics::Slope| format!("{} … {}", per_hour(slope.low), per_hour(slope.high));
        let cells = [
            judgement.figure.to_owned(),
            words.to_owned(),
            judgement.slope.map_or("–".to_owned(), |slope| per_hour(slope.estimate)),
            judgement.slope.map_or("–".to_owned(), bounds),
            judgement.bytes_per_instance.map_or("–".to_owned(), per_hour),
        ];
        if judgement.verdict == Verdict::Leak { table.marked_row(cells) } else { table.row(cells) }
    }
    table
}

/// The verdict over all figures in a sentence or two.
fn conclusion(soaked: &Soaked) -> String {
    let is = |verdict| soaked.judgements.iter().any(|judgement| judgement.verdict == verdict);
    let tolerance = soaked.judgements.first().map_or(0.0, |judgement| judgement.tolerance_bytes_per_hour);
    let instances: u64 = soaked.cycles.iter().map(|cycle| cycle.acknowledged).sum();
    let failed: u64 = soaked.cycles.iter().map(|cycle| cycle.failed).sum();
    let mut said = if is(Verdict::Leak) {
        format!("Leak: what {} holds grows by more than {} in an hour.", soaked.receiver, bytes(tolerance))
    } else if is(Verdict::TooShort) {
        "Too short to tell: too few cycles saw the receiver. Give it more hours.".to_owned()
    } else if is(Verdict::Unclear) {
        format!(
            "Unclear: a leak of more than {} in an hour is neither shown nor ruled out. Give it more hours.",
            bytes(tolerance)
        )
    } else {
        format!("No leak: if what {} holds grows, then by less than {} in an hour.", soaked.receiver, bytes(tolerance))
    };
    let _ =
        write!(said, " {} cycles, {} instances, {} not stored.", soaked.cycles.len(), count(instances), count(failed));
    format!("{} {said}", storage(&soaked.cycles))
}

/// The outcomes of the instances.
fn storage(cycles: &[Cycle]) -> String {
    let faulty: Vec<_> = cycles.iter().zip(1..).filter(|(cycle, _)| !cycle.faults.is_empty()).collect();
    if let Some((first, number)) = faulty.first() {
        let (bad, all) = (faulty.len(), cycles.len());
        return format!("Failed in {bad} of {all} cycles; in cycle {number}: {}.", first.faults.join("; "));
    }
    match cycles.iter().all(|cycle| cycle.verified) {
        true => "All acknowledged instances were found whole.".to_owned(),
        false => "Stored instances were not verified.".to_owned(),
    }
}

/// The page.
pub(crate) fn page(soaked: &Soaked) -> String {
    let hours = soaked.cycles.last().map_or(0.0, |cycle| cycle.end_s / 3600.0);
    let lead = format!("{}, scenario {}, {hours:.2} hours", soaked.receiver, soaked.scenario);
    let mut page = Page::of_command("Soak", &lead);
    let all = |verdict| soaked.judgements.iter().all(|judgement| judgement.verdict == verdict);
    let leaks = soaked.judgements.iter().any(|judgement| judgement.verdict == Verdict::Leak);
    let faulty = soaked.cycles.iter().any(|cycle| !cycle.faults.is_empty());
    let tone = if leaks || faulty {
        Tone::Bad
    } else if all(Verdict::NoLeak) {
        Tone::Good
    } else {
        Tone::Open
    };
    page.verdict(tone, &conclusion(soaked));
    page.table("Growth", &table(&soaked.judgements));
    page.paragraph("One figure for each cycle of load and pause, the first fifth of them left out. The slope is Theil's, the median of those between all pairs; its bounds are Sen's.");
    let over = |label: &str, figure: &dyn Fn(&Cycle) -> Option<f64>| {
        Line::new(label, soaked.cycles.iter().filter_map(|cycle| Some((cycle.end_s, figure(cycle)?))))
    };
    let seen = |label: &str, figure: &dyn Fn(&TargetSample) -> Option<u64>| {
        Line::new(label, soaked.samples.iter().filter_map(|(t, sample)| Some((*t, figure(sample)? as f64))))
    };
    let leased = seen("leased", &|sample| sample.leased_bytes);
    let lines = [seen("resident (RSS)", &|sample| Some(sample.rss_bytes)), leased];
    page.plots(
        "Memory",
        &[
            Plot::over_time(
                "By cycle",
                "What the verdict is made of.",
                Scale::Bytes,
                vec![
                    over("at rest", &|cycle| cycle.resting_rss_bytes),
                    over("under load", &|cycle| cycle.loaded_rss_bytes),
                ],
            ),
            Plot::over_time(
                "By second",
                "Everything that was seen.",
                Scale::Bytes,
                lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
            ),
            Plot::over_time(
                "Instances",
                "Acknowledged in each cycle.",
                Scale::Number,
                vec![over("acknowledged", &|cycle| Some(cycle.acknowledged as f64))],
            ),
        ],
    );
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::super::judge::judge;
    use super::*;

    fn soaked(growth: f64) -> Soaked {
        let cycle = |index: u32| Cycle {
            end_s: f64::from(index) * 60.0,
            acknowledged: 500,
            resting_rss_bytes: Some(4e7 + growth * f64::from(index)),
            loaded_rss_bytes: Some(9e7 + growth * f64::from(index)),
            ..Cycle::default()
        };
        let cycles: Vec<Cycle> = (1..=20).map(cycle).collect();
        let judgements = judge(&cycles, 1_048_576.0);
        let samples = vec![(1.0, TargetSample { rss_bytes: 5 << 20, ..TargetSample::default() })];
        Soaked { receiver: "Tidegate".into(), scenario: "ct".into(), cycles, judgements, samples }
    }

    #[test]
    fn a_leak_is_said_with_its_size_and_its_price() {
        let text = text(&soaked(100_000.0));
        assert!(text.contains("Leak: what Tidegate holds grows") && text.contains("+5.72 MiB"), "{text}");
        assert!(text.contains("+200 B"), "{text}");
        let html = page(&soaked(100_000.0));
        assert!(html.contains("verdict bad") && html.matches("<figure").count() == 3);
    }

    #[test]
    fn no_leak_is_said_with_what_could_still_be() {
        let text = text(&soaked(0.0));
        assert!(
            text.contains("No leak: if what Tidegate holds grows, then by less than 1.00 MiB in an hour. 20 cycles"),
            "{text}"
        );
    }
}
