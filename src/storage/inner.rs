//! The state that the clones of a store and their commits share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dicom_core::Tag;

use crate::associations::Associations;
use crate::commit::KnownDirectories;
use crate::error::StoreError;
use crate::fs::{Handle, Space};
use crate::instance::Instance;
use crate::root::Root;
use crate::settings::{Placement, Settings};
use crate::space;
use crate::sync::Mutex;
use crate::temp::TempNames;

/// An open store. The last clone or commit that goes away closes it.
#[derive(Debug)]
pub(crate) struct Inner<H: Handle> {
    pub(crate) settings: Settings,
    pub(crate) placement: Placement,
    pub(crate) wanted: Arc<[Tag]>,
    pub(crate) root: Mutex<Arc<Root<H>>>,
    pub(crate) temp_names: TempNames,
    pub(crate) known_directories: KnownDirectories,
    pub(crate) associations: Associations,
    /// Instances that are being committed, by all threads.
    pub(crate) in_commit: AtomicUsize,
    /// Write-ahead logs that were found moved away or removed.
    pub(crate) wals_replaced: AtomicU64,
    /// Free space of the filesystem when it was last asked for it; [`NOT_ASKED`] before.
    pub(crate) free_bytes: AtomicU64,
}

/// No filesystem has so much free space.
pub(crate) const NOT_ASKED: u64 = u64::MAX;

impl<H: Handle> Drop for Inner<H> {
    /// A store that is closed in order leaves no work for the next start. Work that fails here is done then.
    fn drop(&mut self) {
        let root = &Arc::clone(&self.root.lock());
        if let Some(wal) = root.wal() {
            let _ = wal.checkpoint(root, &|| ());
        }
    }
}

impl<H: Handle> Inner<H> {
    /// Where and how `instance` is stored.
    pub(crate) fn placement<'a>(&'a self, instance: &'a Instance<H>) -> &'a Placement {
        instance.placement().unwrap_or(&self.placement)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks the filesystem for its space, and notes the answer for those who must not wait for one.
    pub(crate) fn space(&self, root: &Root<H>) -> Result<Space, StoreError> {
        let space = space::of(root)?;
        self.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        Ok(space)
    }

    /// The root, made sure to be the directory its path leads to. One that was removed and put back on the same
    /// filesystem is taken up again.
    pub(crate) fn root(&self) -> Result<Arc<Root<H>>, StoreError> {
        let root = Arc::clone(&self.root.lock());
        if root.was_current_lately() {
            return Ok(root);
        }
        let mut current = self.root.lock();
        if !current.is_current() {
            let reopened = current.reopen()?;
            if let (Some(before), Some(now)) = (current.wal(), reopened.wal())
                && !Arc::ptr_eq(before, now)
            {
                self.wals_replaced.fetch_add(1, Ordering::Relaxed);
            }
            self.known_directories.clear();
            *current = reopened;
        }
        Ok(Arc::clone(&current))
    }
}
