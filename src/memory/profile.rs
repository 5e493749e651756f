//! The heap profile of the live process: live bytes by the call stacks that allocated them.
//!
//! During a [`Recording`], jemalloc samples the call stack of about one allocation in every 512 KiB, and drops it when the allocation is
//! freed. The remaining samples show the growth since the start.

use std::sync::atomic::{AtomicBool, Ordering};

use jemalloc_pprof::{JemallocProfCtl, PROF_CTL};

pub use crate::heap_stacks::{Format, HeapStacks, SAMPLE_BYTES};
pub use crate::profile_error::ProfileError;

/// A recording in progress. There is at most one in the process; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the recording"]
pub struct Recording(());

static RECORDING: AtomicBool = AtomicBool::new(false);

impl Recording {
    /// Starts a recording. The caller decides when it ends.
    ///
    /// # Errors
    /// [`ProfileError::Off`], [`ProfileError::Busy`] or [`ProfileError::Refused`].
    pub fn start() -> Result<Self, ProfileError> {
        if PROF_CTL.is_none() {
            return Err(ProfileError::Off);
        }
        if RECORDING.swap(true, Ordering::Acquire) {
            return Err(ProfileError::Busy);
        }
        let recording = Self(());
        with_control(|control| control.activate().map_err(ProfileError::Refused))?;
        Ok(recording)
    }

    /// Ends the recording; without a sample there is no stack. Blocks for as long as it takes to write a temporary file and read it back: milliseconds.
    ///
    /// # Errors
    /// [`ProfileError::Dump`].
    pub fn stop(self) -> Result<HeapStacks, ProfileError> {
        let profile = with_control(|control| control.dump_profile().map_err(|error| ProfileError::Dump(error.into())))?;
        Ok(HeapStacks::of(&profile))
    }

    /// [`Self::stop`], then [`HeapStacks::draw`] in this process, at the cost stated there.
    ///
    /// # Errors
    /// Those of both.
    pub fn finish(self, format: Format) -> Result<Vec<u8>, ProfileError> {
        self.stop()?.draw(format)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // If jemalloc refuses here, it refused the start too, and there is nothing to end.
        let _ = with_control(|control| control.deactivate().map_err(ProfileError::Refused));
        RECORDING.store(false, Ordering::Release);
    }
}

fn with_control<T>(act: impl FnOnce(&mut JemallocProfCtl) -> Result<T, ProfileError>) -> Result<T, ProfileError> {
    let control = PROF_CTL.as_ref().ok_or(ProfileError::Off)?;
    // Only the one `Recording` locks it, by `try_lock`: a blocking wait would stall a thread of the runtime.
    act(&mut *control.try_lock().map_err(|_| ProfileError::Busy)?)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    #[inline(never)]
    fn allocations_of_this_test() -> Vec<Vec<u8>> {
        black_box((0..64).map(|_| vec![1_u8; 1 << 20]).collect())
    }

    /// One test, because there is one recording in a process.
    #[test]
    fn what_was_allocated_meanwhile_is_found_by_name() {
        let recording = Recording::start().unwrap();
        assert!(matches!(Recording::start(), Err(ProfileError::Busy)));
        let allocations = allocations_of_this_test();
        let stacks = recording.stop().unwrap();
        let largest = stacks.stacks.iter().map(|stack| stack.bytes).max().unwrap();
        assert!((32 << 20..128 << 20).contains(&largest), "64 MiB were allocated in one place, {largest} found");
        let (bytes, functions) = &stacks.largest(1, &[]).unwrap()[0];
        // The closure is first, and inlined.
        let first = functions.iter().take(2).any(|name| name.contains("allocations_of_this_test"));
        assert!(*bytes == largest && first && functions[0].contains("memory/profile.rs:"), "{functions:?}");
        let svg = String::from_utf8(stacks.draw(Format::Svg).unwrap()).unwrap();
        assert!(svg.contains("<svg") && svg.contains("allocations_of_this_test"), "{}", &svg[..svg.len().min(4000)]);
        drop(allocations);

        let recording = Recording::start().unwrap();
        let allocations = allocations_of_this_test();
        let mut pprof = Vec::new();
        let zipped = recording.finish(Format::Pprof).unwrap();
        flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut pprof).unwrap();
        assert!(String::from_utf8_lossy(&pprof).contains("allocations_of_this_test"));
        drop(allocations);
        let mut addresses = Vec::new();
        let zipped = stacks.addresses(Duration::from_secs(7)).unwrap();
        flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut addresses).unwrap();
        assert!(addresses.windows(11).any(|window| window == b"inuse_space"), "{addresses:?}");

        drop(Recording::start().unwrap());
        let unseen = allocations_of_this_test();
        let recording = Recording::start().expect("the one before was dropped");
        // Other tests of this process allocate too.
        let stacks = recording.stop().unwrap();
        assert!(stacks.stacks.iter().all(|stack| stack.bytes < 32 << 20), "{stacks:?}");
        drop(unseen);
    }
}
