//! Shares of the machine over an interval: what this process used of its processors, what it had to wait for, and how busy the
//! machine was with others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cgroup::{self, GroupFile, Resource, named, stalled_below};
use crate::process::{ProcessorWait, cpu_time};

const CPU_STAT: GroupFile = GroupFile { controller: "cpu", v2: "cpu.stat", v1: Some("cpu.stat") };

/// The use of processors and the waits for resources in an interval. `None`: this machine does not report the figure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Time of this process on a processor, of all its threads together.
    pub cpu: Option<Duration>,
    /// Time that threads of this process were ready to run and waited for a processor, together.
    pub cpu_wait: Option<Duration>,
    /// Time that a control group of this process was throttled because its quota was exhausted.
    pub cpu_throttled: Option<Duration>,
    /// Time of all the machine's processors that was not idle, as a part of 1, this process included.
    pub host_busy: Option<f64>,
    /// The part of it that a hypervisor gave to other machines.
    pub host_steal: Option<f64>,
    /// Part of the time in which some task of this control group, or of the machine, waited for a processor.
    pub pressure_cpu: Option<f64>,
    /// The same of waiting for a disk.
    pub pressure_io: Option<f64>,
    /// The same of waiting for memory.
    pub pressure_memory: Option<f64>,
}

/// Reads the counters of kernel and control group, and tells what they grew by.
#[derive(Debug)]
pub struct UsageWatch {
    root: PathBuf,
    wait: ProcessorWait,
    last: Reading,
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    cpu: Option<Duration>,
    throttled: Option<Duration>,
    host: Option<HostTicks>,
    /// In the order of [`Resource::ALL`].
    stalled: [Option<Duration>; Resource::ALL.len()],
}

/// Processor time of the whole machine, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HostTicks {
    all: u64,
    idle: u64,
    steal: u64,
}

impl UsageWatch {
    /// Begins the first interval.
    pub fn new() -> Self {
        Self::below("/".into())
    }

    fn below(root: PathBuf) -> Self {
        let mut wait = ProcessorWait::default();
        wait.advance(&root);
        let last = Reading::of(&root);
        Self { root, wait, last }
    }

    /// Ends the interval and begins the next. Reads about as many small files of `/proc` as there are threads.
    pub fn advance(&mut self) -> Usage {
        let now = Reading::of(&self.root);
        let cpu_wait = self.wait.advance(&self.root);
        let last = std::mem::replace(&mut self.last, now);
        let elapsed = now.at.duration_since(last.at);
        let stalled = |resource: Resource| {
            let stalled = grown(last.stalled[resource as usize], now.stalled[resource as usize])?;
            (elapsed > Duration::ZERO).then(|| (stalled.as_secs_f64() / elapsed.as_secs_f64()).min(1.0))
        };
        let host = |part: fn(HostTicks) -> u64| {
            let (before, after) = (last.host?, now.host?);
            let all = after.all.checked_sub(before.all).filter(|all| *all > 0)?;
            Some(part(after).saturating_sub(part(before)) as f64 / all as f64)
        };
        Usage {
            cpu: grown(last.cpu, now.cpu),
            cpu_wait,
            cpu_throttled: grown(last.throttled, now.throttled),
            host_busy: host(|ticks| ticks.idle).map(|idle| (1.0 - idle).max(0.0)),
            host_steal: host(|ticks| ticks.steal),
            pressure_cpu: stalled(Resource::Cpu),
            pressure_io: stalled(Resource::Io),
            pressure_memory: stalled(Resource::Memory),
        }
    }
}

impl Default for UsageWatch {
    fn default() -> Self {
        Self::new()
    }
}

fn grown(before: Option<Duration>, after: Option<Duration>) -> Option<Duration> {
    Some(after?.saturating_sub(before?))
}

impl Reading {
    fn of(root: &Path) -> Self {
        let stat = fs::read_to_string(root.join("proc/stat")).unwrap_or_default();
        Self {
            at: Instant::now(),
            cpu: cpu_time(root),
            throttled: throttled_below(root),
            host: parse_host(&stat),
            stalled: Resource::ALL.map(|resource| stalled_below(root, resource)),
        }
    }
}

/// `cpu.stat` of version 2 (`throttled_usec`) or 1 (`throttled_time`, nanoseconds).
fn parse_throttled(text: &str) -> Option<Duration> {
    let v2 = named(text, "throttled_usec").map(Duration::from_micros);
    v2.or_else(|| named(text, "throttled_time").map(Duration::from_nanos))
}

/// Time that the most throttled control group of this process was held back because its quota was exhausted; `None`: no group limits the
/// processor time.
pub fn throttled() -> Option<Duration> {
    throttled_below(Path::new("/"))
}

/// A quota may stand at any level.
fn throttled_below(root: &Path) -> Option<Duration> {
    let stats = cgroup::files(root, CPU_STAT).into_iter().filter_map(|path| fs::read_to_string(path).ok());
    stats.filter_map(|text| parse_throttled(&text)).max()
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …`.
fn parse_host(text: &str) -> Option<HostTicks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let at = |index: usize| ticks.get(index).copied();
    Some(HostTicks { all: ticks.iter().sum(), idle: at(3)? + at(4)?, steal: at(7)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::tests::{host, write};

    #[test]
    fn the_texts_of_the_kernel_are_read() {
        let stat = "cpu  100 5 50 800 30 1 4 10 0 0\ncpu0 1 2 3\n";
        assert_eq!(parse_host(stat), Some(HostTicks { all: 1000, idle: 830, steal: 10 }));
        assert_eq!(parse_host("intr 5\n"), None);
        let v2 = "usage_usec 5\nnr_throttled 2\nthrottled_usec 7000\n";
        assert_eq!(parse_throttled(v2), Some(Duration::from_millis(7)));
        assert_eq!(parse_throttled("nr_periods 0\nthrottled_time 9000000\n"), Some(Duration::from_millis(9)));
        assert_eq!(parse_throttled("usage_usec 5\n"), None, "a group without the controller");
    }

    #[test]
    fn an_interval_is_told_by_the_growth_of_its_counters() {
        let root = host(&[
            ("proc/self/cgroup", "0::/pod/node\n"),
            ("proc/stat", "cpu 0 0 0 100 0 0 0 0\n"),
            ("sys/fs/cgroup/pod/cpu.stat", "throttled_usec 1000\n"),
        ]);
        let mut watch = UsageWatch::below(root.path().to_owned());
        write(root.path(), "proc/stat", "cpu 50 0 0 140 0 0 0 10\n");
        write(root.path(), "sys/fs/cgroup/pod/cpu.stat", "throttled_usec 3500\n");
        let usage = watch.advance();
        assert_eq!(usage.cpu_throttled, Some(Duration::from_micros(2500)), "the quota stands above the node's group");
        assert_eq!((usage.host_busy, usage.host_steal), (Some(0.6), Some(0.1)));
        assert_eq!((usage.cpu, usage.cpu_wait, usage.pressure_io), (None, None, None));
    }

    #[test]
    fn this_machine_answers() {
        let mut watch = UsageWatch::new();
        std::thread::sleep(Duration::from_millis(20));
        let usage = watch.advance();
        assert!(usage.cpu.is_some(), "{usage:?}");
    }
}
