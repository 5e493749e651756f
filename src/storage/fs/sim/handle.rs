//! The handle of a simulated file. At every call another thread may run, and the machine may end.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::errors::Call;
use super::journal::{Change, Key};
use super::threads::{self, Time};
use super::volume::{Machine, TOP, Volume};
use crate::fs::{
    Entry, Errno, Filesystem, FilesystemKind, Handle, Identity, Kind, Link, Lock, Open, Space, Stat, Taken,
};

/// An open file or directory; a clone is the same open file.
#[derive(Debug, Clone)]
pub(crate) struct SimFile(Arc<OpenFile>);

#[derive(Debug)]
struct OpenFile {
    machine: Machine,
    process: u32,
    key: Key,
    how: Open,
    number: u64,
    /// Write-back errors that it has reported, of its file and of the filesystem.
    seen_errors: AtomicU64,
    seen_filesystem_errors: AtomicU64,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut volume = self.machine.lock();
        if volume.process != Some(self.process) {
            return; // the kernel has closed it
        }
        if let Some(locks) = volume.locks.get_mut(&self.key) {
            locks.retain(|(holder, _)| *holder != self.number);
        }
        if let Ok(inode) = volume.inode_mut(self.key) {
            inode.handles -= 1;
        }
        volume.forget_if_unused(self.key);
    }
}

impl SimFile {
    fn of(machine: &Machine, volume: &mut Volume, process: u32, key: Key, how: Open) -> Result<Self, Errno> {
        volume.next_handle += 1;
        let number = volume.next_handle;
        let seen_filesystem_errors = AtomicU64::new(volume.errors.sample());
        let inode = volume.inode_mut(key)?;
        inode.handles += 1;
        let seen_errors = AtomicU64::new(inode.errors.sample());
        Ok(Self(Arc::new(OpenFile {
            machine: Arc::clone(machine),
            process,
            key,
            how,
            number,
            seen_errors,
            seen_filesystem_errors,
        })))
    }

    /// One call, made while no other thread runs.
    fn call<T>(
        &self,
        call: Call,
        detail: impl FnOnce() -> String,
        body: impl FnOnce(&mut Volume) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        threads::pause();
        let mut volume = self.0.machine.lock();
        let was_alive = volume.process == Some(self.0.process);
        let result = volume.begin(self.0.process, call).and_then(|()| body(&mut volume));
        if was_alive {
            self.trace(call, detail, result.as_ref().err());
        }
        result
    }

    fn trace(&self, call: Call, detail: impl FnOnce() -> String, error: Option<&Errno>) {
        let raw = error.map_or(0, |error| error.raw_os_error() as u64);
        threads::mark([call as u64, u64::from(self.0.key), raw]);
        threads::note(|| {
            let error = error.map_or_else(String::new, |error| format!(" = {error:?}"));
            format!("{call:?} #{} {}{error}", self.0.key, detail())
        });
    }

    fn key(&self) -> Key {
        self.0.key
    }

    fn is_direct(&self) -> bool {
        matches!(self.0.how, Open::Direct | Open::ReadDirect)
    }

    /// The first part of a sync: writes dirty pages, while other threads run.
    fn write_out(&self, call: Call) -> Result<(), Errno> {
        self.call(call, String::new, |volume| {
            let sync_us = volume.nature.sync_us;
            threads::spend(Time::from_micros(volume.random.below(sync_us + 1)));
            let inode = volume.inode(self.key())?;
            if volume.check_journal().is_err() && inode.cache.is_dirty() {
                return Err(Errno::ROFS);
            }
            let written = volume.write_back_file(self.key());
            // Reported whether or not this call has met it.
            self.check_errors(volume).and(written)
        })
    }

    fn check_errors(&self, volume: &mut Volume) -> Result<(), Errno> {
        let mut seen_errors = self.0.seen_errors.load(Ordering::Relaxed);
        let checked = volume.inode_mut(self.key())?.errors.check(&mut seen_errors);
        self.0.seen_errors.store(seen_errors, Ordering::Relaxed);
        checked
    }

