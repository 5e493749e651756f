//! The control groups of this process, in version 1 and 2: the files that describe them, and what they say of memory and of stalls.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The memory of the control group, and what happened when it ran short. Everything in the group counts, pages of files included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMemory {
    /// Bytes charged to the group.
    pub current_bytes: u64,
    /// Its limit; `None`: it has none of its own.
    pub max_bytes: Option<u64>,
    /// Times that the group was slowed down because it was above `memory.high`.
    pub high: u64,
    /// Times that it reached its limit.
    pub max: u64,
    /// Times that it was out of memory.
    pub oom: u64,
    /// Processes of it that were killed for that.
    pub oom_kill: u64,
}

impl GroupMemory {
    /// Reads the figures of this process's group; `None`: no group accounts for memory.
    pub fn read() -> Option<Self> {
        Self::read_below(Path::new("/"))
    }

    fn read_below(root: &Path) -> Option<Self> {
        let file = |v2, v1| nearest(root, GroupFile { controller: "memory", v2, v1 });
        let number = |text: String| text.trim().parse().ok();
        let events = file("memory.events", None);
        let event = |name: &str| events.as_deref().and_then(|text| named(text, name));
        // Version 1 counts the times that the limit was reached, and kills.
        let v1 = |file_name| file("", Some(file_name));
        Some(Self {
            current_bytes: file("memory.current", Some("memory.usage_in_bytes")).and_then(number)?,
            // Version 1 says "none" with a number near 2⁶³.
            max_bytes: file("memory.max", Some("memory.limit_in_bytes")).and_then(number).filter(|max| *max < 1 << 60),
            high: event("high").unwrap_or(0),
            max: event("max").or_else(|| v1("memory.failcnt").and_then(number)).unwrap_or(0),
            oom: event("oom").unwrap_or(0),
            oom_kill: event("oom_kill").or_else(|| named(&v1("memory.oom_control")?, "oom_kill")).unwrap_or(0),
        })
    }
}

/// A resource that a task may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A processor.
    Cpu,
    /// A disk.
    Io,
    /// Memory that must be reclaimed first.
    Memory,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Io, Self::Memory];

    /// The name it has in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Io => "io",
            Self::Memory => "memory",
        }
    }

    fn file(self) -> GroupFile {
        let v2 = match self {
            Self::Cpu => "cpu.pressure",
            Self::Io => "io.pressure",
            Self::Memory => "memory.pressure",
        };
        GroupFile { controller: self.name(), v2, v1: None }
    }
}

/// The time in which some task of this control group, or of the machine without one, waited for `resource` since it exists (PSI);
/// `None`: this kernel does not count it.
pub fn stalled(resource: Resource) -> Option<Duration> {
    stalled_below(Path::new("/"), resource)
}

pub(crate) fn stalled_below(root: &Path, resource: Resource) -> Option<Duration> {
    let text = nearest(root, resource.file())
        .or_else(|| fs::read_to_string(root.join("proc/pressure").join(resource.name())).ok())?;
    parse_stalled(&text)
}

