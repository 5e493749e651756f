//! The use of the machine by this process.

use std::fs;

use serde::{Deserialize, Serialize};

/// CPU time and memory of this process so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    /// Peak resident set size; zero where `/proc` cannot be read.
    pub(crate) peak_rss_bytes: u64,
}

impl Usage {
    /// Reads it from `/proc/self`, to the kernel's clock tick of 10 ms.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let (user, system) = cpu_ticks(&stat).unwrap_or_default();
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
        Self {
            user_s: user as f64 / ticks_per_second,
            system_s: system as f64 / ticks_per_second,
            peak_rss_bytes: peak_rss_kib(&status).unwrap_or_default() * 1024,
        }
    }

    /// The use since `earlier`; the peak remains that of the whole process.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { user_s: self.user_s - earlier.user_s, system_s: self.system_s - earlier.system_s, ..self }
    }

    /// User and system time together.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// Fields 14 and 15 of `/proc/[pid]/stat`; the second field, the command's name, may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The peak in a `/proc/[pid]/status`.
pub(crate) fn peak_rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_times_are_found_behind_an_awkward_name() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 250 75 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some((250, 75)));
    }

    #[test]
    fn this_process_has_a_resident_set() {
        assert!(Usage::now().peak_rss_bytes > 64 * 1024);
    }
}
