//! Recorded call stacks in a form that travels to another process of the same executable, and their drawing there.

use std::collections::BTreeMap;
use std::path::Path;

use jemalloc_pprof::{FlamegraphOptions, Mapping, StackProfile, WeightedStack};
use mappings::MAPPINGS;
use serde::{Deserialize, Serialize};

use crate::profile_error::ProfileError;

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
    /// Its return addresses in order, each an index into [`HeapStacks::objects`] and an offset from where that is loaded.
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
    /// [`ProfileError::OtherBuild`] if this process does not run what the node runs, [`ProfileError::Dump`] if the flame graph
    /// can't be drawn.
    pub fn draw(&self, format: Format) -> Result<Vec<u8>, ProfileError> {
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

    /// The `most` stacks that hold most, as bytes and the names of their functions, innermost first; the allocator's own are
    /// left out. Costs what [`Self::draw`] costs.
    ///
    /// # Errors
    /// [`ProfileError::OtherBuild`] if this process does not run what the node runs.
    pub fn largest(&self, most: usize) -> Result<Vec<(u64, Vec<String>)>, ProfileError> {
        let profile = self.load_at(MAPPINGS.as_deref().unwrap_or_default())?;
        let mut stacks: Vec<_> = profile.stacks.iter().map(|(stack, _)| stack).collect();
        stacks.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let named = stacks.into_iter().take(most).map(|stack| {
            let names = stack.addrs.iter().flat_map(|address| names_at(*address)).collect();
            (stack.weight as u64, names)
        });
        let named = named.collect();
        backtrace::clear_symbol_cache();
        Ok(named)
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

/// The functions at an address, innermost first: several where code was inlined.
fn names_at(address: usize) -> Vec<String> {
    let mut names = Vec::new();
    backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
        if let Some(name) = symbol.name() {
            let name = format!("{name:#}");
            if !name.contains("_rjem_") && !name.starts_with("tikv_jemalloc") {
                names.push(name);
            }
        }
    });
    names
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
    fn another_build_is_refused_by_name() {
        let there = [mapping("/bin/node", 0x1000, 9), mapping("/lib/libc.so", 0x7000, 2)];
        assert!(matches!(recorded().load_at(&there), Err(ProfileError::OtherBuild(name)) if name == "node"));
    }
}
