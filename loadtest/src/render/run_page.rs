//! The report of a run.

use super::{
    Line, Page, Plot, Scale, Shape, Table, Tone, bytes, comparison_html, count, escape, ms, rate, target_plots, utc,
};
use crate::baseline::Comparison;
use crate::codes;
use crate::result::{Latency, Modality, RunResult, Second, Step, Usage, Verification};

/// UIDs that are listed; the JSON has them all.
const MAX_UIDS: usize = 50;

pub(crate) fn page(run: &RunResult, compared: Option<&Comparison>) -> Page {
    let target = run.target.name.as_deref().unwrap_or("an unknown receiver");
    let lead = format!("{target} at {}, {} · {}", run.target.address, run.load, utc(run.started_unix_ms));
    let mut page = Page::new(&format!("Load test: {}", run.scenario), &lead);
    let tone = match (run.passed() && run.totals.failed() == 0, &run.verification) {
        (false, _) => Tone::Bad,
        (true, Some(_)) => Tone::Good,
        (true, None) => Tone::Open,
    };
    page.verdict(tone, &verdict(run));
    if let Some(doubt) = run.noise.and_then(|noise| noise.doubt()) {
        page.careful(&format!("The figures are {doubt}."));
    }
    page.tiles(&tiles(run));
    if let Some(compared) = compared {
        page.markup("Against the baseline", &comparison_html(compared));
    }
    page.table("Objectives", &objectives(run));
    page.plots("Throughput", &throughput(run));
    page.plots("Latency", &latency(run));
    page.table("Latency in figures", &latencies(run));
    page.plots("The receiver", &target_plots::plots(run));
    if !run.steps.is_empty() {
        let achieved = "Where the lines part, the receiver no longer keeps up.";
        page.plots("Saturation: load in steps", &steps_plots(&run.steps, achieved));
    }
    page.table("Steps", &steps(run));
    page.table("Answers", &answers(run));
    if run.modalities.len() > 1 {
        page.table("Modalities", &modalities(run));
    }
    if run.senders.len() > 1 {
        page.table("Senders", &shares("sender", &run.senders));
    }
    page.table("Bad peers", &bad_peers(run));
    if let Some(verification) = &run.verification {
        page.markup("Reconciliation", &reconciliation(verification));
    }
    page.facts("How it was measured", &facts(run));
    page
}

/// The whole run in a sentence.
pub(crate) fn verdict(run: &RunResult) -> String {
    let mut said = run.faults();
    let start = if said.is_empty() { "Passed" } else { "Failed" };
    match &run.verification {
        Some(found) if found.passed() && found.acknowledged > 0 => {
            said.push(format!("all {} acknowledged instances found whole", count(found.whole)))
        }
        Some(_) => {}
        None => said.push("stored instances were not verified".to_owned()),
    }
    said.extend(run.verification.as_ref().and_then(|found| found.foreign()));
    let all = run.objectives.len();
    if all > 0 && run.objectives.iter().all(|objective| objective.met) {
        said.push(format!("{all} of {all} objectives met"));
    }
    if run.totals.failed() > 0 {
        let refused = run.totals.refused.iter();
        let refused =
            refused.map(|(status, number)| format!(", {} {status} {}", count(*number), codes::status(status)));
        said.push(format!("{} instances not stored{}", count(run.totals.failed()), refused.collect::<String>()));
    }
    format!("{start}: {}.", said.join("; "))
}

fn tiles(run: &RunResult) -> Vec<(String, &'static str)> {
    let mut tiles = vec![
        (count(run.totals.acknowledged), "instances acknowledged"),
        (rate(run.per_s()), "instances a second"),
        (rate(run.mib_per_s()), "MiB a second"),
        (ms(run.latency.p50_ms), "latency p50"),
        (ms(run.latency.p99_ms), "latency p99"),
        (count(run.totals.failed()), "not stored"),
    ];
    if let Some(usage) = &run.target_usage {
        tiles.push((bytes(usage.peak_rss_bytes as f64), "receiver's peak memory"));
    }
    tiles
}

