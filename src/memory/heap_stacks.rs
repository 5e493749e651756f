//! Recorded call stacks in a form that travels to another process of the same executable, and their drawing there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jemalloc_pprof::{FlamegraphOptions, Mapping, StackProfile, WeightedStack};
use mappings::MAPPINGS;
use serde::{Deserialize, Serialize};

use crate::pprof::Profile;
use crate::profile_error::ProfileError;

/// Bytes between two samples, on average: `lg_prof_sample` of the allocator's settings.
pub const SAMPLE_BYTES: u64 = 1 << 19;

/// The format of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A flame graph for a browser.
    Svg,
    /// Gzipped protocol buffers, for `pprof` and its kin.
    Pprof,
}

/// The allocations made during a [`crate::profile::Recording`] that are still live, by call stack.
///
/// Addresses are relative to the executable or library they lie in, so that another process of the same build can draw them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeapStacks {
    /// Every call stack with its live bytes.
    pub stacks: Vec<HeapStack>,
    /// The executable and the libraries that the stacks pass through.
    pub objects: Vec<Object>,
}

/// One call stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeapStack {
    /// Live bytes that it allocated, as estimated from the samples.
    pub bytes: u64,
    /// Its return addresses, the outermost first, each an index into [`HeapStacks::objects`] and an offset from where that is loaded.
    pub frames: Vec<(usize, usize)>,
}

/// A loadable segment of the executable or a library. An offset is valid only in an identical segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// Its file, without the directories.
    pub name: String,
    /// Offset of the segment in the file.
    pub file_offset: u64,
    /// Length in memory.
    pub bytes: usize,
    /// The linker's hash of the contents, in hexadecimal; not every linker makes one.
    pub build_id: Option<String>,
}

impl HeapStacks {
    pub(crate) fn of(profile: &StackProfile) -> Self {
        let mut indices = BTreeMap::new();
        let mut objects = Vec::new();
        let mut frame = |address: usize| {
            let mapping = profile.mappings.iter().find(|m| (m.memory_start..m.memory_end).contains(&address))?;
            let object = Object::of(mapping);
            let index = *indices.entry(object.clone()).or_insert_with(|| {
                objects.push(object);
                objects.len() - 1
            });
            Some((index, address - mapping.memory_start))
        };
        let stacks = profile
            .stacks
            .iter()
            .map(|(stack, _)| HeapStack {
                bytes: stack.weight as u64,
                frames: stack.addrs.iter().filter_map(|address| frame(*address)).collect(),
            })
            .collect();
        Self { stacks, objects }
    }

    /// Draws the stacks with the names of their functions. The names come from the debug information of *this* process's
    /// executable. The look-up costs time, and as much memory as that debug information has, so it belongs in the process that asked for
    /// the profile and not in the node.
    ///
    /// # Errors
    /// [`ProfileError::Empty`] without a stack, [`ProfileError::OtherBuild`] if this process does not run what the node runs,
    /// [`ProfileError::Dump`] if the flame graph can't be drawn.
    pub fn draw(&self, format: Format) -> Result<Vec<u8>, ProfileError> {
        if self.stacks.is_empty() {
            return Err(ProfileError::Empty);
        }
        let here = MAPPINGS.as_deref().unwrap_or_default();
        let profile = self.load_at(here)?;
        let drawn = match format {
            Format::Pprof => Ok(profile.to_pprof(("inuse_space", "bytes"), ("space", "bytes"), None)),
            Format::Svg => {
                let mut options = FlamegraphOptions::default();
                options.title = "Allocated while recording, and still held".to_owned();
                options.count_name = "bytes".to_owned();
                profile.to_flamegraph(&mut options).map_err(|error| ProfileError::Dump(error.into()))
            }
        };
        backtrace::clear_symbol_cache(); // it would stay for ever, without a lease
        drawn
    }

    /// The `most` stacks that hold most, as bytes and the names of their functions: the one that allocated comes first, then its
    /// callers. Functions of the allocator, of the standard library, of containers and of the crates `runtime`, which call ours, are
    /// left out. Costs what [`Self::draw`] costs.
    ///
    /// # Errors
    /// [`ProfileError::OtherBuild`] if this process does not run what the node runs.
    pub fn largest(&self, most: usize, runtime: &[&str]) -> Result<Vec<(u64, Vec<String>)>, ProfileError> {
        let profile = self.load_at(MAPPINGS.as_deref().unwrap_or_default())?;
        let mut stacks: Vec<_> = profile.stacks.iter().map(|(stack, _)| stack).collect();
        stacks.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let named = stacks.into_iter().take(most).map(|stack| {
            // A return address may belong to what follows the call: one byte before it is the call itself.
            let calls = stack.addrs.iter().rev().map(|address| address.saturating_sub(1));
            (stack.weight as u64, calls.flat_map(|call| names_at(call, runtime)).collect())
        });
        let named = named.collect();
        backtrace::clear_symbol_cache();
        Ok(named)
    }

