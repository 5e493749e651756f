//! The target's side of a run: what it held, where, and how busy it was.

use std::collections::BTreeSet;

use super::{Line, Plot, Scale, Shape};
use crate::result::{RunResult, TargetSample};

/// Stages in the order in which a dataset passes them; others come behind.
const STAGES: [&str; 6] = ["receiving", "queued", "writing", "spooling", "negotiating", "floor"];

pub(crate) fn plots(run: &RunResult) -> Vec<Plot> {
    let samples: Vec<(f64, &TargetSample)> =
        run.series.iter().filter_map(|second| Some((second.t_s, second.target.as_ref()?))).collect();
    let line = |label: &str, figure: &dyn Fn(&TargetSample) -> Option<f64>| {
        Line::new(label, samples.iter().filter_map(|(t, sample)| Some((*t, figure(sample)?))))
    };
    let memory = vec![
        line("resident (RSS)", &|sample| Some(sample.rss_bytes as f64)),
        line("leased", &|sample| sample.leased_bytes.map(|bytes| bytes as f64)),
    ];
    let memory = memory.into_iter().filter(|line| !line.points.is_empty()).collect();
    let mut plots =
        vec![Plot::over_time("Memory", "Of the whole process tree, at the end of each second.", Scale::Bytes, memory)];
    let stages = stages(&samples);
    plots.push(Plot {
        shape: Shape::Stacked,
        ..Plot::over_time(
            "Leases by stage",
            "Bytes that datasets hold, by where they are on their way.",
            Scale::Bytes,
            stages,
        )
    });
    let depth = line("datasets", &|sample| sample.mailbox_depth.map(|depth| depth as f64));
    plots.push(Plot::over_time("Mailbox depth", "Whole datasets waiting for a writer.", Scale::Number, vec![depth]));
    let busy = samples.windows(2).filter_map(|pair| {
        let [(from, before), (to, after)] = pair else {
            return None;
        };
        Some((*to, (after.cpu_s - before.cpu_s).max(0.0) / (to - from).max(0.001)))
    });
    plots.push(Plot::over_time("CPU", "Cores in use.", Scale::Number, vec![Line::new("cores", busy)]));
    plots
}

/// A line for each stage that ever held anything.
fn stages(samples: &[(f64, &TargetSample)]) -> Vec<Line> {
    let named: BTreeSet<&str> =
        samples.iter().flat_map(|(_, sample)| sample.stages.keys()).map(String::as_str).collect();
    let others = named.iter().copied().filter(|name| !STAGES.contains(name));
    let order = STAGES.into_iter().filter(|name| named.contains(name)).chain(others);
    let held = |name: &str| {
        samples.iter().map(|(t, sample)| (*t, sample.stages.get(name).copied().unwrap_or(0) as f64)).collect()
    };
    order
        .map(|name| Line { label: name.to_owned(), points: held(name) })
        .filter(|line| line.points.iter().any(|(_, bytes)| *bytes > 0.0))
        .collect()
}
