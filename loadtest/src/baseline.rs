//! Two runs against each other: what is better, what is worse, and what nobody can tell.

use hdrhistogram::Histogram;

use crate::figures;
use crate::result::{RunResult, Second};
use crate::statistics::{
    Interval, MIN_SECONDS, design_effect, mean, quantile_interval, quantile_ratio, ratio_of_means,
};

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    /// With their units.
    pub(crate) base: String,
    pub(crate) new: String,
    /// The new by the base; `None` when the runs are too short for bounds.
    pub(crate) ratio: Option<Interval>,
    pub(crate) verdict: Verdict,
}

/// What the bounds of a ratio say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    Worse,
    /// The bounds hold both better and worse.
    NoDifference,
    /// Too few seconds, or the answers beyond the percentile are too few or come from too few of them.
    TooShort,
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
            Self::TooShort => "too little to tell",
        }
    }

    fn of(ratio: Option<Interval>, good: Good) -> Self {
        match ratio {
            None => Self::TooShort,
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

/// Every figure that both runs have.
pub(crate) fn compare(base: &RunResult, new: &RunResult) -> Vec<Finding> {
    let mut findings = vec![
        throughput("instances/s", base, new, RunResult::per_s, |second| second.acknowledged as f64),
        throughput("MiB/s", base, new, RunResult::mib_per_s, |second| second.bytes as f64),
    ];
    for (name, quantile) in
        [("latency p50", 0.5), ("latency p90", 0.9), ("latency p99", 0.99), ("latency p99.9", 0.999)]
    {
        findings.extend(latency(name, quantile, base, new));
    }
    findings.extend(resident(base, new));
    findings
}

/// Why the two do not measure the same thing.
pub(crate) fn differences(base: &RunResult, new: &RunResult) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, base: &str, new: &str| {
        if base != new {
            differences.push(format!("{what} differs: {base} in the baseline, {new} now"));
        }
    };
    differ("scenario", &base.scenario, &new.scenario);
    differ("load", &base.load, &new.load);
    differ("seed", &base.seed.to_string(), &new.seed.to_string());
    differ("number of CPUs", &base.host.cpus.to_string(), &new.host.cpus.to_string());
    differ("kernel", &base.host.kernel, &new.host.kernel);
    let durability = |run: &RunResult| run.target.durability.clone().unwrap_or_else(|| "unknown".to_owned());
    differ("durability", &durability(base), &durability(new));
    differences
}

/// Whole seconds of the middle: the first fills queues and caches, the last is seldom whole.
fn middle(run: &RunResult) -> &[Second] {
    run.series.get(1..run.series.len().saturating_sub(1)).unwrap_or_default()
}

fn throughput(
    name: &'static str,
    base: &RunResult,
    new: &RunResult,
    whole: fn(&RunResult) -> f64,
    second: fn(&Second) -> f64,
) -> Finding {
    let series = |run| middle(run).iter().map(second).collect::<Vec<f64>>();
    let ratio = ratio_of_means(&series(base), &series(new), base.seed ^ new.seed.rotate_left(32));
    let verdict = Verdict::of(ratio, Good::High);
    Finding { name, base: figures::rate(whole(base)), new: figures::rate(whole(new)), ratio, verdict }
}

fn latency(name: &'static str, quantile: f64, base: &RunResult, new: &RunResult) -> Option<Finding> {
    let (base_all, new_all) = (base.latency.histogram()?, new.latency.histogram()?);
    let bounds = |run: &RunResult, histogram| {
        let enough = middle(run).len() >= MIN_SECONDS;
        quantile_interval(histogram, quantile, design_effect(histogram, &run.series, quantile)).filter(|_| enough)
    };
    let ratio = bounds(base, &base_all).zip(bounds(new, &new_all)).map(|(base, new)| quantile_ratio(base, new));
    let shown = |histogram: &Histogram<u64>| figures::ms(histogram.value_at_quantile(quantile) as f64 / 1000.0);
    Some(Finding { name, base: shown(&base_all), new: shown(&new_all), ratio, verdict: Verdict::of(ratio, Good::Low) })
}

fn resident(base: &RunResult, new: &RunResult) -> Option<Finding> {
    let series = |run| -> Vec<f64> {
        middle(run).iter().filter_map(|second| second.target.as_ref()).map(|target| target.rss_bytes as f64).collect()
    };
    let (base, new) = (series(base), series(new));
    if base.is_empty() || new.is_empty() {
        return None;
    }
    let ratio = ratio_of_means(&base, &new, 1);
    let shown = |series: &[f64]| figures::bytes(mean(series));
    let verdict = Verdict::of(ratio, Good::Low);
    Some(Finding { name: "target's RSS, mean", base: shown(&base), new: shown(&new), ratio, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{self, fixture};

    fn verdict(findings: &[Finding], name: &str) -> Verdict {
        findings.iter().find(|finding| finding.name == name).unwrap().verdict
    }

    #[test]
    fn a_slower_run_is_worse_and_the_same_again_is_no_difference() {
        let base = fixture::run(1, 1.0);
        let findings = compare(&base, &fixture::run(2, 1.3));
        for name in ["instances/s", "MiB/s", "latency p50", "latency p90"] {
            assert_eq!(verdict(&findings, name), Verdict::Worse, "{findings:#?}");
        }
        // The longest hundredth comes from three stalls alone: too few to tell anything, though thousands of answers were counted.
        assert!(
            matches!(verdict(&findings, "latency p99"), Verdict::NoDifference | Verdict::TooShort),
            "{findings:#?}"
        );
        let findings = compare(&fixture::run(2, 1.3), &base);
        assert_eq!(verdict(&findings, "instances/s"), Verdict::Better);
        let findings = compare(&base, &fixture::run(3, 1.0));
        for name in ["instances/s", "latency p50", "latency p90"] {
            assert_eq!(verdict(&findings, name), Verdict::NoDifference, "{findings:#?}");
        }
    }

    #[test]
    fn a_run_of_a_moment_tells_nothing() {
        let mut short = fixture::run(1, 1.0);
        short.series.truncate(4);
        let findings = compare(&short, &fixture::run(2, 3.0));
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::TooShort), "{findings:#?}");
    }

    #[test]
    fn what_was_not_the_same_is_named() {
        let base = fixture::run(1, 1.0);
        let mut other = fixture::run(1, 1.0);
        other.scenario = "mr".into();
        other.target.durability = None;
        let differences = differences(&base, &other);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(render::comparison(&base, &other).contains("scenario differs: ct in the baseline, mr now"));
    }
}
