//! Changes that people make to files beside the node. They meet no errors, and each act is one step.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::PAGE_BYTES;
use super::journal::{Change, Key};
use super::names::Dentry;
use super::volume::{TOP, Volume};
use crate::fs::{Errno, Kind, Link, Taken};

/// The content of a directory, as a copy keeps it.
#[derive(Debug, Clone)]
pub(crate) enum Snapshot {
    File { bytes: Vec<u8>, modified_ms: i64 },
    Link(PathBuf),
    Directory(Vec<(OsString, Snapshot)>),
}

impl Volume {
    fn reach(&self, path: &Path) -> Result<Key, Errno> {
        self.find(TOP, path, Link::NoFollow)
    }

    /// The content of the file at `path` as a process reads it; `None`: no file, or unreadable.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let key = self.reach(path).ok()?;
        self.content_of(key)
    }

    pub(crate) fn attribute_of(&self, path: &Path, name: &str) -> Option<Vec<u8>> {
        let attributes = &self.inode(self.reach(path).ok()?).ok()?.meta.attributes;
        attributes.iter().find(|(there, _)| there == name).map(|(_, value)| value.clone())
    }

    fn content_of(&self, key: Key) -> Option<Vec<u8>> {
        let inode = self.inode(key).ok().filter(|inode| inode.meta.kind == Kind::File)?;
        let mut bytes = Vec::with_capacity(inode.pages() as usize * PAGE_BYTES);
        (0..inode.pages()).for_each(|page| bytes.extend_from_slice(&self.peek(key, page)));
        bytes.truncate(inode.cache.bytes as usize);
        Some(bytes)
    }

    /// Whether a file of that name may ever have held these bytes.
    pub(crate) fn has_held(&self, name: &OsStr, bytes: &[u8]) -> bool {
        self.given.iter().any(|(given, cache)| given == name && cache.may_hold(bytes))
    }

    /// Whether the device has all that memory has of a file; also where there is none.
    pub(crate) fn is_on_device(&self, path: &Path) -> bool {
        let Ok(key) = self.reach(path) else { return true };
        let Ok(inode) = self.inode(key) else { return true };
        inode.meta.bytes == inode.cache.bytes
            && (0..inode.pages()).all(|page| self.peek(key, page) == self.peek_on_device(key, page))
    }

    /// The kind of the entry at `path`.
    pub(crate) fn kind(&self, path: &Path) -> Option<Kind> {
        self.inode(self.reach(path).ok()?).ok().map(|inode| inode.meta.kind)
    }

    /// Every file and link below `path`, relative to it.
    pub(crate) fn files_below(&self, path: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Ok(directory) = self.reach(path) {
            self.collect(directory, Path::new(""), &mut files);
        }
        files
    }

    fn collect(&self, directory: Key, path: &Path, files: &mut Vec<PathBuf>) {
        for (key, name) in self.names(directory).unwrap_or_default() {
            match self.inode(key).map(|inode| inode.meta.kind) {
                Ok(Kind::Directory) => self.collect(key, &path.join(name), files),
                _ => files.push(path.join(name)),
            }
        }
    }

    /// Writes over the end of a file, in place.
    pub(crate) fn edit(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Errno> {
        let key = self.reach(path)?;
        let at_bytes = self.inode(key)?.cache.bytes.saturating_sub(bytes.len() as u64);
        self.write_cached(key, at_bytes, bytes).map(drop)
    }

    /// Cuts a file, or makes it longer.
    pub(crate) fn resize(&mut self, path: &Path, bytes: u64) -> Result<(), Errno> {
        let key = self.reach(path)?;
        self.truncate(key, bytes)
    }

    /// Sets the time of the last change of content; that of any change nobody can set.
    pub(crate) fn set_modified(&mut self, path: &Path, modified_ms: i64) -> Result<(), Errno> {
        self.check_journal()?;
        let key = self.reach(path)?;
        self.change(key, Change::Other, |meta| meta.modified_ms = modified_ms)
    }

    pub(crate) fn modified_ms(&self, path: &Path) -> Option<i64> {
        self.inode(self.reach(path).ok()?).ok().map(|inode| inode.meta.modified_ms)
    }

    /// Whether a file was last written to longer ago than that.
    pub(crate) fn is_older_than(&self, path: &Path, ms: i64) -> bool {
        self.modified_ms(path).is_some_and(|modified_ms| self.time_of_day_ms() - modified_ms > ms)
    }

    /// Makes a file, in place of a file that is there.
    pub(crate) fn put(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Errno> {
        self.make_way(path)?;
        let dentry = self.dentry(TOP, path)?;
        if self.entry(&dentry)?.is_some() {
            self.remove(&dentry)?;
        }
        let key = self.make(&dentry, Kind::File, PathBuf::new())?;
        self.write_cached(key, 0, bytes).map(drop)
    }

    /// Replaces a file by a copy of itself, which is another inode; with the old times if it is a careful one.
    pub(crate) fn replace_by_copy(&mut self, path: &Path, keeps_times: bool) -> Result<(), Errno> {
        let bytes = self.content(path).ok_or(Errno::NOENT)?;
        let modified_ms = self.modified_ms(path).unwrap_or(0);
        self.put(path, &bytes)?;
        if keeps_times { self.set_modified(path, modified_ms) } else { Ok(()) }
    }

    /// Makes the directories on the way to `path`.
    pub(crate) fn make_way(&mut self, path: &Path) -> Result<(), Errno> {
        let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
        ancestors.reverse();
        for directory in ancestors.into_iter().filter(|path| path.file_name().is_some()) {
            if self.find(TOP, directory, Link::Follow).is_err() {
                self.put_directory(directory)?;
            }
        }
        Ok(())
    }

    pub(crate) fn put_directory(&mut self, path: &Path) -> Result<(), Errno> {
        let dentry = self.dentry(TOP, path)?;
        self.make(&dentry, Kind::Directory, PathBuf::new()).map(drop)
    }

    pub(crate) fn put_link(&mut self, path: &Path, target: &Path) -> Result<(), Errno> {
        let dentry = self.dentry(TOP, path)?;
        self.make(&dentry, Kind::Link, target.to_owned()).map(drop)
    }

    /// Makes a directory another filesystem, as a mount on it does.
    pub(crate) fn mount_over(&mut self, path: &Path) -> Result<(), Errno> {
        let key = self.reach(path)?;
        let inode = self.inode_mut(key)?;
        Arc::make_mut(&mut inode.meta).dev = 2;
        Ok(())
    }

    /// Lets nobody make or remove names in a directory, or lets them again.
    pub(crate) fn set_writable(&mut self, path: &Path, is_writable: bool) -> Result<(), Errno> {
        self.check_journal()?;
        let key = self.reach(path)?;
        self.change(key, Change::Other, |meta| meta.is_writable = is_writable)
    }

    /// Removes what is at `path`, and all below it.
    pub(crate) fn remove_all(&mut self, path: &Path) -> Result<(), Errno> {
        self.check_journal()?;
        let dentry = self.dentry(TOP, path)?;
        self.remove(&dentry)
    }

    pub(crate) fn move_to(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        self.make_way(to)?;
        let (from, to) = (self.dentry(TOP, from)?, self.dentry(TOP, to)?);
        self.rename(&from, &to, Taken::Replace)
    }

    /// Takes a copy of all below `path`, as it is read at this moment.
    pub(crate) fn snapshot(&self, path: &Path) -> Option<Snapshot> {
        let key = self.reach(path).ok()?;
        self.snapshot_of(key)
    }

    fn snapshot_of(&self, key: Key) -> Option<Snapshot> {
        let meta = Arc::clone(&self.inode(key).ok()?.meta);
        Some(match meta.kind {
            Kind::Directory => {
                let below = meta.entries.iter().filter_map(|(name, key)| Some((name.clone(), self.snapshot_of(*key)?)));
                Snapshot::Directory(below.collect())
            }
            Kind::Link => Snapshot::Link(meta.target.clone()),
            Kind::File | Kind::Other => Snapshot::File { bytes: self.content_of(key)?, modified_ms: meta.modified_ms },
        })
    }

    /// Puts a copy where nothing is: every inode of it is new.
    pub(crate) fn restore(&mut self, path: &Path, snapshot: &Snapshot) -> Result<(), Errno> {
        match snapshot {
            Snapshot::File { bytes, modified_ms } => {
                self.put(path, bytes)?;
                self.set_modified(path, *modified_ms)
            }
            Snapshot::Link(target) => self.put_link(path, target),
            Snapshot::Directory(below) => {
                self.put_directory(path)?;
                below.iter().try_for_each(|(name, snapshot)| self.restore(&path.join(name), snapshot))
            }
        }
    }

    /// `sync(1)`: what people have done lasts from now on, if the disk is well.
    pub(crate) fn sync_path(&mut self, path: &Path) -> Result<(), Errno> {
        if let Ok(key) = self.reach(path) {
            self.write_back_file(key)?;
        }
        self.commit()
    }

    /// The path of a file in the directory of another name.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.dentry(TOP, path).and_then(|dentry: Dentry| self.entry(&dentry)).is_ok_and(|entry| entry.is_some())
    }
}