fn over(run: &RunResult, label: &str, figure: impl Fn(&Second) -> f64) -> Line {
    Line::new(label, run.series.iter().map(|second| (second.t_s, figure(second))))
}

/// A rate over time. The last second is seldom a whole one: it is drawn as what it comes to in a second, or not at all when it is so
/// short that it says nothing.
pub(crate) fn per_second(run: &RunResult, label: &str, figure: impl Fn(&Second) -> u64) -> Line {
    let starts = std::iter::once(0.0).chain(run.series.iter().map(|second| second.t_s));
    let widths = run.series.iter().zip(starts).map(|(second, start)| (second, second.t_s - start));
    let wide = widths.filter(|(_, width_s)| *width_s > 0.5);
    Line::new(label, wide.map(|(second, width_s)| (second.t_s, figure(second) as f64 / width_s)))
}

fn throughput(run: &RunResult) -> Vec<Plot> {
    let acknowledged = per_second(run, "acknowledged", |second| second.acknowledged);
    let mut plots = vec![
        Plot::over_time("Instances a second", "Acknowledged with success.", Scale::Number, vec![acknowledged]),
        Plot::over_time(
            "Bytes a second",
            "Of the acknowledged datasets.",
            Scale::Bytes,
            vec![per_second(run, "bytes", |second| second.bytes)],
        ),
    ];
    if run.series.iter().any(|second| second.failed > 0) {
        let failed = per_second(run, "failed", |second| second.failed);
        plots.push(Plot::over_time(
            "Failures a second",
            "Refused or left without an answer.",
            Scale::Number,
            vec![failed],
        ));
    }
    if run.series.iter().any(|second| second.backlog > 0) {
        let backlog = over(run, "instances", |second| second.backlog as f64);
        plots.push(Plot::over_time(
            "Backlog",
            "Instances that were due and not yet sent.",
            Scale::Number,
            vec![backlog],
        ));
    }
    plots
}

fn latency(run: &RunResult) -> Vec<Plot> {
    let measured = |figure: fn(&Second) -> f64| {
        move |second: &Second| if second.acknowledged > 0 { figure(second) } else { f64::NAN }
    };
    let over_time = Plot::over_time(
        "Latency over time",
        "Of the instances answered in each second; logarithmic.",
        Scale::Milliseconds,
        vec![
            over(run, "p50", measured(|second| second.p50_ms)),
            over(run, "p99", measured(|second| second.p99_ms)),
            over(run, "longest", measured(|second| second.max_ms)),
        ],
    );
    let mut lines = vec![percentiles("from the intended start", &run.latency)];
    if run.service != run.latency {
        lines.push(percentiles("from the first byte sent", &run.service));
    }
    let distribution = Plot {
        title: "Latency distribution".to_owned(),
        note: "How many of 100 instances were answered within that time; each step to the right is a tenth of the instances that are left.".to_owned(),
        shape: Shape::Lines,
        x: Scale::Percentile,
        x_label: "percentile",
        y: Scale::Milliseconds,
        lines,
        marks: Vec::new(),
    };
    vec![over_time, distribution]
}

/// The curve of a histogram, ten points to each nine, as far as there are answers for.
fn percentiles(label: &str, latency: &Latency) -> Line {
    let Some(histogram) = latency.histogram() else {
        return Line::new(label, []);
    };
    let nines = (histogram.len() as f64).log10().clamp(1.0, 5.0);
    let steps = (nines * 20.0) as u32;
    Line::new(
        label,
        (0..=steps).map(|step| {
            let share = 1.0 - 10_f64.powf(-f64::from(step) / 20.0);
            (share, histogram.value_at_quantile(share) as f64 / 1000.0)
        }),
    )
}

/// The times that modalities wait, the rate of the receiver, and the share of each modality.
pub(crate) fn latencies(run: &RunResult) -> Table {
    let mut table = Table::new(&["", "answers", "min", "mean", "p50", "p90", "p99", "p99.9", "max"]);
    let mut row = |name: &str, latency: &Latency| {
        let figures = [
            latency.min_ms,
            latency.mean_ms,
            latency.p50_ms,
            latency.p90_ms,
            latency.p99_ms,
            latency.p999_ms,
            latency.max_ms,
        ];
        table.row([name.to_owned(), count(latency.count)].into_iter().chain(figures.map(ms)));
    };
    row("from the intended start", &run.latency);
    if run.service != run.latency {
        row("from the first byte sent", &run.service);
    }
    table
}