/// The line `some avg10=… avg60=… avg300=… total=<microseconds>`.
fn parse_stalled(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = line.split_whitespace().find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

/// The number behind `name` in lines of `name number`.
pub(crate) fn named(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A figure of a control group, by the names that its file has in version 2 and 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupFile {
    /// Name of the controller in version 1.
    pub(crate) controller: &'static str,
    /// File in version 2.
    pub(crate) v2: &'static str,
    /// File in version 1.
    pub(crate) v1: Option<&'static str>,
}

/// Every file that may hold this figure for the process, the nearest group first, then those above it. In a container the path in
/// `/proc/self/cgroup` may be the one outside it, which the mount does not show; the mount's own root is then the container's
/// group, so the walk goes up to it.
pub(crate) fn files(root: &Path, file: GroupFile) -> Vec<PathBuf> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = parse(&text, file.controller);
    let v1_mount = format!("sys/fs/cgroup/{}", file.controller);
    let mounts = [
        ("sys/fs/cgroup", groups.v2, Some(file.v2)),
        ("sys/fs/cgroup/unified", groups.v2, Some(file.v2)),
        (v1_mount.as_str(), groups.v1, file.v1),
    ];
    let mut files = Vec::new();
    for (mount, group, file) in mounts {
        let (Some(group), Some(file)) = (group, file.filter(|file| !file.is_empty())) else { continue };
        let up = Path::new(group).ancestors().map(|group| group.strip_prefix("/").unwrap_or(group));
        files.extend(up.map(|group| root.join(mount).join(group).join(file)));
    }
    files
}

/// The text of the nearest of [`files`] that there is.
pub(crate) fn nearest(root: &Path, file: GroupFile) -> Option<String> {
    files(root, file).into_iter().find_map(|path| fs::read_to_string(path).ok())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Groups<'a> {
    v2: Option<&'a str>,
    v1: Option<&'a str>,
}

/// Reads `/proc/self/cgroup`: lines of `hierarchy:controllers:path`, version 2 being `0::path` (cgroups(7)).
fn parse<'a>(text: &'a str, controller: &str) -> Groups<'a> {
    let mut groups = Groups::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        // A process outside the root of its cgroup namespace is shown as `/../…`: there is no such path under the mount.
        let path = if path.contains("/..") { "/" } else { path };
        if hierarchy == "0" && controllers.is_empty() {
            groups.v2 = Some(path);
        } else if controllers.split(',').any(|named| named == controller) {
            groups.v1 = Some(path);
        }
    }
    groups
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn the_groups_of_both_versions_are_found() {
        let memory = |text| parse(text, "memory");
        assert_eq!(memory("0::/a.slice/b.service\n"), Groups { v2: Some("/a.slice/b.service"), v1: None });
        let hybrid = "9:name=systemd:/x\n4:cpu,memory:/a:b\n0::/\nnonsense\n";
        assert_eq!(memory(hybrid), Groups { v2: Some("/"), v1: Some("/a:b") });
        assert_eq!(parse(hybrid, "cpu").v1, Some("/a:b"));
        assert_eq!(memory("0::/../../outside\n"), Groups { v2: Some("/"), v1: None });
    }

    /// The root of a machine with these files.
    pub(crate) fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        files.iter().for_each(|(path, text)| write(root.path(), path, text));
        root
    }

    pub(crate) fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_memory_of_a_group_and_its_events_are_read_in_both_versions() {
        let v2 = host(&[
            ("proc/self/cgroup", "0::/node\n"),
            ("sys/fs/cgroup/node/memory.current", "5000\n"),
            ("sys/fs/cgroup/node/memory.max", "max\n"),
            ("sys/fs/cgroup/node/memory.events", "low 0\nhigh 3\nmax 4\noom 2\noom_kill 1\n"),
        ]);
        let expected = GroupMemory { current_bytes: 5000, max_bytes: None, high: 3, max: 4, oom: 2, oom_kill: 1 };
        assert_eq!(GroupMemory::read_below(v2.path()), Some(expected));
        let v1 = host(&[
            ("proc/self/cgroup", "4:memory:/node\n"),
            ("sys/fs/cgroup/memory/node/memory.usage_in_bytes", "7000\n"),
            ("sys/fs/cgroup/memory/node/memory.limit_in_bytes", "9000\n"),
            ("sys/fs/cgroup/memory/node/memory.failcnt", "6\n"),
            ("sys/fs/cgroup/memory/node/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ]);
        let expected = GroupMemory { current_bytes: 7000, max_bytes: Some(9000), max: 6, oom_kill: 2, ..expected };
        let expected = GroupMemory { high: 0, oom: 0, ..expected };
        assert_eq!(GroupMemory::read_below(v1.path()), Some(expected));
        assert_eq!(GroupMemory::read_below(host(&[]).path()), None);
    }

    #[test]
    fn stalls_are_those_of_the_group_or_else_of_the_machine() {
        let some = "some avg10=1.00 avg60=0.00 avg300=0.00 total=123\nfull avg10=0.00 total=7\n";
        let machine = host(&[("proc/pressure/io", some)]);
        assert_eq!(stalled_below(machine.path(), Resource::Io), Some(Duration::from_micros(123)));
        assert_eq!(stalled_below(machine.path(), Resource::Cpu), None);
        let group = host(&[
            ("proc/pressure/io", some),
            ("proc/self/cgroup", "0::/node\n"),
            ("sys/fs/cgroup/node/io.pressure", "some total=5\n"),
        ]);
        assert_eq!(stalled_below(group.path(), Resource::Io), Some(Duration::from_micros(5)));
    }

    #[test]
    fn the_nearest_group_comes_first_and_its_ancestors_follow() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(root.path().join("proc/self/cgroup"), "2:cpu:/pod/node\n").unwrap();
        let file = GroupFile { controller: "cpu", v2: "cpu.stat", v1: Some("cpu.stat") };
        let found: Vec<_> = files(root.path(), file)
            .into_iter()
            .map(|path| path.strip_prefix(root.path()).unwrap().display().to_string())
            .collect();
        let v1 = "sys/fs/cgroup/cpu";
        assert_eq!(found, [format!("{v1}/pod/node/cpu.stat"), format!("{v1}/pod/cpu.stat"), format!("{v1}/cpu.stat")]);
        assert_eq!(nearest(root.path(), file), None);
    }
}