    /// The stacks in the format of pprof, without the names of functions: each call as an address in its file, which has a build ID.
    /// Costs little, so a node can do it; profilers find the names in the executable. For the process that recorded them.
    ///
    /// # Errors
    /// [`ProfileError::OtherBuild`] in another process, [`ProfileError::Dump`] if it cannot be compressed.
    pub fn addresses(&self, duration: Duration) -> Result<Vec<u8>, ProfileError> {
        let mappings = MAPPINGS.as_deref().unwrap_or_default();
        let mut profile = Profile::new(duration, SAMPLE_BYTES);
        let mut begins = Vec::new();
        for object in &self.objects {
            let mapping = mappings.iter().find(|mapping| Object::of(mapping) == *object);
            let mapping = mapping.ok_or_else(|| ProfileError::OtherBuild(object.name.clone()))?;
            begins.push(mapping.memory_offset);
            profile.add_object(&mapping.pathname.to_string_lossy(), object.build_id.as_deref());
        }
        for stack in &self.stacks {
            let calls = stack.frames.iter().rev().filter_map(|(object, offset)| {
                // A return address may belong to what follows the call: one byte before it is the call itself.
                Some((*object, (begins.get(*object)? + offset).saturating_sub(1) as u64))
            });
            profile.add_stack(stack.bytes, calls);
        }
        profile.encode().map_err(|error| ProfileError::Dump(error.into()))
    }

    /// The stacks relocated to `mappings`.
    fn load_at(&self, mappings: &[Mapping]) -> Result<StackProfile, ProfileError> {
        let starts: Vec<usize> = self
            .objects
            .iter()
            .map(|object| {
                let mapping = mappings.iter().find(|mapping| Object::of(mapping) == *object);
                mapping.map(|mapping| mapping.memory_start).ok_or_else(|| ProfileError::OtherBuild(object.name.clone()))
            })
            .collect::<Result<_, _>>()?;
        let address = |(object, offset): &(usize, usize)| Some(starts.get(*object)?.wrapping_add(*offset));
        let stacks = self
            .stacks
            .iter()
            .map(|stack| {
                let addrs = stack.frames.iter().filter_map(address).collect();
                (WeightedStack { addrs, weight: stack.bytes as f64 }, None)
            })
            .collect();
        Ok(StackProfile { annotations: Vec::new(), stacks, mappings: mappings.to_vec() })
    }
}

/// The functions at an address that are not plumbing, innermost first: several where code was inlined. A name without its module, as
/// debug information has for inlined functions, is followed by its place in the source.
fn names_at(address: usize, runtime: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
        let Some(name) = symbol.name() else { return };
        let (name, file) = (format!("{name:#}"), symbol.filename());
        if file.map_or_else(|| is_plumbing_name(&name, runtime), |file| is_plumbing_file(file, runtime)) {
            return;
        }
        let has_module = name.split('<').find(|part| !part.is_empty()).is_some_and(|part| part.contains("::"));
        names.push(match file.filter(|_| !has_module) {
            Some(file) => format!("{name} ({}:{})", place(file), symbol.lineno().unwrap_or(0)),
            None => name,
        });
    });
    names
}

