//! What the kernel accounts for this process: processor time, and descriptors. From `/proc` and the control group; no file of the storage.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that are read of.
const MAX_THREADS: usize = 4096;
const CGROUPS: &str = "/sys/fs/cgroup";
/// The highest figures so far. A thread that ends takes its share along, and what is served as a counter must never fall.
static HIGHEST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Since the start of the process, in seconds, but for the descriptors. `None`: this kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProcessFigures {
    /// Time that its threads ran.
    pub(super) cpu_s: Option<f64>,
    /// Time that its threads were ready and waited for a processor.
    pub(super) cpu_wait_s: Option<f64>,
    /// Time that its control group was held back because the quota was spent.
    pub(super) throttled_s: Option<f64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) max_descriptors: Option<u64>,
}

impl ProcessFigures {
    /// The figures of this moment.
    pub(super) fn read() -> Self {
        let times = scheduled();
        Self {
            cpu_s: times.map(|(run_ns, _)| seconds(run_ns)),
            cpu_wait_s: times.map(|(_, wait_ns)| seconds(wait_ns)),
            throttled_s: throttled_us().map(|us| us as f64 / 1e6),
            // One is the list itself.
            open_descriptors: fs::read_dir("/proc/self/fd").ok().map(|all| (all.count() as u64).saturating_sub(1)),
            max_descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Nanoseconds that the threads there are ran, and waited for a processor (schedstat, proc(5)).
fn scheduled() -> Option<(u64, u64)> {
    let tasks = fs::read_dir("/proc/self/task").ok()?.take(MAX_THREADS);
    let times = tasks.filter_map(|task| parse(&fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?));
    let (run, wait) = times.reduce(|sum, times| (sum.0 + times.0, sum.1 + times.1))?;
    let highest = |slot: usize, now: u64| HIGHEST[slot].fetch_max(now, Ordering::Relaxed).max(now);
    Some((highest(0, run), highest(1, wait)))
}

fn parse(schedstat: &str) -> Option<(u64, u64)> {
    let mut fields = schedstat.split_whitespace().map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// `throttled_usec` of the control group (cgroup v2).
fn throttled_us() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let of = |path: &Path| fs::read_to_string(path.join("cpu.stat")).ok();
    // Within a container its own group is the root of what it sees.
    let stat = of(&Path::new(CGROUPS).join(path)).or_else(|| of(Path::new(CGROUPS)))?;
    stat.lines().find_map(|line| line.strip_prefix("throttled_usec "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_accounted_for() {
        let figures = ProcessFigures::read();
        assert!(figures.open_descriptors.is_some_and(|open| open > 0), "{figures:?}");
        assert!(figures.cpu_s.is_none_or(|time| time > 0.0), "{figures:?}");
        assert_eq!(parse("12 34 5\n"), Some((12, 34)));
        assert_eq!(parse(""), None);
    }
}
