//! The memory limit of this process: that of its control groups, or the machine's memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cgroup::{self, GroupFile};

const LIMIT: GroupFile = GroupFile { controller: "memory", v2: "memory.max", v1: Some("memory.limit_in_bytes") };

/// A memory limit and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// The smallest limit that applies.
    pub bytes: u64,
    /// The file it was read from.
    pub source: PathBuf,
}

/// The machine's memory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file of `/proc` could not be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// `/proc/meminfo` has no `MemTotal`.
    #[error("{}: no MemTotal", path.display())]
    NoTotal {
        /// The file.
        path: PathBuf,
    },
}

/// How much memory this process may use: the smallest of the machine's memory and the limits of the control groups the process
/// is in, each with those above it (`memory.max` in version 2, `memory.limit_in_bytes` in version 1).
///
/// # Errors
/// [`HostError`] if the machine's memory cannot be read. Control groups that cannot be read count as no limit.
pub fn host_memory() -> Result<HostMemory, HostError> {
    read(Path::new("/"))
}

const MIB: u64 = 1 << 20;

/// The default budget for a host with `host_bytes`: a quarter, at least 32 MiB, at most 2 GiB, in whole MiB. A quarter, because commits need
/// the host's page cache, and the node is seldom alone on its host.
pub fn default_budget(host_bytes: u64) -> u64 {
    (host_bytes / 4 / MIB * MIB).clamp(32 * MIB, 2048 * MIB)
}

fn read(root: &Path) -> Result<HostMemory, HostError> {
    let path = root.join("proc/meminfo");
    let meminfo = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Err(HostError::Unreadable { path, error }),
    };
    let Some(bytes) = parse_mem_total(&meminfo) else { return Err(HostError::NoTotal { path }) };
    let machine = HostMemory { bytes, source: path };
    let limits = cgroup::files(root, LIMIT).into_iter().filter_map(|source| {
        let bytes = parse_limit(&fs::read_to_string(&source).ok()?)?;
        Some(HostMemory { bytes, source })
    });
    // The machine comes last: of equal limits `min_by_key` takes the first, and the nearer one says more.
    Ok(limits.chain([machine.clone()]).min_by_key(|memory| memory.bytes).unwrap_or(machine))
}

/// Reads `memory.max` or `memory.limit_in_bytes`. `None` is no limit; version 1 says that with a number near 2⁶³, which is
/// larger than any machine and loses by itself.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Bytes from the `MemTotal` line of `/proc/meminfo`, which is in KiB.
fn parse_mem_total(text: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::tests::host;

    const MEMINFO: &str = "MemTotal:        8000000 kB\nMemFree:         7000000 kB\n";

    fn answer(files: &[(&str, &str)]) -> (u64, String) {
        let root = host(files);
        let memory = read(root.path()).unwrap();
        (memory.bytes, memory.source.strip_prefix(root.path()).unwrap().display().to_string())
    }

    #[test]
    fn texts_are_read() {
        assert_eq!(parse_mem_total(MEMINFO), Some(8_192_000_000));
        assert_eq!(parse_mem_total("MemFree: 1 kB\n"), None);
        assert_eq!(parse_mem_total("MemTotal: many kB\n"), None);
        assert_eq!(parse_limit("1073741824\n"), Some(1 << 30));
        assert_eq!(parse_limit("max\n"), None);
    }

    #[test]
    fn without_limits_it_is_the_machine() {
        assert_eq!(answer(&[("proc/meminfo", MEMINFO)]), (8_192_000_000, "proc/meminfo".into()));
        let unlimited = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "4:memory:/a\n0::/b\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/b/memory.max", "max\n"),
        ];
        assert_eq!(answer(&unlimited), (8_192_000_000, "proc/meminfo".into()));
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let files = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/system.slice/tidegate.service\n"),
            ("sys/fs/cgroup/system.slice/tidegate.service/memory.max", "4000000000\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "3000000000\n"),
        ];
        assert_eq!(answer(&files), (3_000_000_000, "sys/fs/cgroup/system.slice/memory.max".into()));
    }

    #[test]
    fn in_a_container_the_root_of_the_mount_is_its_group() {
        let v2 =
            [("proc/meminfo", MEMINFO), ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "536870912\n")];
        assert_eq!(answer(&v2), (512 << 20, "sys/fs/cgroup/memory.max".into()));
        let v1 = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "4:memory:/docker/0123\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ];
        assert_eq!(answer(&v1), (512 << 20, "sys/fs/cgroup/memory/memory.limit_in_bytes".into()));
    }

    #[test]
    fn a_machine_that_says_nothing_is_an_error_that_names_the_file() {
        let error = read(host(&[]).path()).unwrap_err();
        assert!(error.to_string().contains("proc/meminfo"), "{error}");
        let error = read(host(&[("proc/meminfo", "")]).path()).unwrap_err();
        assert!(matches!(error, HostError::NoTotal { .. }), "{error}");
    }

    #[test]
    fn this_machine_answers() {
        assert!(host_memory().unwrap().bytes > 64 << 20);
    }

    #[test]
    fn the_default_budget_is_a_quarter_within_bounds() {
        assert_eq!(default_budget(0), 32 << 20);
        assert_eq!(default_budget(100 << 20), 32 << 20);
        assert_eq!(default_budget(256 << 20), 64 << 20);
        assert_eq!(default_budget((1 << 30) + 12345), 256 << 20);
        assert_eq!(default_budget(4_002_000_000), 954 << 20);
        assert_eq!(default_budget(u64::MAX), 2 << 30);
    }
}
