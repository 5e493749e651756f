//! jemalloc: the settings, each with its reason, and the figures it reports.

use tikv_jemalloc_ctl::{Error, epoch, epoch_mib, stats};

#[global_allocator]
static GLOBAL: jemallocator::Jemalloc = jemallocator::Jemalloc;

/// The settings jemalloc reads before `main`.
///
/// - `background_thread`: freed pages go back to the system even while every thread of ours sleeps.
/// - `dirty_decay_ms:1000`: a freed receive segment is reused for a second, then returned. Zero would cost a page fault for
///   every page of every dataset (285 µs per 512 KiB measured).
/// - `muzzy_decay_ms:0`: pages on their way back are not kept in a second list that `resident` still counts.
/// - `narenas:4`: arenas keep free pages apart from each other; many arenas hold many half-used ones.
#[allow(unsafe_code)]
// SAFETY: jemalloc declares `const char *malloc_conf`: a thin pointer to a NUL-terminated string that lives for ever.
#[unsafe(export_name = "malloc_conf")]
#[used]
static MALLOC_CONF: &[u8; 70] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4\0";

/// What jemalloc says of itself, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorStatistics {
    /// Handed out to the program.
    pub allocated: u64,
    /// In pages that hold anything handed out.
    pub active: u64,
    /// For jemalloc's own structures.
    pub metadata: u64,
    /// In physical memory, as far as jemalloc knows: what the host sees.
    pub resident: u64,
    /// In active extents.
    pub mapped: u64,
    /// Kept as address space without memory behind it.
    pub retained: u64,
}

/// Reads [`AllocatorStatistics`]; names are resolved once, a reading takes microseconds.
pub struct AllocatorProbe {
    epoch: epoch_mib,
    allocated: stats::allocated_mib,
    active: stats::active_mib,
    metadata: stats::metadata_mib,
    resident: stats::resident_mib,
    mapped: stats::mapped_mib,
    retained: stats::retained_mib,
}

/// jemalloc could not be asked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("jemalloc statistics are not to be had: {0}")]
pub struct ProbeError(Error);

impl AllocatorProbe {
    /// Resolves the names.
    ///
    /// # Errors
    /// If this build's jemalloc has no statistics.
    pub fn new() -> Result<Self, ProbeError> {
        Self::resolve().map_err(ProbeError)
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
        })
    }

    /// The figures of this moment.
    ///
    /// # Errors
    /// If jemalloc refuses, which it does not once [`Self::new`] has succeeded.
    pub fn read(&self) -> Result<AllocatorStatistics, ProbeError> {
        let read = || {
            self.epoch.advance()?;
            Ok(AllocatorStatistics {
                allocated: self.allocated.read()? as u64,
                active: self.active.read()? as u64,
                metadata: self.metadata.read()? as u64,
                resident: self.resident.read()? as u64,
                mapped: self.mapped.read()? as u64,
                retained: self.retained.read()? as u64,
            })
        };
        read().map_err(ProbeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_have_been_read() {
        assert!(tikv_jemalloc_ctl::background_thread::read().unwrap());
        assert_eq!(tikv_jemalloc_ctl::opt::narenas::read().unwrap(), 4, "malloc_conf did not reach jemalloc");
    }

    #[test]
    fn statistics_follow_what_is_allocated() {
        let probe = AllocatorProbe::new().unwrap();
        let before = probe.read().unwrap();
        let held = vec![1_u8; 32 << 20];
        let during = probe.read().unwrap();
        assert!(during.allocated >= before.allocated + (30 << 20));
        assert!(during.resident >= during.active && during.active >= during.allocated);
        drop(held);
    }
}
