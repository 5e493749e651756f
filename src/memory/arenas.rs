//! jemalloc in detail: its pages, arenas and size classes, as `stats_print` tells them at the end of a process, from a live one.

use serde::{Deserialize, Serialize};
use tikv_jemalloc_ctl::{Access, AsName, Error};

use crate::allocator::{AllocatorError, AllocatorProbe, AllocatorStatistics};

/// The index that stands for all arenas together (`MALLCTL_ARENAS_ALL`).
const ALL_ARENAS: u32 = 4096;

/// jemalloc's pages and what is in them. `resident` of the statistics is `active` and `metadata` and the dirty pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatorDetail {
    /// The sums.
    pub statistics: AllocatorStatistics,
    /// All arenas together.
    pub all: Arena,
    /// Every arena that has been used.
    pub arenas: Vec<Arena>,
    /// Classes of small allocations that are in use, the smallest first.
    pub bins: Vec<SizeClass>,
    /// Classes of large allocations that are in use, the smallest first.
    pub large: Vec<SizeClass>,
}

/// An arena: free pages of its own, and the threads that allocate from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arena {
    /// Its number.
    pub index: u32,
    /// Threads assigned to it.
    pub threads: u32,
    /// Allocated in small size classes.
    pub small_bytes: u64,
    /// Allocated in large size classes.
    pub large_bytes: u64,
    /// Of both, freed by the program and in the caches of threads.
    pub cached_bytes: u64,
    /// In pages that hold anything allocated.
    pub active_bytes: u64,
    /// In free pages that are still in physical memory.
    pub dirty_bytes: u64,
    /// In free pages that the system may take.
    pub muzzy_bytes: u64,
    /// In physical memory.
    pub resident_bytes: u64,
    /// Kept as address space without memory behind it.
    pub retained_bytes: u64,
    /// For the arena's own structures.
    pub metadata_bytes: u64,
}

/// A size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeClass {
    /// Bytes of an allocation.
    pub size_bytes: u64,
    /// Allocations there are, those in the caches of threads included.
    pub allocations: u64,
    /// Bytes of the pages that hold them.
    pub page_bytes: u64,
}

impl AllocatorDetail {
    /// The detail of this moment: some hundred readings of a microsecond.
    ///
    /// # Errors
    /// If jemalloc refuses.
    pub fn read() -> Result<Self, AllocatorError> {
        let statistics = AllocatorProbe::new()?.read()?; // advances the epoch
        Self::of(statistics).map_err(AllocatorError::Statistics)
    }

    fn of(statistics: AllocatorStatistics) -> Result<Self, Error> {
        let page_bytes = bytes("arenas.page")?;
        let arenas = (0..number("arenas.narenas")?).filter(|index| {
            let initialized: Result<bool, Error> = format!("arena.{index}.initialized\0").name().read();
            initialized.unwrap_or(false)
        });
        let arenas: Vec<Arena> = arenas.map(|index| Arena::read(index, page_bytes)).collect::<Result<_, _>>()?;
        let bins = (0..number("arenas.nbins")?).map(|bin| {
            let of_all = |figure: &str| bytes(&format!("stats.arenas.{ALL_ARENAS}.bins.{bin}.{figure}"));
            let slab_bytes = bytes(&format!("arenas.bin.{bin}.slab_size"))?;
            Ok(SizeClass {
                size_bytes: bytes(&format!("arenas.bin.{bin}.size"))?,
                allocations: of_all("curregs")?,
                page_bytes: of_all("curslabs")? * slab_bytes,
            })
        });
        let large = (0..number("arenas.nlextents")?).map(|class| {
            let size_bytes = bytes(&format!("arenas.lextent.{class}.size"))?;
            let allocations = bytes(&format!("stats.arenas.{ALL_ARENAS}.lextents.{class}.curlextents"))?;
            Ok(SizeClass { size_bytes, allocations, page_bytes: size_bytes * allocations })
        });
        Ok(Self {
            statistics,
            all: Arena::read(ALL_ARENAS, page_bytes)?,
            arenas,
            bins: in_use(bins)?,
            large: in_use(large)?,
        })
    }
}

impl Arena {
    fn read(index: u32, page_bytes: u64) -> Result<Self, Error> {
        let figure = |name: &str| bytes(&format!("stats.arenas.{index}.{name}"));
        Ok(Self {
            index,
            threads: number(&format!("stats.arenas.{index}.nthreads"))?,
            small_bytes: figure("small.allocated")?,
            large_bytes: figure("large.allocated")?,
            cached_bytes: figure("tcache_bytes")?,
            active_bytes: figure("pactive")? * page_bytes,
            dirty_bytes: figure("pdirty")? * page_bytes,
            muzzy_bytes: figure("pmuzzy")? * page_bytes,
            resident_bytes: figure("resident")?,
            retained_bytes: figure("retained")?,
            metadata_bytes: figure("base")? + figure("internal")?,
        })
    }
}

/// The classes that have an allocation or a page.
fn in_use(classes: impl Iterator<Item = Result<SizeClass, Error>>) -> Result<Vec<SizeClass>, Error> {
    classes.filter(|class| class.as_ref().map_or(true, |class| class.page_bytes > 0)).collect()
}

fn bytes(name: &str) -> Result<u64, Error> {
    let value: usize = format!("{name}\0").name().read()?;
    Ok(value as u64)
}

fn number(name: &str) -> Result<u32, Error> {
    format!("{name}\0").name().read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_adds_up_to_the_sums() {
        let held: Vec<Vec<u8>> = (0..100).map(|_| vec![1; 100_000]).collect();
        let AllocatorDetail { statistics, all, arenas, bins, large } = AllocatorDetail::read().unwrap();
        assert_eq!(arenas.iter().map(|arena| arena.dirty_bytes).sum::<u64>(), all.dirty_bytes);
        assert_eq!(all.small_bytes + all.large_bytes, statistics.allocated);
        assert_eq!(all.active_bytes, statistics.active);
        assert_eq!(all.cached_bytes, statistics.cached);
        assert_eq!(bins.iter().map(|bin| bin.size_bytes * bin.allocations).sum::<u64>(), all.small_bytes);
        let class = large.iter().find(|class| class.size_bytes >= 100_000).unwrap();
        assert!(class.size_bytes < 130_000 && class.allocations >= 100, "{class:?}");
        assert!(arenas.iter().any(|arena| arena.threads > 0), "{arenas:?}");
        drop(held);
    }
}
