//! Two sets of runs against each other: what is better, what is worse, and what nobody can tell.

use crate::figures;
use crate::noise::Noise;
use crate::result::RunResult;
use crate::statistics::{Interval, MIN_RUNS, mean, median, ratio_of_runs};

/// A difference that is smaller than this part is none that anybody acts on.
const LEAST_DIFFERENCE: f64 = 0.01;

/// Of so many comparisons of a thing with itself one may find a figure better or worse: the bounds hold for all figures together
/// (Bonferroni). Of twenty, three or more are then found in fewer than one in a hundred cases.
const WRONG: f64 = 0.02;

/// Two sets of runs, compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) findings: Vec<Finding>,
    /// Why the two do not measure the same thing, or not well.
    pub(crate) differences: Vec<String>,
    pub(crate) base_runs: usize,
    pub(crate) new_runs: usize,
    /// Runs of either that stored nothing: with one of these there are no findings.
    pub(crate) base_empty: usize,
    pub(crate) new_empty: usize,
    /// Whether the runs were made in turns.
    pub(crate) paired: bool,
}

/// One figure of both sets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    /// The median with its unit, and the range where there are several runs.
    pub(crate) base: String,
    pub(crate) new: String,
    /// The new median by the base's.
    pub(crate) change: Option<f64>,
    /// The new by the base, with bounds; `None` of too few runs.
    pub(crate) ratio: Option<Interval>,
    pub(crate) verdict: Verdict,
}

/// The verdict that follows from the bounds of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    Worse,
    /// The bounds hold both better and worse, or the difference is too small to matter.
    NoDifference,
    TooFew,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Good {
    High,
    Low,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifference => "no difference shown",
            Self::TooFew => "too few runs to tell",
        }
    }

    fn of(ratio: Option<Interval>, good: Good) -> Self {
        match ratio {
            None => Self::TooFew,
            Some(ratio) if (ratio.estimate - 1.0).abs() < LEAST_DIFFERENCE => Self::NoDifference,
            Some(ratio) if ratio.low > 1.0 => {
                if good == Good::High {
                    Self::Better
                } else {
                    Self::Worse
                }
            }
            Some(ratio) if ratio.high < 1.0 => {
                if good == Good::High {
                    Self::Worse
                } else {
                    Self::Better
                }
            }
            Some(_) => Self::NoDifference,
        }
    }
}

/// A figure of a run, how it is shown, and which way is good.
struct Figure {
    name: &'static str,
    good: Good,
    show: fn(f64) -> String,
    of: fn(&RunResult) -> f64,
}

const FIGURES: [Figure; 7] = [
    Figure { name: "instances/s", good: Good::High, show: figures::rate, of: RunResult::per_s },
    Figure { name: "MiB/s", good: Good::High, show: figures::rate, of: RunResult::mib_per_s },
    Figure { name: "latency p50", good: Good::Low, show: figures::ms, of: |run| run.latency.p50_ms },
    Figure { name: "latency p90", good: Good::Low, show: figures::ms, of: |run| run.latency.p90_ms },
    Figure { name: "latency p99", good: Good::Low, show: figures::ms, of: |run| run.latency.p99_ms },
    Figure { name: "latency p99.9", good: Good::Low, show: figures::ms, of: |run| run.latency.p999_ms },
    Figure { name: "target's RSS, mean", good: Good::Low, show: figures::bytes, of: resident },
];

/// `NaN` of a target that was not looked at.
fn resident(run: &RunResult) -> f64 {
    let seen: Vec<f64> =
        run.series.iter().filter_map(|second| second.target.as_ref()).map(|target| target.rss_bytes as f64).collect();
    if seen.is_empty() { f64::NAN } else { mean(&seen) }
}

impl Comparison {
    /// Compares two sets; of none there is nothing to tell.
    pub(crate) fn of(mut base: Vec<RunResult>, mut new: Vec<RunResult>) -> Self {
        for runs in [&mut base, &mut new] {
            runs.sort_by_key(|run| run.started_unix_ms);
        }
        let paired = in_turns(&base, &new);
        let empty = |runs: &[RunResult]| runs.iter().filter(|run| run.totals.acknowledged == 0).count();
        let (base_empty, new_empty) = (empty(&base), empty(&new));
        // A run that stored nothing has no latency, and no rate that another could be a multiple of.
        let figures = FIGURES.iter().filter(|_| base_empty + new_empty == 0);
        let findings = figures.filter_map(|figure| figure.compare(&base, &new, paired)).collect();
        let differences = base.first().zip(new.first()).map(|(base, new)| differences(base, new));
        let noise = Noise::worst(base.iter().chain(&new).map(|run| run.noise.as_ref()));
        let doubt =
            noise.and_then(|noise| noise.doubt()).map(|doubt| format!("the figures are {doubt} (the worst run)"));
        let failed = [("baseline", &base), ("new", &new)].into_iter().filter_map(|(name, runs)| failed(name, runs));
        let differences = differences.unwrap_or_default().into_iter().chain(failed).chain(doubt).collect();
        let (base_runs, new_runs) = (base.len(), new.len());
        Self { findings, differences, base_runs, new_runs, base_empty, new_empty, paired }
    }

