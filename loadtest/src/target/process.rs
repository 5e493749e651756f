//! Memory and CPU of a process and all its descendants, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::error::TargetError;
use crate::result::{Sampler, TargetKind, TargetSample, Usage};
use crate::usage;

/// Watches a process tree. A receiver that forks a process for each association is one receiver.
#[derive(Debug)]
pub(crate) struct ProcessSampler {
    root: u32,
    start: Times,
    last: Times,
    peak_rss_bytes: u64,
}

/// CPU time of a whole tree, in ticks of the kernel's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Times {
    user: u64,
    system: u64,
}

impl ProcessSampler {
    /// # Errors
    /// When there is no process `pid`.
    pub(crate) fn new(pid: u32) -> Result<Self, TargetError> {
        let (start, seen) = look(pid).ok_or(TargetError::NoProcess(pid))?;
        Ok(Self { root: pid, start, last: start, peak_rss_bytes: seen.rss_bytes })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.root
    }

    /// The command's name, as `/proc` has it.
    fn command(&self) -> Option<String> {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.root)).ok()?;
        Some(name.trim_end().to_owned())
    }
}

impl Sampler for ProcessSampler {
    fn sample(&mut self) -> Option<TargetSample> {
        let (times, mut seen) = look(self.root)?;
        self.last = times;
        self.peak_rss_bytes = self.peak_rss_bytes.max(seen.rss_bytes).max(peak_of(self.root).unwrap_or_default());
        let since = self.usage()?;
        seen.cpu_s = since.cpu_s();
        Some(seen)
    }

    /// The peak is the highest sum that a sample has seen, and no less than the first process has had by itself, which the kernel knows.
    fn usage(&self) -> Option<Usage> {
        let seconds = |now: u64, then: u64| now.saturating_sub(then) as f64 / ticks_per_s();
        Some(Usage {
            user_s: seconds(self.last.user, self.start.user),
            system_s: seconds(self.last.system, self.start.system),
            peak_rss_bytes: self.peak_rss_bytes,
        })
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Process
    }

    fn name(&self) -> Option<String> {
        self.command()
    }
}

fn ticks_per_s() -> f64 {
    rustix::param::clock_ticks_per_second().max(1) as f64
}

/// The tree below `root` at this moment; `None` when `root` is gone.
fn look(root: u32) -> Option<(Times, TargetSample)> {
    let table = processes();
    let page_bytes = rustix::param::page_size() as u64;
    let mut tree = BTreeSet::from([root]);
    let mut waiting = vec![root];
    let (mut times, mut sample) = (Times::default(), TargetSample::default());
    let mut threads = 0;
    while let Some(pid) = waiting.pop() {
        let Some(process) = table.get(&pid) else {
            continue;
        };
        times.user += process.times.user;
        times.system += process.times.system;
        sample.rss_bytes += process.rss_pages * page_bytes;
        threads += process.threads;
        let children = table.iter().filter(|(_, other)| other.parent == pid).map(|(child, _)| *child);
        waiting.extend(children.filter(|child| tree.insert(*child)));
    }
    sample.threads = Some(threads);
    table.contains_key(&root).then_some((times, sample))
}

/// The kernel's peak of the resident set of one process.
fn peak_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(usage::peak_rss_kib(&status)? * 1024)
}

/// One line of the process table.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    parent: u32,
    /// Its own and that of the children it has waited for, which are in no table any more.
    times: Times,
    threads: u64,
    rss_pages: u64,
}

fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parse(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

/// Fields 4, 14 to 17, 20 and 24 of `/proc/[pid]/stat`; the second, the command's name, may hold spaces and parentheses. A zombie holds
/// nothing and is left out.
fn parse(stat: &str) -> Option<Process> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    if fields.first() == Some(&"Z") {
        return None;
    }
    Some(Process {
        parent: u32::try_from(field(4)?).ok()?,
        times: Times { user: field(14)? + field(16)?, system: field(15)? + field(17)? },
        threads: field(20)?,
        rss_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_fields_are_found_behind_an_awkward_name() {
        let stat = "7 (a) b) S 3 1 1 0 -1 4 5 6 7 8 100 20 30 4 20 0 9 0 77 1000 55 18446744073709551615";
        let times = Times { user: 130, system: 24 };
        assert_eq!(parse(stat), Some(Process { parent: 3, times, threads: 9, rss_pages: 55 }));
        assert_eq!(parse(&stat.replace(" S ", " Z ")), None);
        assert_eq!(parse("7 (cut"), None);
    }

    #[test]
    fn the_children_of_a_process_count_with_it_and_an_ended_one_is_gone() {
        // The shell holds nothing; its child holds 32 MiB and has used CPU time to fill them.
        let script = r#"python3 -c '
import sys, time
held = bytearray(b"x") * (32 << 20)
end = time.process_time() + 0.2
while time.process_time() < end: pass
print("ready", flush=True)
sys.stdin.read()' ; exit 0"#;
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut sampler = ProcessSampler::new(shell.id()).unwrap();
        shell.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        let seen = sampler.sample().unwrap();
        assert!(seen.rss_bytes > 32 << 20, "{seen:?}");
        assert!(seen.threads.unwrap() >= 2, "{seen:?}");
        assert!(seen.cpu_s >= 0.15 && sampler.usage().unwrap().peak_rss_bytes >= seen.rss_bytes, "{seen:?}");
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(sampler.sample(), None);
        assert!(matches!(ProcessSampler::new(shell.id()), Err(TargetError::NoProcess(_))));
    }
}
