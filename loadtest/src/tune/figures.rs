//! The figures of one run, and the one that decides.

use clap::ValueEnum;
use serde::Serialize;

use crate::result::RunResult;

/// The figures of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) per_s: f64,
    pub(crate) mib_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) peak_rss_bytes: f64,
    pub(crate) cpu_s_per_gib: f64,
    /// Refused or without an answer. What a run that was too slow had no time for is in its rate.
    pub(crate) failed: f64,
}

/// The figure that decides between settings within the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    /// Instances a second
    Instances,
    /// Bytes a second
    Bytes,
    /// The shortest p99
    P99,
}

impl Goal {
    /// The figure that decides: more is better.
    pub(crate) fn value(self, run: &Figures) -> f64 {
        match self {
            Self::Instances => run.per_s,
            Self::Bytes => run.mib_per_s,
            Self::P99 => 1.0 / run.p99_ms.max(f64::MIN_POSITIVE),
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Instances => "instances/s",
            Self::Bytes => "MiB/s",
            Self::P99 => "p99",
        }
    }
}

impl Figures {
    pub(super) fn of(run: &RunResult) -> Self {
        let usage = run.target_usage.unwrap_or_default();
        Self {
            per_s: run.per_s(),
            mib_per_s: run.mib_per_s(),
            p50_ms: run.latency.p50_ms,
            p99_ms: run.latency.p99_ms,
            peak_rss_bytes: usage.peak_rss_bytes as f64,
            cpu_s_per_gib: usage.cpu_s() / (run.totals.bytes as f64 / f64::from(1 << 30)).max(f64::MIN_POSITIVE),
            failed: (run.totals.refused.values().sum::<u64>() + run.totals.unanswered) as f64,
        }
    }
}
