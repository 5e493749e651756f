//! Directories: how a path leads to an inode, and how names are made and removed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::journal::{Change, Inode, Key, Meta};
use super::volume::{TOP, Volume};
use crate::fs::{Errno, Kind, Link, NS_PER_MS, Stat, Taken};

/// Symbolic links on one way.
const MAX_LINKS: u32 = 16;

/// Where a name is, or would be.
#[derive(Debug, Clone)]
pub(super) struct Dentry {
    pub(super) directory: Key,
    pub(super) name: OsString,
}

impl Volume {
    pub(super) fn make_top(&mut self) {
        let key = self.add(TOP, Kind::Directory, 1, PathBuf::new());
        debug_assert_eq!(key, TOP);
    }

    /// A new inode, without a name so far.
    pub(super) fn add(&mut self, parent: Key, kind: Kind, dev: u64, target: PathBuf) -> Key {
        let key = self.inodes.len() as Key;
        // As filesystems do, it uses a number again.
        let ino = (2..).zip(&self.numbers_in_use).find(|(free, used)| free != *used).map(|(free, _)| free);
        let ino = ino.unwrap_or(self.numbers_in_use.len() as u64 + 2);
        self.numbers_in_use.insert(ino);
        let now_ms = self.time_of_day_ms();
        let meta = Meta {
            ino,
            dev,
            kind,
            links: 1,
            bytes: 0,
            extents: BTreeMap::new(),
            attributes: Vec::new(),
            entries: BTreeMap::new(),
            parent,
            target,
            is_writable: true,
            modified_ms: now_ms,
            changed_ms: now_ms,
            birth: (now_ms / 1000, key),
        };
        let mut inode = Inode::new(Arc::new(meta));
        inode.changed_in = self.journal.running;
        inode.laid_out_in = self.journal.running;
        self.inodes.push(Some(inode));
        self.journal.changed.insert(key);
        key
    }

    fn meta(&self, key: Key) -> Result<&Meta, Errno> {
        self.inode(key).map(|inode| &*inode.meta)
    }

    pub(super) fn entry(&self, dentry: &Dentry) -> Result<Option<Key>, Errno> {
        let directory = self.meta(dentry.directory)?;
        if directory.kind != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(directory.entries.get(&dentry.name).copied())
    }

    /// The key of the entry at `path`.
    pub(super) fn find(&self, from: Key, path: &Path, link: Link) -> Result<Key, Errno> {
        self.walk(from, path, link, MAX_LINKS)
    }

