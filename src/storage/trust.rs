//! What may be believed of the way to the disk.
//!
//! Linux reports a write-back that failed once, to whoever syncs next, and takes the pages for clean. So one sync that failed makes the
//! success of a later one worthless for everything that was written before it: it *taints* that. And a journal that has been aborted
//! (ext4 with `errors=remount-ro`, kernel 6.1) lets a sync succeed that did nothing; only a call that needs the journal fails.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{Errno, Handle, Open};
use crate::own::OWN;

/// The file whose length is changed to see whether the journal is alive. It begins with the mount that a sync has failed on.
pub(crate) const PROBE: &str = "journal";

/// Bytes of a mount at the beginning of the probe.
const MOUNT_BYTES: u64 = 16;

/// The probe's lengths.
const LENGTHS: u64 = 1 << 30;

/// Syncs that failed on a root's filesystem, and the proof that its journal is alive.
#[derive(Debug)]
pub(crate) struct Trust<H> {
    failures: AtomicU64,
    probe: H,
    mount: u128,
    /// Which length the probe is given next.
    next: AtomicU64,
}

impl<H: Handle> Trust<H> {
    /// For the root `dir`, which has its own directory in it.
    pub(crate) fn new(dir: &H) -> Result<Self, Errno> {
        let probe = dir.open(&Path::new(OWN).join(PROBE), Open::ReadWrite)?;
        let mount = dir.filesystem()?.mount.unwrap_or(0);
        let mut failed_on = [0; MOUNT_BYTES as usize];
        let read = probe.read_at(0, &mut failed_on)?;
        // An earlier process has learnt of a failure. The page cache is still the one that it spoke of.
        let has_failed = read == failed_on.len() && mount != 0 && u128::from_le_bytes(failed_on) == mount;
        let next = AtomicU64::new(probe.stat()?.bytes.saturating_sub(MOUNT_BYTES));
        Ok(Self { failures: AtomicU64::new(u64::from(has_failed)), probe, mount, next })
    }

    /// Syncs that have failed so far. What was written at another count is not proved by a sync.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// Takes note of the outcome of a sync.
    pub(crate) fn note(&self, synced: Result<(), Errno>) -> Result<(), Errno> {
        if synced.is_err() && self.failures.fetch_add(1, Ordering::SeqCst) == 0 {
            // For the next process. Where even this is not written, the filesystem has to be mounted again first.
            let _ = self.probe.write_at(0, &[IoSlice::new(&self.mount.to_le_bytes())]);
        }
        synced
    }

    /// Succeeds if the journal is alive. Then it was alive at every sync that has succeeded before, and these did what they say.
    pub(crate) fn prove_journal(&self) -> Result<(), Errno> {
        // Mostly longer by a byte, which is the cheapest change; no two in a row are the same.
        let length = self.next.fetch_add(1, Ordering::Relaxed) % LENGTHS + MOUNT_BYTES + 1;
        self.note(self.probe.truncate(length))
    }
}