pub(crate) fn modalities(run: &RunResult) -> Table {
    shares("modality", &run.modalities)
}

/// The shares of kinds or senders.
pub(crate) fn shares(what: &str, shares: &[Modality]) -> Table {
    let mut table = Table::new(&[what, "acknowledged", "bytes", "p50", "p99", "max"]);
    for each in shares {
        let latency = [each.latency.p50_ms, each.latency.p99_ms, each.latency.max_ms].map(ms);
        table.row([each.name.clone(), count(each.acknowledged), bytes(each.bytes as f64)].into_iter().chain(latency));
    }
    table
}

/// An open load in steps: what came of each, and the knee. `achieved` is the note under the first plot.
pub(crate) fn steps_plots(steps: &[Step], achieved: &str) -> Vec<Plot> {
    let line = |label: &str, figure: fn(&Step) -> f64| {
        Line::new(label, steps.iter().map(|step| (step.offered_per_s, figure(step))))
    };
    let knee: Vec<_> =
        steps.iter().filter(|step| step.knee).map(|step| (step.offered_per_s, "knee".to_owned())).collect();
    let plot = |title: &str, note: &str, y, lines| Plot {
        x: Scale::Number,
        x_label: "instances offered a second",
        marks: knee.clone(),
        ..Plot::over_time(title, note, y, lines)
    };
    vec![
        plot(
            "Offered and achieved",
            achieved,
            Scale::Number,
            vec![line("achieved", |step| step.achieved_per_s), line("offered", |step| step.offered_per_s)],
        ),
        plot(
            "Latency by load",
            "From the intended start.",
            Scale::Milliseconds,
            vec![line("p50", |step| step.p50_ms), line("p99", |step| step.p99_ms)],
        ),
    ]
}

pub(crate) fn steps(run: &RunResult) -> Table {
    let mut table = Table::new(&["offered /s", "achieved /s", "p50", "p99", ""]);
    for step in &run.steps {
        let knee = if step.knee { "knee" } else { "" }.to_owned();
        let cells = [rate(step.offered_per_s), rate(step.achieved_per_s), ms(step.p50_ms), ms(step.p99_ms), knee];
        if step.knee { table.marked_row(cells) } else { table.row(cells) }
    }
    table
}

pub(crate) fn answers(run: &RunResult) -> Table {
    let totals = &run.totals;
    let all = (totals.acknowledged + totals.failed()).max(1) as f64;
    let mut table = Table::new(&["status", "instances", "of all", "meaning"]);
    let mut row = |status: &str, instances: u64, meaning: &str| {
        let share = format!("{} %", rate(100.0 * instances as f64 / all));
        table.row([status.to_owned(), count(instances), share, meaning.to_owned()]);
    };
    row("0000", totals.acknowledged, codes::status("0000"));
    for (status, instances) in &totals.refused {
        row(status, *instances, codes::status(status));
    }
    for (instances, name, meaning) in [
        (totals.unanswered, "unanswered", "its association ended before the answer"),
        (totals.unsent, "not sent", "due, and never begun"),
    ] {
        if instances > 0 {
            row(name, instances, meaning);
        }
    }
    table
}

fn bad_peers(run: &RunResult) -> Table {
    let mut table = Table::new(&["bad peer", "outcome", "times"]);
    for (name, times) in &run.totals.bad_peers {
        let (kind, outcome) = name.split_once('.').unwrap_or((name, ""));
        let outcome = match outcome.strip_prefix("refused_") {
            Some(status) if status != "connection" => format!("refused with {status} {}", codes::status(status)),
            _ => outcome.replace('_', " "),
        };
        table.row([kind.replace('_', " "), outcome, count(*times)]);
    }
    table
}