/// The file and its directory: `gauges/statistics.rs`.
fn place(file: &Path) -> String {
    let parts: Vec<_> = file.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Crates of the allocator, the standard library and containers, which allocate on behalf of others.
const PLUMBING: [&str; 12] = [
    "alloc",
    "bytes",
    "core",
    "futures-core",
    "futures-util",
    "hashbrown",
    "jemallocator",
    "rustc",
    "smallvec",
    "std",
    "tikv-jemalloc-sys",
    "tikv-jemallocator",
];

/// Whether a source is of the plumbing: of C, of the standard library, or of a crate of these names in a registry (`bytes-1.2.3`).
fn is_plumbing_file(file: &Path, runtime: &[&str]) -> bool {
    let of_library = file.iter().any(|part| part == "library") && file.to_string_lossy().contains("/rustc");
    let of_crate = || {
        file.iter().filter_map(|part| part.to_str()?.rsplit_once('-')).any(|(name, version)| {
            version.starts_with(|first: char| first.is_ascii_digit())
                && (PLUMBING.contains(&name) || runtime.contains(&name))
        })
    };
    file.extension().is_some_and(|extension| extension == "c" || extension == "h" || extension == "S")
        || of_library
        || of_crate()
}

/// The same by the name of a function, where the source is not known.
fn is_plumbing_name(name: &str, runtime: &[&str]) -> bool {
    // `<alloc::vec::Vec<u8> as core::clone::Clone>::clone`, `__rustc::__rust_alloc`, `&mut core::…`
    let path = name.trim_start_matches(['<', '&', '_', '(']).trim_start_matches("mut ").trim_start_matches("dyn ");
    match path.split_once("::") {
        Some((root, _)) => {
            let name = root.replace('_', "-");
            PLUMBING.contains(&name.as_str()) || runtime.contains(&name.as_str())
        }
        // C: jemalloc, and where threads begin.
        None => true,
    }
}

impl Object {
    fn of(mapping: &Mapping) -> Self {
        Self {
            name: Path::new(&mapping.pathname).file_name().unwrap_or_default().to_string_lossy().into_owned(),
            file_offset: mapping.file_offset,
            bytes: mapping.memory_end - mapping.memory_start,
            build_id: mapping.build_id.as_ref().map(ToString::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use jemalloc_pprof::BuildId;

    use super::*;

    fn mapping(name: &str, memory_start: usize, build_id: u8) -> Mapping {
        Mapping {
            memory_start,
            memory_end: memory_start + 0x1000,
            memory_offset: 0,
            file_offset: 0,
            pathname: name.into(),
            build_id: Some(BuildId(vec![build_id])),
        }
    }

    fn recorded() -> HeapStacks {
        let stack = |addrs: &[usize], weight| (WeightedStack { addrs: addrs.to_vec(), weight }, None);
        HeapStacks::of(&StackProfile {
            annotations: Vec::new(),
            stacks: vec![stack(&[0x1010, 0x7020, 0xdead_beef], 500.5), stack(&[0x1030], 7.0)],
            mappings: vec![mapping("/bin/node", 0x1000, 1), mapping("/lib/libc.so", 0x7000, 2)],
        })
    }

    #[test]
    fn stacks_are_loaded_where_another_process_has_the_same_objects() {
        let text = serde_json::to_string(&recorded()).unwrap();
        let travelled: HeapStacks = serde_json::from_str(&text).unwrap();
        assert_eq!(travelled, recorded());
        let there = [mapping("/elsewhere/libc.so", 0x9000, 2), mapping("/opt/node", 0x4000, 1)];
        let loaded = travelled.load_at(&there).unwrap();
        let stacks: Vec<_> = loaded.stacks.iter().map(|(stack, _)| (stack.addrs.clone(), stack.weight)).collect();
        assert_eq!(stacks, [(vec![0x4010, 0x9020], 500.0), (vec![0x4030], 7.0)]);
    }

    #[test]
    fn names_of_the_plumbing_are_known() {
        for name in [
            "_rjem_je_prof_backtrace",
            "imalloc_body",
            "clone3",
            "__rustc::__rust_alloc",
            "alloc::raw_vec::RawVecInner::with_capacity",
            "<alloc::vec::Vec<u8> as core::clone::Clone>::clone",
            "<executor::task::local::LocalSet as core::future::Future>::poll",
            "std::thread::Builder::spawn_unchecked",
        ] {
            assert!(is_plumbing_name(name, &["executor"]), "{name}");
        }
        for name in [
            "tidegate_actors::gauges::statistics::leak_on_purpose",
            "<tidegate_actors::association::connection::Connection>::run::{closure#0}",
            "<rustls::server::Acceptor as core::default::Default>::default",
        ] {
            assert!(!is_plumbing_name(name, &["executor"]), "{name}");
        }
    }

    #[test]
    fn sources_of_the_plumbing_are_known() {
        let registry = "/home/x/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        for file in [
            "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/alloc/src/vec/mod.rs".to_owned(),
            "/usr/src/rustc-1.89.0/library/std/src/thread/mod.rs".to_owned(),
            format!("{registry}/executor-1.54.1/src/runtime/task/core.rs"),
            format!("{registry}/tikv-jemalloc-sys-0.7.1+5.3.1-0-g81034ce/jemalloc/src/jemalloc.c"),
        ] {
            assert!(is_plumbing_file(Path::new(&file), &["executor"]), "{file}");
        }
        for file in ["actors/gauges/statistics.rs".to_owned(), format!("{registry}/rustls-0.23.5/src/server.rs")] {
            assert!(!is_plumbing_file(Path::new(&file), &["executor"]), "{file}");
        }
        assert_eq!(place(Path::new("/x/actors/gauges/statistics.rs")), "gauges/statistics.rs");
    }

    #[test]
    fn nothing_cannot_be_drawn() {
        let nothing = HeapStacks { stacks: Vec::new(), objects: Vec::new() };
        assert!(matches!(nothing.draw(Format::Svg), Err(ProfileError::Empty)));
        assert_eq!(nothing.largest(3, &[]).unwrap(), []);
    }

    #[test]
    fn another_build_is_refused_by_name() {
        let there = [mapping("/bin/node", 0x1000, 9), mapping("/lib/libc.so", 0x7000, 2)];
        assert!(matches!(recorded().load_at(&there), Err(ProfileError::OtherBuild(name)) if name == "node"));
    }
}
