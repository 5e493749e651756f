//! The durable commit: instances become files, several at a time.
//!
//! For each: look whether its name is taken, write a temp file, sync it, rename it without replacing, sync the directory
//! it went to and those made on the way there. Every instance of a batch takes a step before any takes the next, so one
//! commit of the filesystem's journal serves several, and a directory is synced once.

mod directories;
mod duplicates;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use self::directories::Directories;
pub(crate) use self::directories::KnownDirectories;
use self::duplicates::{Found, examine};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::instance::{Instance, Outcome, Payload, Stored};
use crate::root::Root;
use crate::settings::{Duplicates, Durability};
use crate::space;
use crate::spool::SpoolFile;
use crate::store::Store;
use crate::temp::TempFile;

/// Most versions of one SOP Instance UID that are kept beside each other: each resend is compared with all of them.
const MAX_COPIES: u32 = 1000;

/// How often a rename is tried while others take the names seen free, or remove directories. Each time one of them got on.
const MAX_ATTEMPTS: u32 = 64;

pub(crate) fn commit(
    store: &Store,
    root: &Arc<Root>,
    batch: &[&Instance],
    pulse: &dyn Fn(),
) -> Vec<Result<Stored, StoreError>> {
    let mut commit = Commit {
        store,
        root,
        directories: Directories::new(root, &store.known_directories),
        free_bytes: None,
        shared: batch.len() > 1,
    };
    let written = each(batch, pulse, |instance| commit.write(instance));
    let synced = each(written, pulse, |written| commit.sync(written?));
    let placed = each(synced, pulse, |synced| commit.place(synced?));
    each(placed.into_iter().zip(batch), pulse, |(placed, instance)| commit.settle(instance, placed?))
}

/// Takes each through a step, with a sign of life after it.
fn each<T, U>(from: impl IntoIterator<Item = T>, pulse: &dyn Fn(), mut step: impl FnMut(T) -> U) -> Vec<U> {
    let stepped = |item| {
        let result = step(item);
        pulse();
        result
    };
    from.into_iter().map(stepped).collect()
}

/// One run over a batch.
struct Commit<'a> {
    store: &'a Store,
    root: &'a Arc<Root>,
    directories: Directories<'a>,
    /// What is free on the disk as far as this batch knows, once it had to ask.
    free_bytes: Option<u64>,
    shared: bool,
}

/// How far an instance has come.
enum Progress<'a> {
    Written(Draft<'a>),
    Named(Named),
}

/// An instance whose bytes are under a final name.
enum Named {
    Placed(Placed),
    /// Durably: by another commit of the same instance.
    Settled(Stored),
}

/// An instance whose bytes are in a temp file.
struct Draft<'a> {
    instance: &'a Instance,
    temp: Temp<'a>,
    name: FreeName,
}

/// The temp file of this commit, or the one the instance came with.
enum Temp<'a> {
    Own(TempFile),
    Spool(&'a SpoolFile),
}

/// The name an instance is to have, as far as was seen.
#[derive(Clone, Copy)]
struct FreeName {
    copy: u32,
    /// It belongs to a file with different bytes that is to be replaced.
    replaces: bool,
}

/// A final name in a directory that is yet to be synced.
struct Placed {
    stored: Stored,
    directory: usize,
}

/// What a look at the names an instance could have came to.
enum Look {
    Free(FreeName),
    Stored(Placed),
}