    fn sync_inode(&self, call: Call, needs: Change) -> Result<(), Errno> {
        self.write_out(call)?;
        self.call(
            call,
            || "flushes".to_owned(),
            |volume| {
                volume.fail(call)?;
                let is_directory = volume.inode(self.key())?.meta.kind == Kind::Directory;
                match volume.nature.kind {
                    FilesystemKind::Memory => return Ok(()),
                    FilesystemKind::Fuse if is_directory => return Ok(()),
                    _ => {}
                }
                volume.commit_inode(self.key(), needs)?;
                self.check_errors(volume)
            },
        )
    }

    /// Whether a transfer past the page cache is one the device can do.
    fn check_direct(&self, volume: &Volume, offset_bytes: u64, bytes: u64) -> Result<(), Errno> {
        let Some(block) = volume.nature.direct_bytes.filter(|_| self.is_direct()) else {
            return Ok(());
        };
        let is_whole = offset_bytes.is_multiple_of(block) && bytes.is_multiple_of(block);
        if is_whole { Ok(()) } else { Err(Errno::INVAL) }
    }
}

impl Handle for SimFile {
    type Entries = std::vec::IntoIter<Result<Entry, Errno>>;

    fn top() -> Result<Self, Errno> {
        let (machine, process) = threads::machine().ok_or(Errno::NOSYS)?;
        let mut volume = machine.lock();
        volume.begin(process, Call::Open)?;
        Self::of(&machine, &mut volume, process, TOP, Open::Directory)
    }

    fn open(&self, path: &Path, how: Open) -> Result<Self, Errno> {
        let call = if how == Open::New { Call::Create } else { Call::Open };
        let said = || format!("{} {how:?}", path.display());
        self.call(call, said, |volume| {
            let link = match how {
                Open::Directory | Open::Read | Open::ReadDirect => Link::Follow,
                Open::DirectoryNoFollow | Open::ReadNoFollow | Open::New | Open::ReadWrite | Open::Direct => {
                    Link::NoFollow
                }
            };
            let found = match volume.find(self.key(), path, link) {
                Ok(_) if how == Open::New => return Err(Errno::EXIST),
                Err(Errno::NOENT) if matches!(how, Open::New | Open::ReadWrite) => {
                    let dentry = volume.dentry(self.key(), path)?;
                    volume.make(&dentry, Kind::File, PathBuf::new())?
                }
                found => found?,
            };
            let kind = volume.inode(found)?.meta.kind;
            match (kind, how) {
                (Kind::Link, Open::DirectoryNoFollow) => return Err(Errno::NOTDIR),
                (Kind::Link, _) => return Err(Errno::LOOP),
                (Kind::Directory, Open::ReadWrite | Open::Direct) => return Err(Errno::ISDIR),
                (Kind::Directory, _) => {}
                (_, Open::Directory | Open::DirectoryNoFollow) => return Err(Errno::NOTDIR),
                (_, Open::Direct | Open::ReadDirect) if volume.nature.direct_bytes.is_none() => {
                    return Err(Errno::INVAL);
                }
                (_, Open::ReadWrite | Open::Direct) => volume.check_journal()?,
                _ => {}
            }
            Self::of(&self.0.machine, volume, self.0.process, found, how)
        })
    }

    fn stat(&self) -> Result<Stat, Errno> {
        self.call(Call::Look, String::new, |volume| volume.stat(self.key()))
    }

    fn stat_at(&self, path: &Path, link: Link) -> Result<Stat, Errno> {
        let said = || format!("{}", path.display());
        self.call(Call::Look, said, |volume| {
            volume.note_look(path);
            volume.stat(volume.find(self.key(), path, link)?)
        })
    }

    fn identity(&self) -> Result<Identity, Errno> {
        self.call(Call::Look, String::new, |volume| {
            let meta = &volume.inode(self.key())?.meta;
            Ok(Identity { dev: meta.dev, ino: meta.ino, birth: Some(meta.birth) })
        })
    }

