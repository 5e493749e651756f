//! The obstacle to a write, named in the error so that an operator can remove it.

use std::path::Path;

use super::Run;
use crate::error::{Owner, StoreError};
use crate::fs::{Errno, Handle, Kind, Link};
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
            StoreError::Obstructed { path, source } => {
                StoreError::Obstructed { path: self.in_the_way(&path).unwrap_or(&path).to_owned(), source }
            }
            error => error,
        };
        error.map_path(|path| self.store.placement(instance).layout.loggable(path))
    }

    /// The first name on the way to `path`, or `path` itself, that is no directory.
    fn in_the_way<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let mut way: Vec<&Path> = path.ancestors().filter(|way| !way.as_os_str().is_empty()).collect();
        way.reverse();
        let is_in_the_way = |way: &&Path| {
            let stat = self.root.dir.stat_at(way, Link::NoFollow);
            stat.is_ok_and(|stat| stat.kind != Kind::Directory)
        };
        way.into_iter().find(is_in_the_way)
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