pub(crate) fn objectives(run: &RunResult) -> Table {
    let mut table = Table::new(&["objective", "measured", ""]);
    for each in &run.objectives {
        let cells = [each.text.clone(), each.measured.clone(), if each.met { "met" } else { "broken" }.to_owned()];
        if each.met { table.row(cells) } else { table.marked_row(cells) }
    }
    table
}

fn reconciliation(found: &Verification) -> String {
    let mut table = Table::new(&["instances", "", "meaning"]);
    let mut row =
        |name: &str, number: u64, meaning: &str| table.row([name.to_owned(), count(number), meaning.to_owned()]);
    row("acknowledged", found.acknowledged, "answered with success");
    row("whole", found.whole, "acknowledged, and found with the bytes that were sent");
    row("lost", found.lost.len() as u64, "acknowledged, and not found");
    row("corrupt", found.corrupt.len() as u64, "acknowledged, and found with other bytes");
    row("mislabelled", found.mislabelled.len() as u64, "whole, but under another SOP class, transfer syntax or name");
    row("duplicated", found.duplicated.len() as u64, "in more than one file");
    row("partial", found.partial.len() as u64, "files that are no whole instance");
    row("of others", found.extra.len() as u64, "files that are not of this run: left alone, no fault");
    row("unacknowledged, whole", found.unacknowledged_whole, "stored before the answer was lost: allowed");
    row("unacknowledged, absent", found.unacknowledged_absent, "never stored, never promised: allowed");
    let mut html = table.html();
    for (name, uids) in [
        ("Lost", &found.lost),
        ("Corrupt", &found.corrupt),
        ("Mislabelled", &found.mislabelled),
        ("Duplicated", &found.duplicated),
        ("Partial", &found.partial),
    ] {
        if !uids.is_empty() {
            let items: String = uids.iter().take(MAX_UIDS).map(|uid| format!("<li>{}</li>", escape(uid))).collect();
            let more = uids.len().saturating_sub(MAX_UIDS);
            let more = if more > 0 { format!("<li>and {more} more</li>") } else { String::new() };
            html.push_str(&format!("<h3>{name}</h3><ul class=\"uids\">{items}{more}</ul>"));
        }
    }
    html
}

fn facts(run: &RunResult) -> Vec<(&'static str, String)> {
    let gib = run.totals.bytes as f64 / f64::from(1 << 30);
    let cost = |cpu_s: f64| if gib > 0.0 { format!(", {} CPU-s/GiB", rate(cpu_s / gib)) } else { String::new() };
    let used = |usage: &Usage| {
        let (cpu_s, peak) = (usage.cpu_s(), bytes(usage.peak_rss_bytes as f64));
        format!("{} CPU-s{}, {peak} at most", rate(cpu_s), cost(cpu_s))
    };
    let mut facts = vec![
        ("Scenario", format!("{}, seed {}", run.scenario, run.seed)),
        ("Load", run.load.clone()),
        ("Receiver", format!("{} at {}", run.target.name.as_deref().unwrap_or("unknown"), run.target.address)),
        ("Success means", run.target.durability.clone().unwrap_or_else(|| "not stated".to_owned())),
        ("Host", format!("{} CPUs, {}, {}", run.host.cpus, bytes(run.host.memory_bytes as f64), run.host.kernel)),
        ("Measured for", format!("{} s, {}", rate(run.elapsed_s), bytes(run.totals.bytes as f64))),
        (
            "Associations",
            format!(
                "{} opened, {} rejected, {} failed",
                count(run.totals.associations_opened),
                count(run.totals.associations_rejected),
                count(run.totals.associations_failed)
            ),
        ),
        ("Generator used", used(&run.generator)),
    ];
    if let Some(usage) = &run.target_usage {
        facts.push(("Receiver used", used(usage)));
    }
    if let Some(noise) = &run.noise {
        facts.push(("Others used", noise.words()));
    }
    facts.push(("Latency", "From the moment an instance was due to the last byte of its answer: under an open load a receiver that stalls makes the instances behind it late too.".to_owned()));
    facts
}