    fn list(&self) -> Result<Self::Entries, Errno> {
        self.call(Call::List, String::new, |volume| {
            let lists_kinds = volume.nature.lists_kinds;
            let entry = |(key, name): (Key, &OsStr)| {
                let kind = volume.inode(key)?.meta.kind;
                Ok(Entry { name: name.to_owned(), kind: lists_kinds.then_some(kind) })
            };
            let entries: Vec<_> = volume.names(self.key())?.into_iter().map(entry).collect();
            Ok(entries.into_iter())
        })
    }

    fn may_write(&self, path: &Path) -> Result<(), Errno> {
        let may = |volume: &mut Volume| volume.may_write(volume.find(self.key(), path, Link::Follow)?);
        self.call(Call::Look, String::new, may)
    }

    fn write_at(&self, offset_bytes: u64, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let said = || format!("{bytes} at {offset_bytes}");
        self.call(Call::Write, said, |volume| {
            if matches!(
                self.0.how,
                Open::Read | Open::ReadNoFollow | Open::ReadDirect | Open::Directory | Open::DirectoryNoFollow
            ) {
                return Err(Errno::BADF);
            }
            self.check_direct(volume, offset_bytes, bytes as u64)?;
            let mut gathered = Vec::with_capacity(bytes);
            slices.iter().for_each(|slice| gathered.extend_from_slice(slice));
            match self.is_direct() {
                true => volume.write_direct(self.key(), offset_bytes, &gathered),
                false => volume.write_cached(self.key(), offset_bytes, &gathered),
            }
        })
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let bytes = buffer.len();
        let said = || format!("{bytes} at {offset_bytes}");
        self.call(Call::Read, said, |volume| {
            if volume.inode(self.key())?.meta.kind == Kind::Directory {
                return Err(Errno::ISDIR);
            }
            self.check_direct(volume, offset_bytes, bytes as u64)?;
            volume.read(self.key(), self.is_direct(), offset_bytes, buffer)
        })
    }

    fn truncate(&self, bytes: u64) -> Result<(), Errno> {
        let said = || format!("to {bytes}");
        self.call(Call::Truncate, said, |volume| {
            if volume.inode(self.key())?.cache.bytes == bytes {
                return Ok(());
            }
            volume.truncate(self.key(), bytes)
        })
    }

    fn start_write_back(&self, _: u64, _: Option<NonZeroU64>) {
        let start = |volume: &mut Volume| {
            if volume.random.one_in(2) {
                let _ = volume.write_back_file(self.key()); // it is remembered
            }
            if volume.random.one_in(2) {
                volume.drop_clean(self.key());
            }
            Ok(())
        };
        let _ = self.call(Call::StartWriteBack, String::new, start);
    }

    fn sync_data(&self) -> Result<(), Errno> {
        self.sync_inode(Call::SyncData, Change::Layout)
    }

    fn sync(&self) -> Result<(), Errno> {
        self.sync_inode(Call::Sync, Change::Other)
    }

    fn sync_filesystem(&self, progress: &dyn Fn()) -> Result<(), Errno> {
        let call = Call::SyncFilesystem;
        let dirty = self.call(call, String::new, |volume| {
            if !volume.nature.kind.syncs_as_a_whole() {
                return Ok(Vec::new());
            }
            let is_dirty = |key: &Key| volume.inode(*key).is_ok_and(|inode| inode.cache.is_dirty());
            Ok(volume.live().filter(is_dirty).collect())
        })?;
        for key in dirty {
            self.call(
                call,
                || format!("writes #{key}"),
                |volume| {
                    let _ = volume.write_back_file(key); // it is remembered
                    Ok(())
                },
            )?;
            progress();
        }
        self.call(
            call,
            || "flushes".to_owned(),
            |volume| {
                if !volume.nature.kind.syncs_as_a_whole() {
                    return Ok(());
                }
                let sync_us = volume.nature.sync_us;
                threads::spend(Time::from_micros(volume.random.below(sync_us + 1)));
                volume.fail(call)?;
                let committed = volume.commit();
                let mut seen_errors = self.0.seen_filesystem_errors.load(Ordering::Relaxed);
                let checked = volume.errors.check(&mut seen_errors);
                self.0.seen_filesystem_errors.store(seen_errors, Ordering::Relaxed);
                committed.and(checked)
            },
        )
    }

