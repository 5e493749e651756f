//! The objectives of a run: `--objective p99=250ms --objective rss=200MiB`.

use std::str::FromStr;

use bytesize::ByteSize;
use thiserror::Error;

use crate::result::{Latency, Objective, RunResult};

/// One objective.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// As it was given.
    text: String,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// At most so many milliseconds.
    LatencyMs(Quantile, f64),
    /// At least so many instances a second.
    Instances(f64),
    /// At least so many bytes a second.
    Bytes(f64),
    /// At most so many bytes at the peak.
    Rss(u64),
    /// At most so many instances refused, unanswered and unsent.
    Failures(u64),
    /// At most such a share of all instances.
    FailedShare(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantile {
    P50,
    P90,
    P99,
    P999,
    Max,
}

/// Why a text is no objective.
#[derive(Debug, Error)]
pub(crate) enum ObjectiveError {
    #[error("write it as NAME=VALUE, as in p99=250ms")]
    NoValue,
    #[error("there is no {0}; there are p50, p90, p99, p99.9, max, rate, rss, failures")]
    NoSuch(String),
    #[error("{0} is no duration: write it as 250ms, 1.5s or 800us")]
    Duration(String),
    #[error("{0} is no rate: write it as 200/s or 150MiB/s")]
    Rate(String),
    #[error("{0} is no size: write it as 200MiB")]
    Size(String),
    #[error("{0} is neither a whole number nor a share: write it as 0, 20 or 5%")]
    Count(String),
}

impl Wanted {
    /// Whether it bounds what may fail.
    pub(crate) fn is_about_failures(&self) -> bool {
        matches!(self.bound, Bound::Failures(_) | Bound::FailedShare(_))
    }
}

impl FromStr for Wanted {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let (name, value) = text.split_once('=').ok_or(ObjectiveError::NoValue)?;
        let (name, value) = (name.trim(), value.trim());
        let latency = |quantile| Ok(Bound::LatencyMs(quantile, milliseconds(value)?));
        let bound = match name {
            "p50" => latency(Quantile::P50)?,
            "p90" => latency(Quantile::P90)?,
            "p99" => latency(Quantile::P99)?,
            "p99.9" | "p999" => latency(Quantile::P999)?,
            "max" => latency(Quantile::Max)?,
            "rate" => rate(value)?,
            "rss" => Bound::Rss(value.parse::<ByteSize>().map_err(|_| ObjectiveError::Size(value.into()))?.as_u64()),
            "failures" => failures(value)?,
            _ => return Err(ObjectiveError::NoSuch(name.into())),
        };
        Ok(Self { text: text.to_owned(), bound })
    }
}

fn milliseconds(text: &str) -> Result<f64, ObjectiveError> {
    let parsed = [("us", 0.001), ("µs", 0.001), ("ms", 1.0), ("s", 1000.0)].into_iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number * factor)
    });
    parsed.ok_or_else(|| ObjectiveError::Duration(text.into()))
}

fn failures(text: &str) -> Result<Bound, ObjectiveError> {
    let bound = match text.strip_suffix('%') {
        Some(share) => {
            let share = share.trim().parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share));
            share.map(|share| Bound::FailedShare(share / 100.0))
        }
        None => text.parse().ok().map(Bound::Failures),
    };
    bound.ok_or_else(|| ObjectiveError::Count(text.into()))
}

fn rate(text: &str) -> Result<Bound, ObjectiveError> {
    let wrong = || ObjectiveError::Rate(text.into());
    let number = text.strip_suffix("/s").ok_or_else(wrong)?.trim();
    if let Ok(instances) = number.parse::<f64>() {
        return Ok(Bound::Instances(instances));
    }
    Ok(Bound::Bytes(number.parse::<ByteSize>().map_err(|_| wrong())?.as_u64() as f64))
}

/// Holds a result to what was wanted of it.
pub(crate) fn judge(wanted: &[Wanted], result: &RunResult) -> Vec<Objective> {
    let each = wanted.iter().map(|Wanted { text, bound }| {
        let (measured, met) = bound.judge(result);
        Objective { text: text.clone(), measured, met }
    });
    each.collect()
}

