//! What keeps an instance from being written: said so that a person can remove it.

use std::path::Path;

use super::Run;
use crate::error::{Owner, StoreError};
use crate::fs::{Errno, Handle, Link};
use crate::instance::Instance;

impl<H: Handle> Run<H> {
    /// The error as an operator is to read it: with the directory that may not be written to, and without what is about a patient.
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
        let there = |directory: &&Path| self.root.dir.stat_at(directory, Link::Follow).is_ok();
        let locked = directories.into_iter().skip(1).take_while(there).find(is_locked)?;
        let stat = self.root.dir.stat_at(locked, Link::Follow).ok()?;
        Some((locked, Owner { uid: stat.uid, mode: stat.mode }))
    }
}