    fn make_directory(&self, path: &Path) -> Result<(), Errno> {
        let said = || format!("{}", path.display());
        self.call(Call::MakeDirectory, said, |volume| {
            if volume.find(self.key(), path, Link::NoFollow).is_ok() {
                return Err(Errno::EXIST);
            }
            let dentry = volume.dentry(self.key(), path)?;
            volume.make(&dentry, Kind::Directory, PathBuf::new()).map(drop)
        })
    }

    fn rename(&self, name: &OsStr, to: &Self, to_path: &Path, taken: Taken) -> Result<(), Errno> {
        let said = || format!("to #{} {} {taken:?}", to.key(), to_path.display());
        self.call(Call::Rename, said, |volume| {
            let from = volume.dentry(self.key(), Path::new(name))?;
            let to = volume.dentry(to.key(), to_path)?;
            volume.rename(&from, &to, taken)
        })
    }

    fn link(&self, name: &OsStr, to: &Self, to_path: &Path) -> Result<(), Errno> {
        let said = || format!("to #{} {}", to.key(), to_path.display());
        self.call(Call::Link, said, |volume| {
            let from = volume.dentry(self.key(), Path::new(name))?;
            let to = volume.dentry(to.key(), to_path)?;
            volume.link(&from, &to)
        })
    }

    fn unlink(&self, name: &OsStr) -> Result<(), Errno> {
        self.call(Call::Unlink, String::new, |volume| {
            let dentry = volume.dentry(self.key(), Path::new(name))?;
            volume.unlink(&dentry)
        })
    }

    fn remove_directory(&self, name: &OsStr) -> Result<(), Errno> {
        self.call(Call::Unlink, String::new, |volume| {
            let dentry = volume.dentry(self.key(), Path::new(name))?;
            volume.remove_directory(&dentry)
        })
    }

    /// The simulated machine has no modes and groups.
    fn set_access(&self, _: Option<u32>, _: Option<u32>) -> Result<(), Errno> {
        Ok(())
    }

    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<(), Errno> {
        self.call(Call::SetAttribute, String::new, |volume| {
            if !volume.nature.has_attributes {
                return Err(Errno::OPNOTSUPP);
            }
            volume.check_journal()?;
            volume.change(self.key(), Change::Other, |meta| {
                meta.attributes.retain(|(there, _)| there != name);
                meta.attributes.push((name.to_owned(), value.to_owned()));
            })
        })
    }

    fn attribute(&self, name: &str, value: &mut [u8]) -> Result<usize, Errno> {
        self.call(Call::Attribute, String::new, |volume| {
            let attributes = &volume.inode(self.key())?.meta.attributes;
            let (_, found) = attributes.iter().find(|(there, _)| there == name).ok_or(Errno::NODATA)?;
            value.get_mut(..found.len()).ok_or(Errno::RANGE)?.copy_from_slice(found);
            Ok(found.len())
        })
    }

    fn space(&self) -> Result<Space, Errno> {
        self.call(Call::Space, String::new, |volume| Ok(volume.space()))
    }

    fn filesystem(&self) -> Result<Filesystem, Errno> {
        self.call(Call::Look, String::new, |volume| Ok(volume.filesystem()))
    }

    fn take_lock(&self, lock: Lock) -> Result<(), Errno> {
        self.call(Call::Lock, String::new, |volume| {
            let is_exclusive = lock == Lock::Exclusive;
            let locks = volume.locks.entry(self.key()).or_default();
            let others = locks.iter().filter(|(holder, _)| *holder != self.0.number);
            if others.into_iter().any(|(_, exclusive)| *exclusive || is_exclusive) {
                return Err(Errno::WOULDBLOCK);
            }
            locks.retain(|(holder, _)| *holder != self.0.number);
            locks.push((self.0.number, is_exclusive));
            Ok(())
        })
    }
}
