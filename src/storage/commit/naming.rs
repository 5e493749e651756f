//! How an instance gets its final name: a look at the names it could have, and a rename that replaces nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::Run;
use super::duplicates::{Found, examine};
use super::strategy::Strategy;
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::instance::{Instance, Outcome, Stored};
use crate::log::Name;
use crate::settings::Duplicates;
use crate::spool::SpoolFile;
use crate::temp::TempFile;

/// Most versions of one SOP Instance UID that are kept beside each other: each resend is compared with all of them.
const MAX_COPIES: u32 = 1000;

/// How often a rename is tried while others take the names seen free, or remove directories. Each time one of them got on.
const MAX_ATTEMPTS: u32 = 64;

/// An instance whose bytes are under a final name.
#[derive(Debug)]
pub(super) enum Named {
    Placed(Placed),
    /// Durably: by another commit of the same instance.
    Settled(Stored),
}

/// An instance whose bytes are in a temp file.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) temp: Temp,
    pub(super) name: FreeName,
    pub(super) strategy: Strategy,
    /// What it has in the log, if it went there.
    pub(super) logged: Option<Name>,
}

/// The temp file of this commit, or the one the instance came with.
#[derive(Debug)]
pub(super) enum Temp {
    Own(TempFile),
    Spool(Arc<SpoolFile>),
}

/// The name an instance is to have, as far as was seen.
#[derive(Debug)]
pub(super) struct FreeName {
    pub(super) copy: u32,
    /// Below the root.
    pub(super) path: PathBuf,
    /// It belongs to a file with different bytes that is to be replaced.
    replaces: bool,
}

/// A final name.
#[derive(Debug)]
pub(super) struct Placed {
    stored: Stored,
    /// What is yet to be synced for it to last, if anything is.
    directory: Option<usize>,
}

/// What a look at the names an instance could have came to.
pub(super) enum Look {
    Free(FreeName),
    Stored(Placed),
}

impl Run {
    /// Goes through the names the instance could have while they are taken, from the path of the `first` on.
    pub(super) fn look(&mut self, instance: &Instance, first: PathBuf) -> Result<Look, StoreError> {
        let mut first = Some(first);
        for copy in 1..=MAX_COPIES {
            let path = first.take().unwrap_or_else(|| self.path(instance, copy));
            // Most instances are new, and that is found out without opening anything.
            if self.is_free(&path) {
                return Ok(Look::Free(FreeName { copy, path, replaces: false }));
            }
            let (parent, name) = split(&path)?;
            let Some(directory) = self.directories.open(parent)? else {
                return Ok(Look::Free(FreeName { copy, path, replaces: false }));
            };
            match examine(self.directories.file(directory), (&path, name), instance, self.fsync(instance))? {
                Found::Nothing => {
                    return Ok(Look::Free(FreeName { copy, path, replaces: false }));
                }
                Found::Ours => {
                    let stored = stored_as(copy, path);
                    return Ok(Look::Stored(Placed { stored, directory: Some(directory) }));
                }
                Found::Identical => {
                    let stored = Stored { outcome: Outcome::Identical, path };
                    return Ok(Look::Stored(Placed { stored, directory: Some(directory) }));
                }
                Found::Different => match self.store.placement(instance).duplicates {
                    Duplicates::Replace => {
                        return Ok(Look::Free(FreeName { copy, path, replaces: true }));
                    }
                    Duplicates::Refuse => return Err(StoreError::DuplicateRefused { path }),
                    Duplicates::KeepBoth => {}
                },
            }
        }
        Err(StoreError::TooManyCopies { copies: MAX_COPIES })
    }

