//! The state that the steps of one batch share: store, root, directories, and the room on the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::directories::Directories;
use crate::fs::{Handle, Space};
use crate::inner::Inner;
use crate::root::Root;

/// One run over a batch. While it exists, its instances count as being committed.
#[derive(Debug)]
pub(super) struct Run<H: Handle> {
    pub(super) store: Arc<Inner<H>>,
    pub(super) root: Arc<Root<H>>,
    pub(super) directories: Directories<H>,
    /// Number of failed syncs before the first write of the batch.
    pub(super) failures: u64,
    /// Room on the disk less that of this batch, once it was needed.
    pub(super) space: Option<Space>,
    /// Instances of the batch.
    pub(super) instances: usize,
    /// Instances that were being committed when the run began, its own included.
    pub(super) in_commit: usize,
}

impl<H: Handle> Drop for Run<H> {
    fn drop(&mut self) {
        self.store.in_commit.fetch_sub(self.instances, Ordering::Relaxed);
    }
}