    fn walk(&self, from: Key, path: &Path, link: Link, links_left: u32) -> Result<Key, Errno> {
        let mut at = from;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            match component {
                Component::RootDir | Component::Prefix(_) => at = TOP,
                Component::CurDir => {}
                Component::ParentDir => at = self.meta(at)?.parent,
                Component::Normal(name) => {
                    let dentry = Dentry { directory: at, name: name.to_owned() };
                    let found = self.entry(&dentry)?.ok_or(Errno::NOENT)?;
                    let meta = self.meta(found)?;
                    let is_followed = components.peek().is_some() || link == Link::Follow;
                    if meta.kind == Kind::Link && is_followed {
                        let links_left = links_left.checked_sub(1).ok_or(Errno::LOOP)?;
                        at = self.walk(at, &meta.target, Link::Follow, links_left)?;
                    } else {
                        at = found;
                    }
                }
            }
        }
        Ok(at)
    }

    /// The directory of `path` and the name in it.
    pub(super) fn dentry(&self, from: Key, path: &Path) -> Result<Dentry, Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        let directory = self.find(from, parent, Link::Follow)?;
        if self.meta(directory)?.kind != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(Dentry { directory, name })
    }

    fn check_writable(&self, directory: Key) -> Result<(), Errno> {
        self.check_journal()?;
        if self.meta(directory)?.is_writable { Ok(()) } else { Err(Errno::ACCESS) }
    }

    /// Whether a process may make names there.
    pub(super) fn may_write(&self, directory: Key) -> Result<(), Errno> {
        self.check_writable(directory)
    }

    /// Makes a file, directory or link where nothing is.
    pub(super) fn make(&mut self, dentry: &Dentry, kind: Kind, target: PathBuf) -> Result<Key, Errno> {
        if self.entry(dentry)?.is_some() {
            return Err(Errno::EXIST);
        }
        let directory = self.meta(dentry.directory)?;
        if directory.links == 0 {
            return Err(Errno::NOENT);
        }
        self.check_writable(dentry.directory)?;
        let dev = self.meta(dentry.directory)?.dev;
        let key = self.add(dentry.directory, kind, dev, target);
        self.enter(dentry, key)?;
        Ok(key)
    }

    /// Names an inode, in place of whatever had the name.
    fn enter(&mut self, dentry: &Dentry, key: Key) -> Result<(), Errno> {
        let now_ms = self.time_of_day_ms();
        let name = dentry.name.clone();
        self.change(dentry.directory, Change::Other, |meta| {
            meta.entries.insert(name, key);
            meta.modified_ms = now_ms;
        })
    }

    fn leave(&mut self, dentry: &Dentry) -> Result<(), Errno> {
        let now_ms = self.time_of_day_ms();
        self.change(dentry.directory, Change::Other, |meta| {
            meta.entries.remove(&dentry.name);
            meta.modified_ms = now_ms;
        })
    }

    fn unlinked(&mut self, key: Key) -> Result<(), Errno> {
        self.change(key, Change::Other, |meta| meta.links -= 1)?;
        self.forget_if_unused(key);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Dentry, to: &Dentry, taken: Taken) -> Result<(), Errno> {
        if taken == Taken::Fail && !self.nature.renames_to_free {
            return Err(Errno::INVAL);
        }
        let moved = self.entry(from)?.ok_or(Errno::NOENT)?;
        let there = self.entry(to)?;
        let to_directory = self.meta(to.directory)?;
        if to_directory.dev != self.meta(from.directory)?.dev {
            return Err(Errno::XDEV);
        }
        if to_directory.links == 0 {
            return Err(Errno::NOENT);
        }
        if there.is_some() && taken == Taken::Fail {
            return Err(Errno::EXIST);
        }
        self.check_writable(from.directory)?;
        self.check_writable(to.directory)?;
        if there == Some(moved) {
            return Ok(());
        }
        if let Some(there) = there {
            let is_directory = |key| self.meta(key).map(|meta| meta.kind == Kind::Directory);
            if is_directory(there)? && !is_directory(moved)? {
                return Err(Errno::ISDIR);
            }
        }
        let given = (to.name.clone(), self.inode(moved)?.cache.clone());
        self.given.push(given);
        self.enter(to, moved)?;
        self.leave(from)?;
        self.change(moved, Change::Other, |meta| meta.parent = to.directory)?;
        there.map_or(Ok(()), |there| self.unlinked(there))
    }

    pub(super) fn link(&mut self, from: &Dentry, to: &Dentry) -> Result<(), Errno> {
        let linked = self.entry(from)?.ok_or(Errno::NOENT)?;
        if self.entry(to)?.is_some() {
            return Err(Errno::EXIST);
        }
        let directory = self.meta(to.directory)?;
        // Linux gives no name in a directory that is removed, in whichever way.
        if directory.links == 0 {
            return Err(Errno::NOENT);
        }
        if directory.dev != self.meta(from.directory)?.dev {
            return Err(Errno::XDEV);
        }
        self.check_writable(to.directory)?;
        let given = (to.name.clone(), self.inode(linked)?.cache.clone());
        self.given.push(given);
        self.enter(to, linked)?;
        self.change(linked, Change::Other, |meta| meta.links += 1)
    }

    pub(super) fn unlink(&mut self, dentry: &Dentry) -> Result<(), Errno> {
        let gone = self.entry(dentry)?.ok_or(Errno::NOENT)?;
        if self.meta(gone)?.kind == Kind::Directory {
            return Err(Errno::ISDIR);
        }
        self.check_writable(dentry.directory)?;
        self.leave(dentry)?;
        self.unlinked(gone)
    }

    pub(super) fn remove_directory(&mut self, dentry: &Dentry) -> Result<(), Errno> {
        let gone = self.entry(dentry)?.ok_or(Errno::NOENT)?;
        let meta = self.meta(gone)?;
        if meta.kind != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        if !meta.entries.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.check_writable(dentry.directory)?;
        self.leave(dentry)?;
        self.unlinked(gone)
    }

    /// Removes a name with all that is below it, as people do.
    pub(super) fn remove(&mut self, dentry: &Dentry) -> Result<(), Errno> {
        let gone = self.entry(dentry)?.ok_or(Errno::NOENT)?;
        let below: Vec<OsString> = self.meta(gone)?.entries.keys().cloned().collect();
        for name in below {
            self.remove(&Dentry { directory: gone, name })?;
        }
        self.leave(dentry)?;
        self.unlinked(gone)
    }

    pub(super) fn stat(&self, key: Key) -> Result<Stat, Errno> {
        let inode = self.inode(key)?;
        let meta = &inode.meta;
        Ok(Stat {
            dev: meta.dev,
            ino: meta.ino,
            kind: meta.kind,
            links: meta.links,
            bytes: inode.cache.bytes,
            modified_ns: meta.modified_ms.saturating_mul(NS_PER_MS),
            changed_ns: meta.changed_ms.saturating_mul(NS_PER_MS),
            uid: 0,
            mode: if meta.kind == Kind::Directory { 0o750 } else { 0o640 },
        })
    }

    /// The names in a directory, in the order of their inodes.
    pub(super) fn names(&self, directory: Key) -> Result<Vec<(Key, &OsStr)>, Errno> {
        let meta = self.meta(directory)?;
        if meta.kind != Kind::Directory {
            return Err(Errno::NOTDIR);
        }
        let mut names: Vec<_> = meta.entries.iter().map(|(name, key)| (*key, name.as_os_str())).collect();
        names.sort_by_key(|(key, _)| *key);
        Ok(names)
    }
}