impl Bound {
    fn judge(self, result: &RunResult) -> (String, bool) {
        let not_measured = || ("not measured".to_owned(), false);
        match self {
            Self::LatencyMs(..) if result.latency.count == 0 => not_measured(),
            Self::LatencyMs(quantile, bound_ms) => {
                let measured_ms = quantile.of(&result.latency);
                (format!("{measured_ms:.3} ms"), measured_ms <= bound_ms)
            }
            Self::Instances(bound) => (format!("{:.1}/s", result.per_s()), result.per_s() >= bound),
            Self::Bytes(bound) => {
                let measured = result.mib_per_s();
                (format!("{measured:.1} MiB/s"), measured * f64::from(1 << 20) >= bound)
            }
            Self::Rss(bound) => {
                let samples = result.series.iter().filter_map(|second| Some(second.target.as_ref()?.rss_bytes));
                let usage = result.target_usage.map(|usage| usage.peak_rss_bytes);
                match samples.chain(usage).max() {
                    Some(peak) => (ByteSize::b(peak).display().iec().to_string(), peak <= bound),
                    None => not_measured(),
                }
            }
            Self::FailedShare(bound) => {
                let share = result.failed_share();
                (format!("{:.2} %", 100.0 * share), share <= bound)
            }
            Self::Failures(bound) => (result.totals.failed().to_string(), result.totals.failed() <= bound),
        }
    }
}

impl Quantile {
    fn of(self, latency: &Latency) -> f64 {
        match self {
            Self::P50 => latency.p50_ms,
            Self::P90 => latency.p90_ms,
            Self::P99 => latency.p99_ms,
            Self::P999 => latency.p999_ms,
            Self::Max => latency.max_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Second, TargetSample, Totals};

    fn result() -> RunResult {
        let mut result: RunResult = serde_json::from_value(serde_json::json!({
            "schema": 1, "scenario": "t", "seed": 1, "started_unix_ms": 0, "elapsed_s": 2.0,
            "target": {"address": "", "kind": "unknown", "name": null, "durability": null},
            "host": {"cpus": 1, "memory_bytes": 1, "kernel": ""}, "load": "closed",
            "totals": Totals::default(), "latency": Latency::default(), "service": Latency::default(),
            "series": [], "modalities": [], "steps": [],
            "generator": {"user_s": 0.0, "system_s": 0.0, "peak_rss_bytes": 0},
            "target_usage": null, "verification": null, "objectives": [],
        }))
        .unwrap();
        result.totals.acknowledged = 100;
        result.totals.bytes = 20 << 20;
        result.totals.unanswered = 3;
        result.latency = Latency { count: 100, p50_ms: 5.0, p99_ms: 250.0, max_ms: 900.0, ..Latency::default() };
        result
    }

    fn judged(texts: &[&str], result: &RunResult) -> Vec<(String, bool)> {
        let wanted: Vec<Wanted> = texts.iter().map(|text| text.parse().unwrap()).collect();
        judge(&wanted, result).into_iter().map(|objective| (objective.measured, objective.met)).collect()
    }

    #[test]
    fn each_bound_is_met_up_to_its_edge_and_broken_beyond() {
        for (met, broken, measured) in [
            ("p99=250ms", "p99=249.9ms", "250.000 ms"),
            ("p50=5000us", "p50=4ms", "5.000 ms"),
            ("max=1.5s", "max=0.8s", "900.000 ms"),
            ("rate=50/s", "rate=50.1/s", "50.0/s"),
            ("rate=10MiB/s", "rate=10.1MiB/s", "10.0 MiB/s"),
            ("failures=3", "failures=2", "3"),
            ("failures=3%", "failures=2.9%", "2.91 %"),
        ] {
            let expected = [(measured.to_owned(), true), (measured.to_owned(), false)];
            assert_eq!(judged(&[met, broken], &result()), expected, "{met}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let mut result = result();
        assert_eq!(judged(&["rss=1GiB"], &result), [("not measured".to_owned(), false)]);
        let target = TargetSample { rss_bytes: 3 << 20, ..TargetSample::default() };
        result.series = vec![Second { target: Some(target), ..Second::default() }];
        assert_eq!(judged(&["rss=3MiB", "rss=2MiB"], &result), [("3.0 MiB".into(), true), ("3.0 MiB".into(), false)]);
        result.latency.count = 0;
        assert_eq!(judged(&["p99=1s"], &result), [("not measured".to_owned(), false)]);
    }

    #[test]
    fn what_is_no_objective_says_how_to_write_one() {
        for (text, expected) in [
            ("p99", "as in p99=250ms"),
            ("p98=1s", "there are p50, p90, p99, p99.9, max, rate, rss, failures"),
            ("p99=250", "write it as 250ms"),
            ("p99=-1ms", "write it as 250ms"),
            ("rate=200", "200/s or 150MiB/s"),
            ("rss=big", "200MiB"),
            ("failures=few", "whole number"),
            ("failures=101%", "20 or 5%"),
        ] {
            let error = text.parse::<Wanted>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
