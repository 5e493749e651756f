//! What a run measured, as people or programs read it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use bytesize::ByteSize;

use crate::usage::Usage;

/// What happened to the instances of a run, or of one of its associations.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answered with success.
    pub(crate) stored: u64,
    /// Bytes of the datasets answered with success.
    pub(crate) stored_bytes: u64,
    /// Answered with another status, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Begun and never answered, because their association or connection ended.
    pub(crate) unanswered: u64,
    /// Never begun, because their association or connection ended or never stood.
    pub(crate) unsent: u64,
    /// From the first byte of a message to the last of its answer, for each answered instance.
    pub(crate) latencies: Vec<Duration>,
}

impl Tally {
    /// Adds what another association did.
    pub(crate) fn merge(&mut self, other: Self) {
        self.stored += other.stored;
        self.stored_bytes += other.stored_bytes;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.latencies.extend(other.latencies);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
    }

    /// Instances that were not stored, for whatever reason.
    pub(crate) fn failed(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.unanswered + self.unsent
    }
}

/// A measured run.
#[derive(Debug)]
pub(crate) struct Report {
    /// What one counted thing is, in the plural.
    pub(crate) unit: &'static str,
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
    /// Of this process, while it ran.
    pub(crate) usage: Usage,
}

impl Report {
    /// Several lines of text.
    pub(crate) fn text(&self) -> String {
        let Self { unit, tally, usage, .. } = self;
        let mut text = format!(
            "{} {unit} ({}) in {:.3} s: {:.1} {unit}/s, {:.1} MiB/s\n",
            tally.stored,
            ByteSize::b(tally.stored_bytes).display().iec(),
            self.elapsed.as_secs_f64(),
            self.per_second(),
            self.mib_per_second(),
        );
        if let Some([p50, p99, max]) = self.percentiles_ms() {
            let _ = writeln!(text, "latency: p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms");
        }
        let _ = writeln!(
            text,
            "this process: CPU {:.2} s (user {:.2}, system {:.2}), peak RSS {}",
            usage.cpu_s(),
            usage.user_s,
            usage.system_s,
            ByteSize::b(usage.peak_rss_bytes).display().iec(),
        );
        if tally.failed() > 0 {
            let _ = write!(text, "failed: {}", tally.failed());
            for (status, count) in &tally.refused {
                let _ = write!(text, ", status {status:04X}: {count}");
            }
            let _ = writeln!(text, ", unanswered: {}, never sent: {}", tally.unanswered, tally.unsent);
        }
        text
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        let Self { unit, tally, usage, .. } = self;
        let refused: Vec<_> = tally.refused.iter().map(|(status, count)| format!("\"{status:04X}\":{count}")).collect();
        let [p50, p99, max] = self.percentiles_ms().unwrap_or_default();
        format!(
            "{{\"unit\":\"{unit}\",\"stored\":{},\"stored_bytes\":{},\"elapsed_s\":{:.6},\"per_s\":{:.3},\
             \"mib_per_s\":{:.3},\"latency_p50_ms\":{p50:.3},\"latency_p99_ms\":{p99:.3},\
             \"latency_max_ms\":{max:.3},\"failed\":{},\"refused\":{{{}}},\"unanswered\":{},\"unsent\":{},\
             \"cpu_user_s\":{:.2},\"cpu_system_s\":{:.2},\"peak_rss_bytes\":{}}}\n",
            tally.stored,
            tally.stored_bytes,
            self.elapsed.as_secs_f64(),
            self.per_second(),
            self.mib_per_second(),
            tally.failed(),
            refused.join(","),
            tally.unanswered,
            tally.unsent,
            usage.user_s,
            usage.system_s,
            usage.peak_rss_bytes,
        )
    }

    fn per_second(&self) -> f64 {
        self.tally.stored as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn mib_per_second(&self) -> f64 {
        self.tally.stored_bytes as f64 / f64::from(1 << 20) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The nearest-rank 50th and 99th percentile and the maximum.
    fn percentiles_ms(&self) -> Option<[f64; 3]> {
        let mut sorted = self.tally.latencies.clone();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|latency| latency.as_secs_f64() * 1000.0)
        };
        Some([rank(50)?, rank(99)?, rank(100)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tally = Tally { stored: 2, stored_bytes: 2 << 20, ..Tally::default() };
        tally.latencies = (1..=200).rev().map(Duration::from_millis).collect();
        tally.refused.insert(0xA700, 3);
        tally.merge(Tally {
            stored: 2,
            stored_bytes: 2 << 20,
            refused: BTreeMap::from([(0xA700, 1), (0x0122, 1)]),
            unanswered: 1,
            unsent: 4,
            latencies: Vec::new(),
        });
        Report { unit: "instances", tally, elapsed: Duration::from_secs(2), usage: Usage::default() }
    }

    #[test]
    fn rates_percentiles_and_failures_are_what_the_tally_says() {
        let text = report().text();
        assert!(text.starts_with("4 instances (4.0 MiB) in 2.000 s: 2.0 instances/s, 2.0 MiB/s\n"), "{text}");
        assert!(text.contains("p50 100.000 ms, p99 198.000 ms, max 200.000 ms"), "{text}");
        let failed = "failed: 10, status 0122: 1, status A700: 4, unanswered: 1, never sent: 4";
        assert!(text.contains(failed), "{text}");
    }

    #[test]
    fn the_json_line_says_the_same() {
        let json = report().json();
        assert!(json.starts_with('{') && json.ends_with("}\n"));
        for part in ["\"stored\":4,", "\"per_s\":2.000,", "\"refused\":{\"0122\":1,\"A700\":4},", "\"failed\":10,"] {
            assert!(json.contains(part), "{part} in {json}");
        }
    }
}
