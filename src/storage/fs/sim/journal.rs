//! Names and inodes, and the journal that writes them to the disk. Transactions commit one after the other, each with the changes of all files
//! since the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::cache::Cache;
use super::disk::PAGE_BYTES;
use super::errors::WriteBackErrors;
use super::volume::Volume;
use crate::fs::{Errno, FilesystemKind, Kind};

/// Identifies an inode over the whole history; its number may be reused.
pub(crate) type Key = u32;

/// The metadata of a file or directory in the journal.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) ino: u64,
    pub(super) dev: u64,
    pub(super) kind: Kind,
    pub(super) links: u64,
    /// The length as the disk has it.
    pub(super) bytes: u64,
    /// Where its pages lie.
    pub(super) extents: BTreeMap<u32, u32>,
    pub(super) attributes: Vec<(String, Vec<u8>)>,
    pub(super) entries: BTreeMap<OsString, Key>,
    pub(super) parent: Key,
    /// Of a symbolic link.
    pub(super) target: PathBuf,
    /// Names can be made in it.
    pub(super) is_writable: bool,
    pub(super) modified_ms: i64,
    pub(super) changed_ms: i64,
    pub(super) birth: (i64, u32),
}

/// A file or directory in memory.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) meta: Arc<Meta>,
    pub(super) cache: Cache,
    /// The transaction with its last change, and with the last that is needed to read its data.
    pub(super) changed_in: u64,
    pub(super) laid_out_in: u64,
    pub(super) errors: WriteBackErrors,
    pub(super) handles: u32,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The length, and where data lies: a sync of the data needs it.
    Layout,
    /// Anything else.
    Other,
}

/// The behaviour of an aborted journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aborted {
    /// As of Linux 6.1 with `errors=remount-ro`: syncs with nothing to write succeed.
    Quiet,
    /// As of later kernels: every sync fails.
    Loud,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    /// The metadata on the disk.
    pub(super) disk: BTreeMap<Key, Arc<Meta>>,
    /// Changed in the running transaction.
    pub(super) changed: BTreeSet<Key>,
    /// The number of the running transaction.
    pub(super) running: u64,
    pub(super) aborted: Option<Aborted>,
}

impl Volume {
    pub(super) fn inode(&self, key: Key) -> Result<&Inode, Errno> {
        self.inodes.get(key as usize).and_then(Option::as_ref).ok_or(Errno::STALE)
    }

    pub(super) fn inode_mut(&mut self, key: Key) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(key as usize).and_then(Option::as_mut).ok_or(Errno::STALE)
    }

    /// An error once metadata cannot be changed any more.
    pub(super) fn check_journal(&self) -> Result<(), Errno> {
        if self.journal.aborted.is_some() { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// Changes what the journal keeps of an inode. After an abort the change is of the memory only.
    pub(super) fn change(&mut self, key: Key, change: Change, apply: impl FnOnce(&mut Meta)) -> Result<(), Errno> {
        let running = self.journal.running;
        let now_ms = self.time_of_day_ms();
        let inode = self.inode_mut(key)?;
        inode.changed_in = running;
        let meta = Arc::make_mut(&mut inode.meta);
        match change {
            Change::Layout => inode.laid_out_in = running,
            Change::Other => meta.changed_ms = now_ms,
        }
        apply(meta);
        self.journal.changed.insert(key);
        Ok(())
    }

    /// Commits the running transaction, and flushes the device: what it has taken before is durable as well.
    pub(super) fn commit(&mut self) -> Result<(), Errno> {
        match self.journal.aborted {
            Some(Aborted::Quiet) => return self.flush(),
            Some(Aborted::Loud) => return Err(Errno::IO),
            None => {}
        }
        if self.journal.changed.is_empty() {
            return self.flush();
        }
        if let Err(error) = self.flush() {
            // The journal is on the same device.
            if self.random.one_in(2) {
                self.abort_journal();
            }
            return Err(error);
        }
        for key in std::mem::take(&mut self.journal.changed) {
            match self.inodes.get(key as usize).and_then(Option::as_ref).filter(|inode| inode.meta.links > 0) {
                Some(inode) => drop(self.journal.disk.insert(key, Arc::clone(&inode.meta))),
                None => drop(self.journal.disk.remove(&key)),
            }
        }
        self.journal.running += 1;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        self.device.flush(&mut self.random)
    }

    /// No metadata reaches the disk from now on.
    pub(crate) fn abort_journal(&mut self) {
        if self.journal.aborted.is_none() && self.nature.kind != FilesystemKind::Memory {
            self.device.errors += 1;
            self.journal.aborted = Some(self.abort_shows);
        }
    }

    /// Commits what of an inode is in the running transaction, or else flushes.
    pub(super) fn commit_inode(&mut self, key: Key, needs: Change) -> Result<(), Errno> {
        let inode = self.inode(key)?;
        let last = match needs {
            Change::Layout => inode.laid_out_in,
            Change::Other => inode.changed_in,
        };
        if last >= self.journal.running { self.commit() } else { self.flush() }
    }

    /// Takes the names and inodes of the disk, as a mount does.
    pub(super) fn recover(&mut self) {
        self.inodes.iter_mut().for_each(|inode| *inode = None);
        self.numbers_in_use.clear();
        self.used_blocks = 0;
        self.reserved_blocks = 0;
        self.journal.changed.clear();
        self.journal.aborted = None;
        self.journal.running += 1;
        for (key, meta) in &self.journal.disk {
            self.used_blocks += meta.extents.len() as u64;
            self.numbers_in_use.insert(meta.ino);
            self.inodes[*key as usize] = Some(Inode::new(Arc::clone(meta)));
        }
    }

    /// Forgets an inode that has neither a name nor a handle.
    pub(super) fn forget_if_unused(&mut self, key: Key) {
        let is_unused = self.inode(key).is_ok_and(|inode| inode.meta.links == 0 && inode.handles == 0);
        if let Some(inode) = self.inodes[key as usize].take_if(|_| is_unused) {
            self.used_blocks -= inode.meta.extents.len() as u64;
            self.reserved_blocks -=
                inode.cache.dirty_pages().filter(|page| !inode.meta.extents.contains_key(page)).count() as u64;
            self.numbers_in_use.remove(&inode.meta.ino);
            self.locks.remove(&key);
            self.journal.changed.insert(key);
        }
    }
}

impl Inode {
    pub(super) fn new(meta: Arc<Meta>) -> Self {
        let cache = Cache::new(meta.bytes);
        Self { meta, cache, changed_in: 0, laid_out_in: 0, errors: WriteBackErrors::default(), handles: 0 }
    }

    /// Drops metadata in memory that the disk has too, as under memory pressure.
    pub(super) fn evict(&mut self) {
        self.cache = Cache::new(self.meta.bytes);
        self.errors = WriteBackErrors::default();
    }

    pub(super) fn pages(&self) -> u32 {
        self.cache.bytes.div_ceil(PAGE_BYTES as u64) as u32
    }
}
