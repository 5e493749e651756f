//! Which combination is tried next, and which is best.

use std::collections::BTreeMap;

use serde::Serialize;

use super::figures::Figures;
use crate::statistics::median;

/// Configuration keys and their values.
pub(crate) type Settings = BTreeMap<String, String>;

/// A median within this share of the best is as good: less is noise on most hosts.
const AS_GOOD: f64 = 0.95;

/// A key and the values to try, from the cheapest to the dearest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

/// What a combination must keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) repeats: usize,
    pub(crate) max_rss_bytes: Option<f64>,
    pub(crate) max_p99_ms: Option<f64>,
}

/// A combination and its runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Trial {
    /// The key that varied, and its value; in a grid all of them.
    pub(crate) varied: String,
    pub(crate) value: String,
    pub(crate) settings: Settings,
    pub(crate) runs: Vec<Figures>,
    /// The one that was taken of those beside it.
    pub(crate) chosen: bool,
}

/// All trials and their outcome.
#[derive(Debug, Serialize)]
pub(crate) struct Search {
    pub(crate) trials: Vec<Trial>,
    pub(crate) best: Settings,
    /// Keys for which there was no time.
    pub(crate) left_out: Vec<String>,
}

impl Trial {
    /// The median of a figure.
    pub(crate) fn median(&self, figure: fn(&Figures) -> f64) -> f64 {
        median(&self.runs.iter().map(figure).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    }

    fn keeps_to(&self, rules: &Rules) -> bool {
        let within =
            |figure: fn(&Figures) -> f64, bound: Option<f64>| bound.is_none_or(|bound| self.median(figure) <= bound);
        within(|run| run.peak_rss_bytes, rules.max_rss_bytes)
            && within(|run| run.p99_ms, rules.max_p99_ms)
            && self.runs.iter().all(|run| run.failed == 0.0)
    }
}

impl Search {
    /// The medians of the last combination that was taken.
    pub(crate) fn best_figures(&self) -> Option<Figures> {
        let trial = self.trials.iter().rev().find(|trial| trial.chosen)?;
        Some(Figures {
            per_s: trial.median(|run| run.per_s),
            mib_per_s: trial.median(|run| run.mib_per_s),
            p50_ms: trial.median(|run| run.p50_ms),
            p99_ms: trial.median(|run| run.p99_ms),
            peak_rss_bytes: trial.median(|run| run.peak_rss_bytes),
            cpu_s_per_gib: trial.median(|run| run.cpu_s_per_gib),
            failed: trial.median(|run| run.failed),
        })
    }
}

/// One key after the other, each with what was best for those before it.
///
/// # Errors
/// Those of `measure`.
pub(crate) fn one_by_one<E>(
    axes: &[Axis],
    fixed: &Settings,
    rules: &Rules,
    time_for: impl Fn(usize) -> bool,
    measure: &mut impl FnMut(&Settings) -> Result<Figures, E>,
) -> Result<Search, E> {
    let mut search = Search { trials: Vec::new(), best: fixed.clone(), left_out: Vec::new() };
    for axis in axes {
        if !time_for(axis.values.len() * rules.repeats) {
            search.left_out.push(axis.key.clone());
            continue;
        }
        let trial = |value: &String| {
            let mut settings = search.best.clone();
            settings.insert(axis.key.clone(), value.clone());
            Trial { varied: axis.key.clone(), value: value.clone(), settings, runs: Vec::new(), chosen: false }
        };
        let trials = measured(axis.values.iter().map(trial).collect(), rules, measure)?;
        let chosen = trials.iter().find(|trial| trial.chosen);
        search.best = chosen.map_or(search.best, |trial| trial.settings.clone());
        search.trials.extend(trials);
    }
    Ok(search)
}

/// Every combination of all values.
///
/// # Errors
/// Those of `measure`.
pub(crate) fn grid<E>(
    axes: &[Axis],
    fixed: &Settings,
    rules: &Rules,
    time_for: impl Fn(usize) -> bool,
    measure: &mut impl FnMut(&Settings) -> Result<Figures, E>,
) -> Result<Search, E> {
    let mut combinations = vec![fixed.clone()];
    let mut left_out = Vec::new();
    for axis in axes {
        // A grid that does not fit is one of fewer keys, not one with holes.
        if !time_for(combinations.len() * axis.values.len() * rules.repeats) {
            left_out.push(axis.key.clone());
            continue;
        }
        let with = |settings: &Settings, value: &String| {
            let mut settings = settings.clone();
            settings.insert(axis.key.clone(), value.clone());
            settings
        };
        combinations = combinations
            .iter()
            .flat_map(|settings| axis.values.iter().map(move |value| with(settings, value)))
            .collect();
    }
    let trial = |settings: Settings| {
        let (varied, value) = ("all".to_owned(), words(&settings));
        Trial { varied, value, settings, runs: Vec::new(), chosen: false }
    };
    let trials = measured(combinations.into_iter().map(trial).collect(), rules, measure)?;
    let best = trials.iter().find(|trial| trial.chosen).map_or(fixed.clone(), |trial| trial.settings.clone());
    Ok(Search { trials, best, left_out })
}

/// Runs all of them once, then all again, and so on: what drifts on the host meets every one. Marks the one to take.
fn measured<E>(
    mut trials: Vec<Trial>,
    rules: &Rules,
    measure: &mut impl FnMut(&Settings) -> Result<Figures, E>,
) -> Result<Vec<Trial>, E> {
    for _ in 0..rules.repeats {
        for trial in &mut trials {
            let figures = measure(&trial.settings)?;
            trial.runs.push(figures);
        }
    }
    let throughput = |trial: &Trial| trial.median(|run| run.mib_per_s);
    let best = trials.iter().filter(|trial| trial.keeps_to(rules)).map(throughput).fold(0.0, f64::max);
    // The cheapest of those that are as good as the best.
    let good = |trial: &&mut Trial| trial.keeps_to(rules) && throughput(trial) >= AS_GOOD * best;
    if let Some(trial) = trials.iter_mut().find(good) {
        trial.chosen = true;
    }
    Ok(trials)
}

/// Settings in a line.
pub(crate) fn words(settings: &Settings) -> String {
    if settings.is_empty() {
        return "defaults".to_owned();
    }
    settings.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(key: &str, values: &[&str]) -> Axis {
        Axis { key: key.into(), values: values.iter().map(|value| (*value).into()).collect() }
    }

    /// A host on which four writers are enough and a small mailbox holds them up.
    fn host(settings: &Settings) -> Result<Figures, String> {
        let number = |key: &str, otherwise: f64| settings.get(key).map_or(otherwise, |value| value.parse().unwrap());
        let (writers, mailbox) = (number("writers", 8.0), number("mailbox", 64.0));
        let mib_per_s = 25.0 * writers.min(4.0) * if mailbox < 8.0 { 0.5 } else { 1.0 } + 0.1 * writers;
        let peak_rss_bytes = 10.0 * writers;
        Ok(Figures { mib_per_s, peak_rss_bytes, p99_ms: mailbox, ..Figures::default() })
    }

    const RULES: Rules = Rules { repeats: 2, max_rss_bytes: None, max_p99_ms: None };

    fn axes() -> [Axis; 2] {
        [axis("writers", &["1", "2", "4", "8", "16"]), axis("mailbox", &["1", "8", "64"])]
    }

    fn best(search: &Search) -> (&str, &str) {
        (search.best["writers"].as_str(), search.best["mailbox"].as_str())
    }

    #[test]
    fn the_cheapest_that_is_as_good_as_the_best_is_taken() {
        let search = one_by_one(&axes(), &Settings::new(), &RULES, |_| true, &mut host).unwrap();
        assert_eq!(best(&search), ("4", "8"));
        assert_eq!(search.trials.len(), 8);
        assert!(search.trials.iter().all(|trial| trial.runs.len() == 2));
        let search = grid(&axes(), &Settings::new(), &RULES, |_| true, &mut host).unwrap();
        assert_eq!((best(&search), search.trials.len()), (("4", "8"), 15));
    }

    #[test]
    fn what_breaks_a_bound_or_fails_is_out() {
        let rules = Rules { max_rss_bytes: Some(25.0), ..RULES };
        let search = one_by_one(&axes(), &Settings::new(), &rules, |_| true, &mut host).unwrap();
        assert_eq!(best(&search), ("2", "8"));
        let mut failing = |settings: &Settings| host(settings).map(|figures| Figures { failed: 1.0, ..figures });
        let search = one_by_one(&axes(), &Settings::new(), &RULES, |_| true, &mut failing).unwrap();
        assert!(search.best.is_empty() && search.best_figures().is_none());
    }

    #[test]
    fn a_key_without_time_is_left_out_and_said() {
        let search = one_by_one(&axes(), &Settings::new(), &RULES, |runs| runs <= 6, &mut host).unwrap();
        assert_eq!(search.left_out, ["writers"]);
        assert_eq!(search.best.len(), 1);
        let search = grid(&axes(), &Settings::new(), &RULES, |runs| runs <= 10, &mut host).unwrap();
        assert_eq!((search.left_out.len(), search.trials.len()), (1, 5));
    }

    #[test]
    fn runs_of_all_combinations_alternate() {
        let mut order = Vec::new();
        let mut measure = |settings: &Settings| {
            order.push(settings["mailbox"].clone());
            host(settings)
        };
        one_by_one(&axes()[1..], &Settings::new(), &RULES, |_| true, &mut measure).unwrap();
        assert_eq!(order, ["1", "8", "64", "1", "8", "64"]);
    }
}
