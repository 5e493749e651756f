//! The obstacle to a write, named in the error so that an operator can remove it.

use std::path::Path;

use super::Run;
use crate::error::{Owner, StoreError};
use crate::fs::{Errno, Handle, Link};
use crate::instance::Instance;

impl<H: Handle> Run<H> {
    /// The error for an operator: it names the directory that is not writable, and contains no patient data.
    pub(super) fn explain(&self, instance: &Instance<H>, error: StoreError) -> StoreError {
        let error = match error {
            StoreError::PermissionDenied { path, owner: None } => match self.locked_directory(&path) {
                Some((directory, owner)) => {
                    StoreError::PermissionDenied { path: directory.to_owned(), owner: Some(owner) }
                }
                None => StoreError::PermissionDenied { path, owner: None },
            },
            error => error,
        };
        error.map_path(|path| self.store.placement(instance).layout.loggable(path))
    }

    /// The first directory on the way to `path` that this process may not write to.
    fn locked_directory<'p>(&self, path: &'p Path) -> Option<(&'p Path, Owner)> {
        let mut directories: Vec<&Path> = path.ancestors().skip(1).collect();
        directories.reverse();
        let is_locked =
            |directory: &&Path| matches!(self.root.dir.may_write(directory), Err(Errno::ACCESS | Errno::PERM));
        // Where the root itself may not be written to, missing directories cannot be made; else the last that is there counts.
        let there = |directory: &&Path| self.root.dir.stat_at(directory, Link::NoFollow).is_ok();
        let locked = directories.into_iter().skip(1).take_while(there).find(is_locked)?;
        let stat = self.root.dir.stat_at(locked, Link::NoFollow).ok()?;
        Some((locked, Owner { uid: stat.uid, mode: stat.mode }))
    }
}