impl<'a> Commit<'a> {
    fn write(&mut self, instance: &'a Instance) -> Result<Progress<'a>, StoreError> {
        if let Err(decided) = instance.pass_gate(|| ()) {
            return decided.map(|stored| Progress::Named(Named::Settled(stored)));
        }
        // Before a byte is written: a resend usually needs none.
        let name = match self.look(instance)? {
            Look::Free(name) => name,
            Look::Stored(placed) => return Ok(Progress::Named(Named::Placed(placed))),
        };
        let temp = match &instance.payload {
            Payload::Spooled(spool) => {
                spool.note_digest();
                Temp::Spool(spool)
            }
            Payload::Memory(slices) => {
                let meta = instance.meta.encode();
                self.claim(meta.len() as u64 + instance.dataset_bytes())?;
                let temp = TempFile::create(self.root, &self.store.temp_names)?;
                let pieces = || std::iter::once(meta.as_slice()).chain(slices.iter().map(|slice| slice.as_ref()));
                temp.write_at(0, pieces())?;
                temp.note(Digest::of(pieces()));
                Temp::Own(temp)
            }
        };
        if self.shared && self.fsync() {
            temp.file().start_writing_out();
        }
        Ok(Progress::Written(Draft { instance, temp, name }))
    }

    /// Goes through the names the instance could have while they are taken.
    fn look(&mut self, instance: &Instance) -> Result<Look, StoreError> {
        for copy in 1..=MAX_COPIES {
            let path = self.store.settings().layout.path(&instance.meta, &instance.head, copy);
            let (parent, name) = split(&path)?;
            let Some(directory) = self.directories.open(parent)? else {
                return Ok(Look::Free(FreeName { copy, replaces: false }));
            };
            match examine(self.directories.file(directory), name, instance, self.fsync())? {
                Found::Nothing => {
                    return Ok(Look::Free(FreeName { copy, replaces: false }));
                }
                Found::Ours => {
                    return Ok(Look::Stored(Placed { stored: stored_as(copy, &path), directory }));
                }
                Found::Identical => {
                    let stored = Stored { outcome: Outcome::Identical, path };
                    return Ok(Look::Stored(Placed { stored, directory }));
                }
                Found::Different => match self.store.settings().duplicates {
                    Duplicates::Replace => {
                        return Ok(Look::Free(FreeName { copy, replaces: true }));
                    }
                    Duplicates::Refuse => return Err(StoreError::DuplicateRefused { path }),
                    Duplicates::KeepBoth => {}
                },
            }
        }
        Err(StoreError::TooManyCopies { copies: MAX_COPIES })
    }

    /// Takes `bytes` from what may be written.
    fn claim(&mut self, bytes: u64) -> Result<(), StoreError> {
        let min_free_bytes = self.store.settings().min_free_bytes;
        if min_free_bytes == 0 {
            return Ok(());
        }
        let free_bytes = match self.free_bytes {
            Some(free_bytes) => free_bytes,
            None => space::free_bytes(self.root)?,
        };
        space::check(bytes, free_bytes, min_free_bytes)?;
        self.free_bytes = Some(free_bytes - bytes);
        Ok(())
    }

    fn sync(&self, progress: Progress<'a>) -> Result<Progress<'a>, StoreError> {
        if let Progress::Written(draft) = &progress {
            match &draft.temp {
                Temp::Spool(spool) => spool.sync(self.store.settings().durability)?,
                Temp::Own(temp) if self.fsync() => temp.sync_data()?,
                Temp::Own(_) => {}
            }
        }
        Ok(progress)
    }

    fn place(&mut self, progress: Progress<'a>) -> Result<Named, StoreError> {
        let mut draft = match progress {
            Progress::Named(named) => return Ok(named),
            Progress::Written(draft) => draft,
        };
        for _ in 0..MAX_ATTEMPTS {
            let FreeName { copy, replaces } = draft.name;
            let path = self.store.settings().layout.path(&draft.instance.meta, &draft.instance.head, copy);
            let (parent, name) = split(&path)?;
            let directory = self.directories.open_or_create(parent)?;
            let renamed = match draft.rename(self.directories.file(directory), name) {
                Ok(renamed) => renamed,
                Err(decided) => return decided.map(Named::Settled),
            };
            match renamed {
                Ok(()) => {
                    fault::at(Step::Placed).map_err(|error| StoreError::new("place", &path, error))?;
                    let stored =
                        if replaces { Stored { outcome: Outcome::Replaced, path } } else { stored_as(copy, &path) };
                    return Ok(Named::Placed(Placed { stored, directory }));
                }
                // Either end may be gone: the temp file, because an earlier commit of this instance renamed it, which
                // the next look finds out; or the directory, which is then made anew.
                Err(Errno::NOENT) if !draft.temp.file().exists() => {}
                Err(Errno::NOENT) => {
                    self.directories.forget(directory);
                    continue;
                }
                Err(Errno::EXIST) if !replaces => {}
                Err(error) => return Err(StoreError::new("rename to", &path, error)),
            }
            match self.look(draft.instance)? {
                Look::Stored(placed) => return Ok(Named::Placed(placed)),
                Look::Free(_) if !draft.temp.file().exists() => {
                    return Err(StoreError::TempRemoved);
                }
                Look::Free(name) => draft.name = name,
            }
        }
        let path = self.store.settings().layout.path(&draft.instance.meta, &draft.instance.head, draft.name.copy);
        Err(StoreError::new("rename to", path, Errno::BUSY))
    }

    fn settle(&mut self, instance: &Instance, named: Named) -> Result<Stored, StoreError> {
        match named {
            Named::Settled(stored) => Ok(stored),
            Named::Placed(placed) => {
                if self.fsync() {
                    let depth = placed.stored.path.components().count().saturating_sub(1);
                    self.directories.make_durable(placed.directory, depth)?;
                }
                Ok(instance.settle(placed.stored))
            }
        }
    }

    fn fsync(&self) -> bool {
        self.store.settings().durability == Durability::Fsync
    }
}

impl Draft<'_> {
    /// Renames the temp file, unless it has been decided meanwhile what becomes of the instance: that is the outer error.
    fn rename(&self, directory: &File, name: &OsStr) -> Result<Result<(), Errno>, Result<Stored, StoreError>> {
        let temp = self.temp.file();
        self.instance.pass_gate(|| {
            fault::at(Step::Place)?;
            if self.name.replaces { temp.rename_over(directory, name) } else { temp.rename_to_free(directory, name) }
        })
    }
}

impl Temp<'_> {
    fn file(&self) -> &TempFile {
        match self {
            Temp::Own(temp) => temp,
            Temp::Spool(spool) => spool.temp(),
        }
    }
}

/// What an instance that got the name of `copy` is said to be.
fn stored_as(copy: u32, path: &Path) -> Stored {
    let outcome = if copy == 1 { Outcome::New } else { Outcome::KeptBoth { copy } };
    Stored { outcome, path: path.to_owned() }
}

/// The directory and the name in it.
fn split(path: &Path) -> Result<(&Path, &OsStr), StoreError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(StoreError::new("name a file", path, Errno::INVAL)),
    }
}
