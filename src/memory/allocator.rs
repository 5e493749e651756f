//! jemalloc: its settings, each with its reason, and its statistics.

use std::mem::MaybeUninit;
use std::ptr;

use rustix::mm::Advice;
use serde::{Deserialize, Serialize};
use tikv_jemalloc_ctl::{Access, AsName, Error, Mib, epoch, epoch_mib, stats};

#[global_allocator]
static GLOBAL: jemallocator::Jemalloc = jemallocator::Jemalloc;

/// The settings jemalloc reads before `main`. The figures are `examples/measure.rs`'s on two cores, each against the same run with
/// the one setting changed (`MALLOC_CONF=dirty_decay_ms:0 …`).
///
/// - `cache_oblivious:false`: an allocation above 14 KiB begins on a page, so that a disk can be written from it without a copy. By
///   default it begins anywhere in a page, which spares caches elsewhere and gains nothing here.
/// - `background_thread:true`: freed pages are returned even while every thread of the node sleeps. Without it, 24 MiB that eight threads
///   had freed were still resident after three seconds; with it, 4 MiB.
/// - `dirty_decay_ms:1000`: freed segments are reused for a second, then returned. With 0, every dataset faults its pages in again:
///   591 µs instead of 17 µs for 16 segments of 64 KiB. With 10000, nothing is faster, and 50 MiB stayed instead of 4.
/// - `muzzy_decay_ms:0`: returned pages do not wait in a second list, which `resident` would count.
/// - `narenas:4`: arenas keep their free pages apart. Eight held 55 MiB beyond what was allocated where four held 36 MiB; one holds
///   12 MiB, but then every thread waits for the same lock.
/// - `prof:true,prof_active:false,lg_prof_sample:19`: a heap profile can be switched on in the running process. At rest it costs
///   nothing that shows: 17.33 µs against 17.34 µs without for 16 segments of 64 KiB, 96.1 against 95.7 µs for 512 KiB, 6.0 ns both
///   for a small allocation (28 against 22 ns for one of 16 KiB, of which a receiver makes few).
#[allow(unsafe_code)]
// SAFETY: jemalloc declares `const char *malloc_conf`: a thin pointer to a NUL-terminated string that lives for ever.
#[unsafe(export_name = "malloc_conf")]
#[used]
static MALLOC_CONF: &[u8; 138] =
    b"cache_oblivious:false,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4,prof:true,prof_active:false,lg_prof_sample:19\0";

/// Bytes of a large page of memory, on x86-64 and AArch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Smaller blocks would leave a page of that size mostly empty.
const SMALLEST_HUGE_BLOCK: usize = 256 << 10;

/// jemalloc's statistics, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatorStatistics {
    /// Allocated by the program.
    pub allocated: u64,
    /// In pages with at least one allocation.
    pub active: u64,
    /// In jemalloc's own metadata.
    pub metadata: u64,
    /// In physical memory, as jemalloc knows it: the memory that the host sees.
    pub resident: u64,
    /// In active extents.
    pub mapped: u64,
    /// Kept as address space without memory behind it.
    pub retained: u64,
    /// Freed by the program and kept in the caches of its threads, for the next allocation of the same size. jemalloc counts it as
    /// allocated.
    #[serde(default)]
    pub cached: u64,
}

impl AllocatorStatistics {
    /// Bytes that the program holds: allocated, and not in the caches of threads. A cache that was read while its thread filled it
    /// may be off by an allocation.
    pub fn in_use(&self) -> u64 {
        self.allocated.saturating_sub(self.cached)
    }
}

/// Reads [`AllocatorStatistics`]. Names are resolved once; a reading takes microseconds.
pub struct AllocatorProbe {
    epoch: epoch_mib,
    allocated: stats::allocated_mib,
    active: stats::active_mib,
    metadata: stats::metadata_mib,
    resident: stats::resident_mib,
    mapped: stats::mapped_mib,
    retained: stats::retained_mib,
    cached: Mib<[usize; 4]>,
}

/// The caches of all threads in all arenas: 4096 is MALLCTL_ARENAS_ALL.
const CACHED: &[u8] = b"stats.arenas.4096.tcache_bytes\0";

