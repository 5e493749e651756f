//! The table and the page of a comparison.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::contender::{Compared, Contender};
use crate::noise::Noise;
use crate::render::{Line, Page, Plot, Scale, Table, Tone, bytes, count, ms, per_second, rate, verdict};
use crate::result::RunResult;
use crate::statistics::median;

/// Fewer associations say nothing of the memory that one of them takes.
const MANY_ASSOCIATIONS: u64 = 100;

/// A table for each load, and what went wrong below it.
pub(crate) fn text(loads: &[Compared], markdown: bool) -> String {
    let mut text = String::new();
    for load in loads {
        // Writing to a String never fails.
        if loads.len() > 1 {
            let _ = writeln!(text, "{}{}\n", if markdown { "### " } else { "" }, load.scenario);
        }
        let table = table(&load.contenders, Columns::All);
        text += &if markdown { table.markdown() } else { table.text() };
        for said in verdicts(load).into_iter().chain(doubt(load)) {
            let _ = writeln!(text, "{said}");
        }
        for problem in load.contenders.iter().flat_map(problems) {
            let _ = writeln!(text, "{problem}");
        }
        if loads.len() > 1 {
            text.push('\n');
        }
    }
    text
}

/// Each receiver against the first in a sentence; limits are held against in the table.
fn verdicts(load: &Compared) -> Vec<String> {
    let mut contenders = load.contenders.iter().filter(|contender| !contender.is_limit);
    let Some(first) = contenders.next() else {
        return Vec::new();
    };
    let against = |contender: &Contender| {
        format!("{} against {}: {}", contender.name, first.name, verdict(&contender.against(first)))
    };
    contenders.map(against).collect()
}

/// Whether the machine was quiet, by the worst run.
fn doubt(load: &Compared) -> Option<String> {
    let runs = load.contenders.iter().flat_map(Contender::runs);
    let doubt = Noise::worst(runs.map(|run| run.noise.as_ref()))?.doubt()?;
    Some(format!("Careful: the figures are {doubt} (the worst run)."))
}

/// Each problem once, with its receiver.
fn problems(contender: &Contender) -> BTreeSet<String> {
    let named = |problem: &String| match problem.starts_with(&contender.name) {
        true => problem.clone(),
        false => format!("{}: {problem}", contender.name),
    };
    contender.problems.iter().map(named).collect()
}

/// The part of the columns that a table shows: a terminal and a document take all, a page two tables that fit its width.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    All,
    Speed,
    Cost,
}

/// A column: its head, and its cell for each receiver.
type Column<'a> = (&'static str, Box<dyn Fn(&Contender) -> String + 'a>);

fn table(contenders: &[Contender], columns: Columns) -> Table {
    let limit = fastest_limit(contenders);
    let crowded = contenders.iter().flat_map(Contender::runs).any(|run| associations(run) >= MANY_ASSOCIATIONS);
    let shown = |value: fn(&RunResult) -> f64, show: fn(f64) -> String| -> Box<dyn Fn(&Contender) -> String + '_> {
        Box::new(move |contender| figure(contender, value, show))
    };
    let of_limit = |value: fn(&RunResult) -> f64| -> Option<Column<'_>> {
        limit.map(|limit| -> Column<'_> { ("of limit", Box::new(move |contender| ratio(contender, limit, value))) })
    };
    let mut picked: Vec<Column<'_>> = vec![("receiver", Box::new(|contender| contender.name.clone()))];
    if columns != Columns::Speed {
        picked.push(("version", Box::new(|contender| contender.version.clone())));
    }
    if columns != Columns::Cost {
        picked.push(("success means", Box::new(|contender| contender.durability.clone())));
        picked.push(("instances/s", shown(RunResult::per_s, rate)));
        picked.extend(of_limit(RunResult::per_s));
        picked.push(("MiB/s", shown(RunResult::mib_per_s, rate)));
        picked.extend(limit.map(|_| ("synced/s", shown(synced_per_s, rate))));
        picked.push(("p50", shown(|run| run.latency.p50_ms, ms)));
        picked.push(("p99", shown(|run| run.latency.p99_ms, ms)));
        picked.extend(of_limit(|run| run.latency.p99_ms));
    }
    if columns != Columns::Speed {
        picked.push(("peak RSS", shown(peak_rss_bytes, bytes)));
        picked.extend(crowded.then(|| ("for each association", shown(bytes_per_association, bytes))));
        picked.push(("CPU-s/GiB", shown(cpu_s_per_gib, rate)));
        picked.extend(of_limit(cpu_s_per_gib));
        picked.push(("verified", Box::new(verified)));
    }
    let heads: Vec<&str> = picked.iter().map(|(head, _)| *head).collect();
    let mut table = Table::new(&heads);
    for contender in contenders {
        table.row(picked.iter().map(|(_, cell)| cell(contender)));
    }
    table
}