    /// Whether nothing stands at `path`, as far as one look tells.
    fn is_free(&self, path: &Path) -> bool {
        matches!(rustix::fs::statat(&self.root.dir, path, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
    }

    /// Gives it its name, or finds out which it has.
    pub(super) fn place(&mut self, instance: &Instance, mut draft: Draft) -> Result<Named, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let path = draft.name.path.clone();
            // A name that need not be synced is given from the root on, without opening its directory.
            let directory = match draft.strategy.syncs_names() {
                true => Some(self.directories.open_or_create(parent(&path)?)?),
                false => None,
            };
            let _alone = match (self.root.log(), &draft.logged) {
                (Some(log), None) => Some(log.claim(&path)?),
                _ => None,
            };
            let (from, name) = match directory {
                Some(directory) => (self.directories.file(directory), split(&path)?.1),
                None => (&self.root.dir, path.as_os_str()),
            };
            let renamed = match draft.rename(instance, from, name) {
                Ok(renamed) => renamed,
                Err(decided) => return decided.map(Named::Settled),
            };
            let FreeName { copy, replaces, .. } = draft.name;
            match renamed {
                Ok(()) => {
                    fault::at(Step::Placed).map_err(|error| StoreError::new("place", &path, error))?;
                    let stored =
                        if replaces { Stored { outcome: Outcome::Replaced, path } } else { stored_as(copy, path) };
                    return Ok(Named::Placed(Placed { stored, directory }));
                }
                // Either end may be gone: the temp file, because an earlier commit of this instance renamed it, which
                // the next look finds out; or the directory, which is then made anew.
                Err(Errno::NOENT) if !draft.temp.file().exists() => {}
                Err(Errno::NOENT) => {
                    match directory {
                        Some(directory) => self.directories.forget(directory),
                        None => self.directories.create(parent(&path)?)?,
                    }
                    continue;
                }
                Err(Errno::EXIST) if !replaces => {}
                Err(error) => return Err(StoreError::new("rename to", &path, error)),
            }
            if draft.logged.is_some() {
                return Err(StoreError::InOtherHands); // the log knows it under this name: see `log`
            }
            match self.look(instance, self.path(instance, 1))? {
                Look::Stored(placed) => return Ok(Named::Placed(placed)),
                Look::Free(_) if !draft.temp.file().exists() => {
                    return Err(StoreError::TempRemoved);
                }
                Look::Free(name) => draft.name = name,
            }
        }
        Err(StoreError::new("rename to", draft.name.path, Errno::BUSY))
    }

    /// What is to be said of an instance that has its name, or never will.
    pub(super) fn conclude(
        &mut self,
        instance: &Instance,
        named: Result<Named, StoreError>,
    ) -> Result<Stored, StoreError> {
        named
            .and_then(|named| self.settle(instance, named))
            .map_err(|error| error.map_path(|path| self.store.placement(instance).layout.loggable(path)))
    }

    fn settle(&mut self, instance: &Instance, named: Named) -> Result<Stored, StoreError> {
        match named {
            Named::Settled(stored) => Ok(stored),
            Named::Placed(placed) => {
                if let Some(directory) = placed.directory.filter(|_| self.fsync(instance)) {
                    let depth = placed.stored.path.components().count().saturating_sub(1);
                    self.directories.make_durable(directory, depth, &self.store.known_directories)?;
                }
                Ok(instance.settle(placed.stored))
            }
        }
    }
}

impl FreeName {
    /// Whether it is the one an instance has that is the only one of its UID.
    pub(super) fn is_first(&self) -> bool {
        self.copy == 1 && !self.replaces
    }
}

impl Draft {
    /// Renames the temp file, unless it has been decided meanwhile what becomes of the instance: that is the outer error.
    fn rename(
        &self,
        instance: &Instance,
        directory: &File,
        name: &OsStr,
    ) -> Result<Result<(), Errno>, Result<Stored, StoreError>> {
        let temp = self.temp.file();
        instance.pass_gate(|| {
            fault::at(Step::Place)?;
            if self.name.replaces { temp.rename_over(directory, name) } else { temp.rename_to_free(directory, name) }
        })
    }
}

impl Temp {
    fn file(&self) -> &TempFile {
        match self {
            Temp::Own(temp) => temp,
            Temp::Spool(spool) => spool.temp(),
        }
    }
}

/// What an instance that got the name of `copy` is said to be.
fn stored_as(copy: u32, path: PathBuf) -> Stored {
    let outcome = if copy == 1 { Outcome::New } else { Outcome::KeptBoth { copy } };
    Stored { outcome, path }
}

/// The directory a name is in.
fn parent(path: &Path) -> Result<&Path, StoreError> {
    split(path).map(|(parent, _)| parent)
}

/// The directory and the name in it.
fn split(path: &Path) -> Result<(&Path, &OsStr), StoreError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(StoreError::new("name a file", path, Errno::INVAL)),
    }
}