/// jemalloc refused.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum AllocatorError {
    /// The statistics cannot be read.
    #[error("cannot read the jemalloc statistics: {0}")]
    Statistics(Error),
    /// The purge failed.
    #[error("jemalloc did not purge its pages: error {0}")]
    Purge(i32),
}

impl AllocatorProbe {
    /// Resolves the names.
    ///
    /// # Errors
    /// [`AllocatorError::Statistics`] if this build's jemalloc has none.
    pub fn new() -> Result<Self, AllocatorError> {
        Self::resolve().map_err(AllocatorError::Statistics)
    }

    fn resolve() -> Result<Self, Error> {
        Ok(Self {
            epoch: epoch::mib()?,
            allocated: stats::allocated::mib()?,
            active: stats::active::mib()?,
            metadata: stats::metadata::mib()?,
            resident: stats::resident::mib()?,
            mapped: stats::mapped::mib()?,
            retained: stats::retained::mib()?,
            cached: CACHED.name().mib()?,
        })
    }

    /// The figures of this moment.
    ///
    /// # Errors
    /// If jemalloc refuses, which does not happen after [`Self::new`] has succeeded.
    pub fn read(&self) -> Result<AllocatorStatistics, AllocatorError> {
        let read = || {
            self.epoch.advance()?;
            Ok(AllocatorStatistics {
                allocated: self.allocated.read()? as u64,
                active: self.active.read()? as u64,
                metadata: self.metadata.read()? as u64,
                resident: self.resident.read()? as u64,
                mapped: self.mapped.read()? as u64,
                retained: self.retained.read()? as u64,
                cached: Access::<usize>::read(&self.cached)? as u64,
            })
        };
        read().map_err(AllocatorError::Statistics)
    }
}

/// Returns every free page of every arena to the system at once, regardless of the decay settings.
///
/// # Errors
/// [`AllocatorError::Purge`] if jemalloc refuses.
#[allow(unsafe_code)]
pub fn purge() -> Result<(), AllocatorError> {
    // 4096 is MALLCTL_ARENAS_ALL.
    let name = c"arena.4096.purge";
    // SAFETY: the name is NUL-terminated; the control takes no value and gives none, which four nulls say (jemalloc(3)).
    let code =
        unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) };
    if code == 0 { Ok(()) } else { Err(AllocatorError::Purge(code)) }
}

/// Asks the system for pages of 2 MiB around `block`, which must begin on a page and be newly allocated: a write from it then reaches the
/// disk as one piece instead of a hundred. This is only advice. If it is granted, the rest of such a page is in memory too, allocated or
/// not: while any part is in use, the host sees up to 2 MiB more for each page than `resident` reports.
#[allow(unsafe_code)]
pub fn prefer_huge_pages(block: &[MaybeUninit<u8>]) {
    if block.len() < SMALLEST_HUGE_BLOCK {
        return;
    }
    let begin = block.as_ptr().addr() & !(HUGE_PAGE_BYTES - 1);
    let bytes = (block.as_ptr().addr() + block.len()).next_multiple_of(HUGE_PAGE_BYTES) - begin;
    // SAFETY: the advice changes no byte, whoever holds it; where nothing is mapped it does nothing.
    let _ = unsafe { rustix::mm::madvise(ptr::without_provenance_mut(begin), bytes, Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_settings_have_been_read() {
        use tikv_jemalloc_ctl::{background_thread, opt, profiling};
        assert!(background_thread::read().unwrap());
        assert_eq!(opt::narenas::read().unwrap(), 4, "malloc_conf did not reach jemalloc");
        assert!(profiling::prof::read().unwrap());
        for bytes in [16 << 10, 64 << 10, 1 << 20] {
            let blocks: Vec<Vec<u8>> = (0..20).map(|_| Vec::with_capacity(bytes)).collect();
            assert!(blocks.iter().all(|block| block.as_ptr().addr().is_multiple_of(4096)), "{bytes}");
        }
        assert_eq!(profiling::lg_prof_sample::read().unwrap(), 19);
    }
}
