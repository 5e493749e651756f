//! A combination of settings and its runs.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use serde::Serialize;

use super::figures::{Figures, Goal};
use crate::statistics::median;

/// Configuration keys and their values.
pub(crate) type Settings = BTreeMap<String, String>;

/// A key and the values to try, from the cheapest to the dearest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

/// The figure that decides, and the bounds of a combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) goal: Goal,
    /// Runs of each combination at least.
    pub(crate) rounds: usize,
    /// Of a run, when there is time enough.
    pub(crate) length_s: f64,
    pub(crate) max_rss_bytes: f64,
    pub(crate) max_p99_ms: f64,
}

/// A combination and its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Trial {
    /// The values that it differs in from what is configured; empty for what is configured.
    pub(crate) values: Vec<String>,
    pub(crate) settings: Settings,
    /// By round.
    pub(crate) runs: Vec<Figures>,
    /// The one that is recommended.
    pub(crate) chosen: bool,
}

impl Trial {
    /// Whether it is what is configured.
    pub(crate) fn is_configured(&self) -> bool {
        self.values.is_empty()
    }

    /// The median of a figure.
    pub(crate) fn median(&self, figure: fn(&Figures) -> f64) -> f64 {
        median(&self.runs.iter().map(figure).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    }

    pub(crate) fn median_of(&self, goal: Goal) -> f64 {
        median(&self.runs.iter().map(|run| goal.value(run)).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    }

    pub(crate) fn medians(&self) -> Figures {
        Figures {
            per_s: self.median(|run| run.per_s),
            mib_per_s: self.median(|run| run.mib_per_s),
            p50_ms: self.median(|run| run.p50_ms),
            p99_ms: self.median(|run| run.p99_ms),
            peak_rss_bytes: self.median(|run| run.peak_rss_bytes),
            cpu_s_per_gib: self.median(|run| run.cpu_s_per_gib),
            failed: self.median(|run| run.failed),
        }
    }

    pub(crate) fn keeps_to(&self, rules: &Rules) -> bool {
        self.median(|run| run.peak_rss_bytes) <= rules.max_rss_bytes
            && self.median(|run| run.p99_ms) <= rules.max_p99_ms
            && self.runs.iter().all(|run| run.failed == 0.0)
    }

    /// Its values in a cell.
    pub(crate) fn words(&self) -> String {
        if self.is_configured() { "as configured".to_owned() } else { self.values.join(", ") }
    }
}

/// The configured settings, and every other combination of the values, the cheapest first. `base` has the settings so far, `defaults` the
/// node's own values of the other keys. A combination that equals the configured settings is not measured twice.
pub(crate) fn combinations(axes: &[Axis], base: &Settings, defaults: &Settings) -> Vec<Trial> {
    let trial = |values, settings| Trial { values, settings, runs: Vec::new(), chosen: false };
    let mut made = vec![(0, trial(Vec::new(), base.clone()))];
    for axis in axes {
        let with = |(cost, base): &(usize, Trial)| {
            let each = axis.values.iter().enumerate().map(|(rank, value)| {
                let mut one = base.clone();
                one.settings.insert(axis.key.clone(), value.clone());
                one.values.push(value.clone());
                (cost + rank, one)
            });
            each.collect::<Vec<_>>()
        };
        made = made.iter().flat_map(with).collect();
    }
    made.sort_by_key(|(cost, _)| *cost);
    let is_configured = |made: &Trial| {
        let same = |axis: &Axis| {
            let configured = base.get(&axis.key).or_else(|| defaults.get(&axis.key));
            made.settings.get(&axis.key).zip(configured).is_some_and(|(value, configured)| is_same(value, configured))
        };
        axes.iter().all(same)
    };
    let combined = made.into_iter().map(|(_, trial)| trial);
    let combined = combined.filter(|trial| !trial.values.is_empty() && !is_configured(trial));
    std::iter::once(trial(Vec::new(), base.clone())).chain(combined).collect()
}

/// Whether two values are one: sizes may be written in several ways.
fn is_same(one: &str, other: &str) -> bool {
    let size = |text: &str| text.parse::<ByteSize>().ok();
    one == other || size(one).is_some_and(|one| Some(one) == size(other))
}

/// Settings in a line.
pub(crate) fn words(settings: &Settings) -> String {
    if settings.is_empty() {
        return "as configured".to_owned();
    }
    settings.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}
