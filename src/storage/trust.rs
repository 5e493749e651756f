//! Trust in syncs: a successful sync proves data only if no earlier sync failed and the filesystem's journal is alive.
//!
//! Linux reports a failed write-back once, to the next sync, and marks the pages clean. A failed sync therefore *taints* all data
//! written before it: a later successful sync proves nothing about that data. An aborted journal (ext4 with `errors=remount-ro`, kernel
//! 6.1) lets a sync succeed without writing anything; only a call that needs the journal fails.

use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{Errno, Handle, Open};
use crate::own::OWN;

/// The probe file: changing its length tests whether the journal is alive. It begins with the mount on which a sync has failed.
pub(crate) const PROBE: &str = "journal";

/// Bytes of the mount at the beginning of the probe.
const MOUNT_BYTES: u64 = 16;

/// Number of distinct lengths the probe is given in turn.
const LENGTHS: u64 = 1 << 30;

/// The count of failed syncs on a root's filesystem, and the probe of its journal.
#[derive(Debug)]
pub(crate) struct Trust<H> {
    failures: AtomicU64,
    probe: H,
    mount: u128,
    /// Index of the next length of the probe.
    next: AtomicU64,
}

impl<H: Handle> Trust<H> {
    /// The trust of the root `dir`, in which the node's own directory exists.
    pub(crate) fn new(dir: &H) -> Result<Self, Errno> {
        let probe = dir.open(&Path::new(OWN).join(PROBE), Open::ReadWrite)?;
        let mount = dir.filesystem()?.mount.unwrap_or(0);
        let mut failed_on = [0; MOUNT_BYTES as usize];
        let read = probe.read_at(0, &mut failed_on)?;
        // An earlier process saw a sync fail on the same mount, so the page cache is still tainted.
        let has_failed = read == failed_on.len() && mount != 0 && u128::from_le_bytes(failed_on) == mount;
        let next = AtomicU64::new(probe.stat()?.bytes.saturating_sub(MOUNT_BYTES));
        Ok(Self { failures: AtomicU64::new(u64::from(has_failed)), probe, mount, next })
    }

    /// Number of failed syncs so far. A sync proves no data that was written while the count was different.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// Records the outcome of a sync.
    pub(crate) fn note(&self, synced: Result<(), Errno>) -> Result<(), Errno> {
        if synced.is_err() && self.failures.fetch_add(1, Ordering::SeqCst) == 0 {
            // For the next process. If even this write is lost, the filesystem has to be remounted first.
            let _ = self.probe.write_at(0, &[IoSlice::new(&self.mount.to_le_bytes())]);
        }
        synced
    }

    /// Succeeds if the journal is alive. The journal was then alive at every earlier successful sync, so those syncs took effect.
    pub(crate) fn prove_journal(&self) -> Result<(), Errno> {
        // Usually one byte longer, the cheapest change. Two consecutive lengths always differ.
        let length = self.next.fetch_add(1, Ordering::Relaxed) % LENGTHS + MOUNT_BYTES + 1;
        self.note(self.probe.truncate(length))
    }
}
