//! This process as the kernel accounts for it, from `/proc`: its processor time, its wait for a processor, its memory and its
//! descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;

/// This process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Time on a processor, in user and kernel mode, of all threads there are and were.
    pub cpu: Duration,
    /// Address space.
    pub virtual_bytes: u64,
    /// Physical memory: the allocator's, code, stacks, and pages of files that are mapped.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub open_descriptors: u64,
    /// Descriptors that may be open; `None`: no limit.
    pub max_descriptors: Option<u64>,
}

impl ProcessFigures {
    /// The figures of this moment; `None` if `/proc` has none.
    pub fn read() -> Option<Self> {
        Self::read_below(Path::new("/"))
    }

    fn read_below(root: &Path) -> Option<Self> {
        let of_process = |file: &str| fs::read_to_string(root.join("proc/self").join(file)).ok();
        let stat = Stat::parse(&of_process("stat")?)?;
        let open_descriptors = fs::read_dir(root.join("proc/self/fd")).map_or(0, |entries| entries.count() as u64);
        Some(Self {
            cpu: stat.cpu,
            virtual_bytes: stat.virtual_bytes,
            resident_bytes: stat.resident_pages * rustix::param::page_size() as u64,
            threads: stat.threads,
            // One of them is the list that was read just now.
            open_descriptors: open_descriptors.saturating_sub(1),
            max_descriptors: of_process("limits").as_deref().and_then(parse_max_descriptors),
        })
    }
}

/// Time on a processor, in user and kernel mode, of all threads there are and were; `None` if `/proc` does not tell.
pub(crate) fn cpu_time(root: &Path) -> Option<Duration> {
    Some(Stat::parse(&fs::read_to_string(root.join("proc/self/stat")).ok()?)?.cpu)
}

/// `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu: Duration,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program, in parentheses, may hold anything. Field 3 of the manual is the first behind it.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: ticks(field(14)? + field(15)?),
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Kernel ticks as time.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

/// The soft limit from `/proc/self/limits`.
fn parse_max_descriptors(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

/// The time that threads of this process were ready to run and waited for a processor. Each thread has a count of its own, which
/// ends with it; so the growth of each is what is added up.
#[derive(Debug, Default)]
pub(crate) struct ProcessorWait {
    /// Nanoseconds by thread, as last read.
    threads: BTreeMap<u32, u64>,
}

impl ProcessorWait {
    /// The wait since the last call, of all threads there are; `None` if the kernel does not count it (`CONFIG_SCHED_INFO`).
    pub(crate) fn advance(&mut self, root: &Path) -> Option<Duration> {
        let mut now = BTreeMap::new();
        let mut waited_ns = 0;
        for entry in fs::read_dir(root.join("proc/self/task")).ok()?.flatten() {
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Some(total_ns) =
                fs::read_to_string(entry.path().join("schedstat")).ok().as_deref().and_then(parse_wait)
            else {
                continue; // it has ended meanwhile
            };
            waited_ns += total_ns.saturating_sub(self.threads.get(&thread).copied().unwrap_or(0));
            now.insert(thread, total_ns);
        }
        let is_counted = !now.is_empty();
        self.threads = now;
        is_counted.then(|| Duration::from_nanos(waited_ns))
    }
}

/// The time that threads of this process were ready and waited for a processor, as far as it was asked for before they ended; `None` if the
/// kernel does not count it. Never falls.
pub fn processor_wait() -> Option<Duration> {
    static WAITED: Mutex<(ProcessorWait, Duration)> =
        Mutex::new((ProcessorWait { threads: BTreeMap::new() }, Duration::ZERO));
    let (wait, total) = &mut *WAITED.lock();
    *total += wait.advance(Path::new("/"))?;
    Some(*total)
}

/// `schedstat` of a thread: nanoseconds on a processor, nanoseconds of waiting for one, time slices.
fn parse_wait(text: &str) -> Option<u64> {
    text.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_the_kernel_are_read() {
        let stat = "4242 (tide) gate) S 1 2 3 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 37 0 100 8192000 512 1844 1 1";
        let expected = Stat { cpu: ticks(200), threads: 37, virtual_bytes: 8_192_000, resident_pages: 512 };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("4242 (tidegate"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(parse_max_descriptors(limits), Some(1024));
        assert_eq!(parse_max_descriptors("Max open files unlimited unlimited files\n"), None);
        assert_eq!(parse_wait("458941 154379 1\n"), Some(154_379));
        assert_eq!(parse_wait(""), None);
    }

    #[test]
    fn this_process_is_found() {
        let found = ProcessFigures::read().unwrap();
        assert!(found.resident_bytes > 1 << 20 && found.virtual_bytes >= found.resident_bytes, "{found:?}");
        assert!(found.threads >= 1 && found.open_descriptors >= 3, "{found:?}");
        let waited = processor_wait();
        assert!(processor_wait() >= waited, "{waited:?}");
    }

    #[test]
    fn a_wait_is_the_growth_of_each_thread_that_lives() {
        let root = tempfile::tempdir().unwrap();
        let task = |thread: u32, wait_ns: u64| {
            let directory = root.path().join(format!("proc/self/task/{thread}"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("schedstat"), format!("1 {wait_ns} 1\n")).unwrap();
        };
        task(1, 1000);
        task(2, 900_000);
        let mut wait = ProcessorWait::default();
        wait.advance(root.path());
        task(1, 1500);
        task(3, 40);
        fs::remove_dir_all(root.path().join("proc/self/task/2")).unwrap();
        assert_eq!(
            wait.advance(root.path()),
            Some(Duration::from_nanos(540)),
            "a thread that ended takes nothing back"
        );
        assert_eq!(wait.advance(Path::new("/nowhere")), None);
    }
}