    /// Whether a figure is worse, or new runs store nothing where the base's did.
    pub(crate) fn is_worse(&self) -> bool {
        self.stores_nothing_now() || self.findings.iter().any(|finding| finding.verdict == Verdict::Worse)
    }
}

impl Comparison {
    /// Whether new runs stored nothing and all of the base's stored something.
    pub(crate) fn stores_nothing_now(&self) -> bool {
        self.base_empty == 0 && self.new_empty > 0
    }

    /// Whether there are runs of both, and all of them stored something.
    pub(crate) fn is_comparable(&self) -> bool {
        self.base_runs > 0 && self.new_runs > 0 && self.base_empty + self.new_empty == 0
    }
}

/// The runs of one set that failed, with the reason of the first.
fn failed(name: &str, runs: &[RunResult]) -> Option<String> {
    let mut failed = runs.iter().map(RunResult::faults).filter(|faults| !faults.is_empty());
    let first = failed.next()?;
    Some(format!("{} of {} {name} runs failed: {}", 1 + failed.count(), runs.len(), first.join("; ")))
}

/// Whether one of each was run before the next of either, so that each pair met the same host.
fn in_turns(base: &[RunResult], new: &[RunResult]) -> bool {
    let pairs: Vec<(u64, u64)> = base
        .iter()
        .zip(new)
        .map(|(base, new)| (base.started_unix_ms, new.started_unix_ms))
        .map(|(base, new)| (base.min(new), base.max(new)))
        .collect();
    let follow = pairs.windows(2).all(|two| matches!(two, [(_, last), (next, _)] if last < next));
    base.len() == new.len() && base.len() >= MIN_RUNS && follow
}

impl Figure {
    /// `None` when a run does not have it, or has nothing of it that a ratio could be made of.
    fn compare(&self, base: &[RunResult], new: &[RunResult], paired: bool) -> Option<Finding> {
        let of = |runs: &[RunResult]| runs.iter().map(self.of).collect::<Vec<f64>>();
        let (base, new) = (of(base), of(new));
        if base.iter().chain(&new).any(|value| !(*value > 0.0 && value.is_finite())) {
            return None;
        }
        let change = median(&new)? / median(&base)?;
        let ratio = ratio_of_runs(&base, &new, paired, 1.0 - WRONG / FIGURES.len() as f64);
        let verdict = Verdict::of(ratio, self.good);
        let change = change.is_finite().then_some(ratio.map_or(change, |ratio| ratio.estimate));
        Some(Finding { name: self.name, base: self.shown(&base), new: self.shown(&new), change, ratio, verdict })
    }

    fn shown(&self, values: &[f64]) -> String {
        let middle = (self.show)(median(values).unwrap_or(f64::NAN));
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        if values.len() == 1 { middle } else { format!("{middle} ({} – {})", (self.show)(low), (self.show)(high)) }
    }
}