/// The limit that stores most instances a second, by its median.
fn fastest_limit(contenders: &[Contender]) -> Option<&Contender> {
    let rate = |limit: &&Contender| median(&limit.runs().map(RunResult::per_s).collect::<Vec<_>>()).unwrap_or(0.0);
    contenders.iter().filter(|contender| contender.is_limit).max_by(|one, other| rate(one).total_cmp(&rate(other)))
}

/// The median of the ratios within a round.
fn ratio(contender: &Contender, limit: &Contender, value: fn(&RunResult) -> f64) -> String {
    let rounds = contender.runs.iter().zip(&limit.runs);
    let ratios = rounds.filter_map(|(one, limit)| Some(value(one.as_ref()?) / value(limit.as_ref()?)));
    let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
    median(&ratios).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// The median, and the range behind it.
fn figure(contender: &Contender, value: fn(&RunResult) -> f64, show: fn(f64) -> String) -> String {
    let values: Vec<f64> = contender.runs().map(value).filter(|value| value.is_finite()).collect();
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

/// Instances a second with the time that it took afterwards to sync the whole filesystem.
fn synced_per_s(run: &RunResult) -> f64 {
    run.sync_after_s.map_or(f64::NAN, |sync_s| run.totals.acknowledged as f64 / (run.elapsed_s + sync_s))
}

fn peak_rss_bytes(run: &RunResult) -> f64 {
    run.target_usage.map_or(f64::NAN, |usage| usage.peak_rss_bytes as f64)
}

/// The growth of the resident set for each association, from before the load to its peak.
fn bytes_per_association(run: &RunResult) -> f64 {
    let resting = run.target_resting_bytes.map_or(f64::NAN, |bytes| bytes as f64);
    (peak_rss_bytes(run) - resting) / associations(run) as f64
}

/// The most associations that stood at the end of a second.
fn associations(run: &RunResult) -> u64 {
    run.series.iter().map(|second| second.associations).max().unwrap_or_default()
}

/// The findings of the reconciliation over all runs, and the instances that were not stored.
fn verified(contender: &Contender) -> String {
    let failed: u64 = contender.runs().map(|run| run.totals.failed()).sum();
    let checks: Vec<_> = contender.runs().filter_map(|run| run.verification.as_ref()).collect();
    let sum =
        |list: fn(&crate::result::Verification) -> usize| checks.iter().map(|check| list(check) as u64).sum::<u64>();
    let (lost, corrupt, partial) = (sum(|c| c.lost.len()), sum(|c| c.corrupt.len()), sum(|c| c.partial.len()));
    let others = sum(|c| c.mislabelled.len() + c.duplicated.len());
    let mut said = match (checks.len(), lost + corrupt + partial + others) {
        (0, _) => "not checked".to_owned(),
        (_, 0) => "all whole".to_owned(),
        _ => format!("{} lost, {} changed, {} partial", count(lost), count(corrupt), count(partial)),
    };
    if others > 0 {
        let _ = write!(said, ", {} mislabelled or duplicated", count(others));
    }
    if failed > 0 {
        let _ = write!(said, "; {} not stored", count(failed));
    }
    said
}

/// The answer over all loads: who failed, and who is better or worse than the first.
fn summary(loads: &[Compared]) -> String {
    let failed: BTreeSet<&str> = loads
        .iter()
        .flat_map(|load| &load.contenders)
        .filter(|contender| !contender.passed())
        .map(|contender| contender.name.as_str())
        .collect();
    let mut said = match failed.is_empty() {
        true => vec!["All receivers stored what they acknowledged.".to_owned()],
        false => vec![format!("Failed: {}.", failed.into_iter().collect::<Vec<_>>().join(", "))],
    };
    for load in loads {
        let of_load = |said: String| if loads.len() > 1 { format!("{}: {said}", load.scenario) } else { said };
        said.extend(verdicts(load).into_iter().map(of_load));
    }
    said.join(" ")
}

fn tone(loads: &[Compared]) -> Tone {
    let contenders = || loads.iter().flat_map(|load| &load.contenders);
    match contenders().all(Contender::passed) {
        false => Tone::Bad,
        true if contenders().filter(|contender| !contender.is_limit).count() > loads.len() => Tone::Open,
        true => Tone::Good,
    }
}

/// The page: of each load the table, and a run of each receiver over time.
pub(crate) fn page(loads: &[Compared]) -> String {
    let names: Vec<&str> = loads.iter().map(|load| load.scenario.as_str()).collect();
    let run = loads.iter().flat_map(|load| &load.contenders).find_map(|contender| contender.runs().next());
    let lead = run.map(|run| format!("{} CPUs, {}", run.host.cpus, run.host.kernel)).unwrap_or_default();
    let mut page = Page::of_command(&format!("Receivers compared: {}", names.join(", ")), &lead);
    page.verdict(tone(loads), &summary(loads));
    for said in loads.iter().filter_map(doubt) {
        page.careful(&said);
    }
    page.paragraph("Medians and ranges. Receivers take turns, and another one begins each round. Rows with another meaning of success are no rivals: a receiver that syncs does more for each answer.");
    for load in loads {
        let of = load.contenders.iter().find_map(|contender| contender.runs().next());
        let of = of.map(|run| format!("{}: {}", load.scenario, run.load)).unwrap_or_else(|| load.scenario.clone());
        page.table(&of, &table(&load.contenders, Columns::Speed));
        for said in verdicts(load) {
            page.paragraph(&said);
        }
        page.table(
            &format!("{}: what it cost, and what was found", load.scenario),
            &table(&load.contenders, Columns::Cost),
        );
        plots(&mut page, &load.contenders);
        for problem in load.contenders.iter().flat_map(problems) {
            page.paragraph(&problem);
        }
    }
    page.finish()
}

/// The middle run of each receiver over time.
fn plots(page: &mut Page, contenders: &[Contender]) {
    let middle = |contender: &Contender| {
        let mut runs: Vec<&RunResult> = contender.runs().collect();
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    fn contender(name: &str, durability: &str, slower: &[f64]) -> Contender {
        Contender {
            name: name.into(),
            version: "1".into(),
            durability: durability.into(),
            is_limit: false,
            runs: slower.iter().zip(1..).map(|(slower, seed)| Some(fixture::run(seed, *slower))).collect(),
            problems: Vec::new(),
        }
    }

    fn loads() -> Vec<Compared> {
        let mut broken = contender("broken", "unknown", &[]);
        broken.runs.push(None);
        broken.problems.push("no licence".into());
        let contenders = vec![
            contender("quick", "nothing synced", &[1.0, 0.9, 1.1]),
            contender("slow", "all synced", &[2.0, 2.0]),
            broken,
        ];
        vec![Compared { scenario: "ct".into(), contenders }]
    }

    fn row(text: &str, name: &str) -> String {
        text.lines().find(|line| line.contains(name)).unwrap().to_owned()
    }

    #[test]
    fn each_row_has_its_median_its_range_and_what_its_success_means() {
        let text = text(&loads(), true);
        assert!(row(&text, "quick").contains("nothing synced") && row(&text, "quick").contains(" – "), "{text}");
        assert!(row(&text, "slow").contains("2 lost") && row(&text, "slow").contains("not stored"), "{text}");
        assert!(row(&text, "| broken").contains("| – | – |"), "{text}");
        assert!(text.contains("broken: no licence") && !text.contains("of limit"), "{text}");
    }

    #[test]
    fn each_is_held_against_the_fastest_limit_round_by_round() {
        let mut slow = contender("limit: slow", "all synced", &[2.0, 1.0, 3.0]);
        let mut fast = contender("limit: fast", "all synced", &[1.0, 0.5, 2.0]);
        let mut node = contender("node", "all synced", &[4.0, 1.0, 2.0]);
        (slow.is_limit, fast.is_limit) = (true, true);
        // A round that one of the two failed has no ratio.
        node.runs.push(None);
        fast.runs.push(Some(fixture::run(9, 1.0)));
        let load = |scenario: &str, contenders| Compared { scenario: scenario.into(), contenders };
        let text = text(&[load("tiny", vec![node, slow, fast]), load("large", Vec::new())], true);
        assert!(text.starts_with("### tiny\n") && text.contains("\n### large\n"), "{text}");
        let ratios = |name: &str| {
            let cells: Vec<String> = row(&text, name).split(" | ").map(|cell| cell.trim().to_owned()).collect();
            cells[4].clone()
        };
        assert_eq!(ratios("limit: fast"), "1.00", "{text}");
        assert!(ratios("limit: slow").parse::<f64>().unwrap() < 0.8, "{text}");
        assert!(ratios("node").parse::<f64>().unwrap() < 0.8, "{text}");
    }

    #[test]
    fn the_page_draws_the_middle_run_of_each() {
        let html = page(&loads());
        assert!(html.contains("Receivers compared: ct") && html.matches("<figure").count() == 3);
        assert!(html.contains("broken: no licence"));
        // The verdict first, the command and the date; no table has more columns than a page holds.
        assert!(html.find("class=\"verdict bad\"").unwrap() < html.find("<table").unwrap(), "{html}");
        assert!(
            html.contains("Failed: broken, quick, slow.") && html.contains("slow against quick: Cannot be told"),
            "{html}"
        );
        assert!(html.contains("<code>") && html.contains(" UTC"));
        assert!(
            html.split("<table")
                .skip(1)
                .all(|table| table.split("</thead>").next().unwrap().matches("<th").count() <= 9)
        );
    }
}
