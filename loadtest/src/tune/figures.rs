//! What one run came to.

use serde::Serialize;

use crate::result::RunResult;

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) per_s: f64,
    pub(crate) mib_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) peak_rss_bytes: f64,
    pub(crate) cpu_s_per_gib: f64,
    pub(crate) failed: f64,
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
            failed: run.totals.failed() as f64,
        }
    }
}