/// Why the two do not measure the same thing.
fn differences(base: &RunResult, new: &RunResult) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, base: &str, new: &str| {
        if base != new {
            differences.push(format!("{what} differs: {base} in the baseline, {new} now"));
        }
    };
    differ("scenario", &base.scenario, &new.scenario);
    differ("load", &base.load, &new.load);
    differ("number of CPUs", &base.host.cpus.to_string(), &new.host.cpus.to_string());
    differ("kernel", &base.host.kernel, &new.host.kernel);
    let durability = |run: &RunResult| run.target.durability.clone().unwrap_or_else(|| "unknown".to_owned());
    differ("durability", &durability(base), &durability(new));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::render::{self, fixture};

    fn verdict(compared: &Comparison, name: &str) -> Verdict {
        compared.findings.iter().find(|finding| finding.name == name).unwrap().verdict
    }

    #[test]
    fn slower_runs_are_worse_and_the_same_again_is_no_difference() {
        let slower = fixture::compared(1.3);
        assert!(slower.paired && slower.is_worse());
        for name in ["instances/s", "MiB/s", "latency p50", "latency p90"] {
            assert_eq!(verdict(&slower, name), Verdict::Worse, "{slower:#?}");
        }
        let same = fixture::compared(1.0);
        assert!(!same.is_worse());
        let text = render::comparison(&same);
        assert!(text.starts_with("No difference shown: instances/s may differ by "), "{text}");
    }

    #[test]
    fn one_run_against_one_tells_nothing_but_the_change() {
        let compared = Comparison::of(vec![fixture::run(1, 1.0)], vec![fixture::run(2, 3.0)]);
        assert!(compared.findings.iter().all(|finding| finding.verdict == Verdict::TooFew), "{compared:#?}");
        assert!(compared.findings[0].change.unwrap() < 0.4);
        let text = render::comparison(&compared);
        assert!(text.starts_with("Cannot be told: 1 and 1 runs") && text.contains("--rounds 6"), "{text}");
    }

    #[test]
    fn runs_that_stored_nothing_have_no_ratio_and_runs_that_failed_are_named() {
        let empty = || {
            let mut run = fixture::run(1, 1.0);
            run.totals = crate::result::Totals { unsent: 9, ..Default::default() };
            (run.elapsed_s, run.latency, run.series) = (0.0, Default::default(), Vec::new());
            run
        };
        let good = || fixture::run(2, 1.0);
        for (base, new, is_worse, said) in [
            (vec![good()], vec![empty()], true, "Worse: 1 of 1 new runs stored nothing"),
            (
                vec![empty()],
                vec![good()],
                false,
                "Cannot be compared: 1 of 1 baseline and 0 of 1 new runs stored nothing",
            ),
            (vec![empty(); 3], vec![empty(); 3], false, "Cannot be compared: 3 of 3 baseline and 3 of 3 new runs"),
            (vec![good(); 3], vec![good(), good(), empty()], true, "Worse: 1 of 3 new runs stored nothing"),
        ] {
            let compared = Comparison::of(base, new);
            let text = render::comparison(&compared);
            assert!(compared.is_worse() == is_worse && !compared.is_comparable(), "{text}");
            assert!(text.starts_with(said) && !text.contains('×') && !text.contains("no difference"), "{text}");
            assert!(text.contains(" runs failed: "), "{text}");
        }
    }

    /// A run on a host whose figures drift: each resembles the one before, and its latencies follow its rate.
    fn on_a_drifting_host(base: &RunResult, random: &mut Random, drift: &mut f64, started: u64) -> RunResult {
        let mut noise = |size: f64| size * ((0..12).map(|_| random.unit()).sum::<f64>() - 6.0);
        *drift = 0.9 * *drift + noise(0.04);
        let factor = |own: f64| (*drift + own).exp();
        let mut run = base.clone();
        run.started_unix_ms = started;
        run.elapsed_s = base.elapsed_s * factor(noise(0.02));
        let latency = &mut run.latency;
        latency.p50_ms *= factor(noise(0.03));
        latency.p90_ms *= factor(noise(0.05));
        latency.p99_ms *= factor(noise(0.15));
        latency.p999_ms *= factor(noise(0.3));
        run
    }

    #[test]
    fn of_twenty_identical_pairs_at_most_two_have_a_figure_that_is_told_apart() {
        let base = fixture::run(1, 1.0);
        let mut random = Random::new(11);
        let mut drift = 0.0;
        for twenty in 0..5 {
            let mut false_ones = 0;
            for _ in 0..20 {
                let mut made = |number| on_a_drifting_host(&base, &mut random, &mut drift, number);
                // Another one first in each round.
                let runs: Vec<RunResult> = (0..12).map(&mut made).collect();
                let of = |which: usize| runs.iter().enumerate().filter(move |(at, _)| (at + at / 2) % 2 == which);
                let [one, other] = [0, 1].map(|which| of(which).map(|(_, run)| run.clone()).collect::<Vec<_>>());
                let compared = Comparison::of(one, other);
                assert!(compared.paired);
                let told = |finding: &Finding| matches!(finding.verdict, Verdict::Better | Verdict::Worse);
                false_ones += usize::from(compared.findings.iter().any(told));
            }
            assert!(false_ones <= 2, "{false_ones} of 20, twenty {twenty}");
        }
    }

    #[test]
    fn what_was_not_the_same_is_named() {
        let base = fixture::run(1, 1.0);
        let mut other = fixture::run(1, 1.0);
        other.scenario = "mr".into();
        other.target.durability = None;
        let compared = Comparison::of(vec![base], vec![other]);
        let differ = compared.differences.iter().filter(|difference| difference.contains(" differs: ")).count();
        assert_eq!(differ, 2, "{compared:?}");
        assert!(render::comparison(&compared).contains("scenario differs: ct in the baseline, mr now"));
    }
}
