//! What one run over a batch works with.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directories::Directories;
use crate::fs::Handle;
use crate::inner::Inner;
use crate::root::Root;

/// One run over a batch.
#[derive(Debug)]
pub(super) struct Run<H: Handle> {
    pub(super) store: Arc<Inner<H>>,
    pub(super) root: Arc<Root<H>>,
    pub(super) directories: Directories<H>,
    /// Syncs that had failed before anything of the batch was written.
    pub(super) failures: u64,
    /// What is free on the disk as far as this batch knows, once it had to ask.
    pub(super) free_bytes: Option<u64>,
    /// In the batch.
    pub(super) instances: usize,
    /// Instances that were being committed when it began, its own among them.
    pub(super) in_commit: usize,
}

impl<H: Handle> Drop for Run<H> {
    fn drop(&mut self) {
        self.store.in_commit.fetch_sub(self.instances, Ordering::Relaxed);
    }
}
