//! The final name of an instance: a look at the possible names, and a rename.
//!
//! Invariant: the rename replaces a file only if the look found it and it may be replaced: the settings say so, or the disk may not have its
//! bytes. At a path that the look found free, no file is replaced.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::duplicates::{Found, digest_of_dataset, examine};
use super::run::Run;
use super::strategy::Strategy;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::fs::{Errno, Handle, Link};
use crate::instance::{Instance, Outcome, Payload, Stored};
use crate::paths::{Held, PathGuard};
use crate::settings::Duplicates;
use crate::spool::SpoolFile;
use crate::temp::TempFile;

/// Versions of one SOP Instance UID whose names are numbered one after the other. Each resend is compared with all of them.
const MAX_COUNTED_COPIES: u32 = 64;

/// Names beyond them that are tried for one version. Their numbers follow from the digest of its dataset, so a resend finds its version again,
/// whichever AE sends it, and no number of other versions takes all of them.
const MAX_DIGEST_NAMES: u32 = 16;

/// How often a rename is tried while others take the names seen free, or remove directories. Each failed attempt means that one of them made progress.
const MAX_ATTEMPTS: u32 = 64;

/// An instance whose bytes are under a final name.
#[derive(Debug)]
pub(super) enum Named<H: Handle> {
    Final(FinalName<H>),
    /// Durably: by another commit of the same instance.
    Settled(Stored),
}

/// The result of [`Run::rename_to_final`].
pub(super) enum Renaming<H: Handle> {
    Named(Named<H>),
    /// The log has the instance under this name, and a process that does not consult the log has taken it.
    PathTaken(Draft<H>),
}

/// An instance whose bytes are in a temp file.
#[derive(Debug)]
pub(super) struct Draft<H: Handle> {
    pub(super) temp: Temp<H>,
    pub(super) name: FreeName,
    pub(super) strategy: Strategy,
    /// Whether the log has no entry of that name that a replay could take for a later one.
    pub(super) is_log_clear: bool,
}

/// The temp file of this commit, or the spool file of the instance.
#[derive(Debug)]
pub(super) enum Temp<H: Handle> {
    Own(TempFile<H>),
    Spool(Arc<SpoolFile<H>>),
}

/// The name that an instance is to have, according to the last look.
#[derive(Debug)]
pub(super) struct FreeName {
    pub(super) copy: u32,
    /// Relative to the root.
    pub(super) path: PathBuf,
    /// The open directory that it is in, if there was one.
    directory: Option<usize>,
    /// The file at that path that is to be replaced.
    replaces: Option<Replaced>,
    /// Keeps that file from being removed.
    held: Option<Held>,
}

/// A file that is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaced {
    /// Its bytes are different.
    Different,
    /// Its bytes are the same, but not all of them are on the disk.
    Unwritten,
}

/// A final name.
#[derive(Debug)]
pub(super) struct FinalName<H: Handle> {
    pub(super) stored: Stored,
    /// The directory that still has to be synced for the name to be durable, if any.
    pub(super) directory: Option<usize>,
    /// Its file, if the file has to be synced for its name to be durable.
    pub(super) temp: Option<Temp<H>>,
    /// Keeps a file from being removed until the answer, if it was there before.
    pub(super) held: Option<Held>,
}

/// The result of a look at the names that an instance could have.
pub(super) enum Look<H: Handle> {
    Free(FreeName),
    Stored(FinalName<H>),
}

impl<H: Handle> Run<H> {
    /// Tries the possible names of the instance, beginning with the path of the `first`, while they are taken.
    pub(super) fn look(&mut self, instance: &Instance<H>, first: PathBuf) -> Result<Look<H>, StoreError> {
        let mut first = Some(first);
        for copy in 1..=MAX_COUNTED_COPIES {
            let path = first.take().unwrap_or_else(|| self.path(instance, copy));
            if let Some(look) = self.look_at(instance, copy, path)? {
                return Ok(look);
            }
        }
        // Earlier builds took the digest of the whole file, which depends on its sender. Such a name is found, and not taken anew.
        let earlier = copies_of(instance.digest()).next().unwrap_or(1);
        match self.look_at(instance, earlier, self.path(instance, earlier))? {
            None | Some(Look::Free(FreeName { replaces: None, .. })) => {}
            Some(look) => return Ok(look),
        }
        let first = self.path(instance, 1);
        let digest = digest_of_dataset(instance).map_err(|_| StoreError::new("read again", &first, Errno::IO))?;
        for copy in copies_of(digest) {
            if let Some(look) = self.look_at(instance, copy, self.path(instance, copy))? {
                return Ok(look);
            }
        }
        Err(StoreError::TooManyCopies { tried: MAX_COUNTED_COPIES + MAX_DIGEST_NAMES })
    }

    /// Looks at the name with the number `copy`; `None`: another version has it.
    fn look_at(&mut self, instance: &Instance<H>, copy: u32, path: PathBuf) -> Result<Option<Look<H>>, StoreError> {
        let free =
            |path, directory| Ok(Some(Look::Free(FreeName { copy, path, directory, replaces: None, held: None })));
        let (parent, name) = split(&path)?;
        let Some(directory) = self.directories.open(parent)? else {
            return free(path, None);
        };
        let file = self.directories.file(directory);
        // Most instances are new. This check finds that out without opening a file.
        if matches!(file.stat_at(Path::new(name), Link::NoFollow), Err(Errno::NOENT)) {
            return free(path, Some(directory));
        }
        // Before the look, so that the file that it finds is there when the answer is given.
        let held = Some(self.root.paths.hold(self.root.paths.key(&path))?);
        let found = examine(file, (&path, name), instance, self.proof(instance), &self.root.trust)?;
        let directory = Some(directory);
        let replacing = |path, replaces, held| {
            Ok(Some(Look::Free(FreeName { copy, path, directory, replaces: Some(replaces), held })))
        };
        let stored = |stored, temp, held| Ok(Some(Look::Stored(FinalName { stored, directory, temp, held })));
        match found {
            Found::Nothing => free(path, directory),
            Found::Ours => {
                let temp = self.unproved_name(instance, &path)?;
                stored(stored_as(copy, path), temp, held)
            }
            Found::Identical => stored(Stored { outcome: Outcome::Identical, path }, None, held),
            Found::Unwritten => replacing(path, Replaced::Unwritten, held),
            Found::Different => match self.store.placement(instance).duplicates {
                Duplicates::Replace => replacing(path, Replaced::Different, held),
                Duplicates::Refuse => Err(StoreError::DuplicateRefused { path }),
                Duplicates::KeepBoth => Ok(None),
            },
        }
    }

    /// The spool file that an earlier commit of this instance renamed to `path`, if the filesystem makes a name durable only by a sync of
    /// the file.
    ///
    /// # Errors
    /// If a sync has failed on this root. A later sync proves nothing, and the spool file is the only copy of the instance.
    fn unproved_name(&self, instance: &Instance<H>, path: &Path) -> Result<Option<Temp<H>>, StoreError> {
        let Payload::Spooled(spool) = &instance.payload else { return Ok(None) };
        if self.root.filesystem.kind.syncs_as_a_whole() || !self.fsync(instance) {
            return Ok(None);
        }
        if self.root.trust.failures() > 0 {
            return Err(StoreError::new("sync", path, Errno::IO));
        }
        Ok(Some(Temp::Spool(Arc::clone(spool))))
    }

    /// Renames the temp file to its final name, or finds the name that the instance already has.
    pub(super) fn rename_to_final(
        &mut self,
        instance: &Instance<H>,
        mut draft: Draft<H>,
        guard: &mut Option<PathGuard>,
    ) -> Result<Renaming<H>, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let directory = match draft.name.directory {
                Some(directory) => directory,
                None => self.directories.open_or_create(split(&draft.name.path)?.0)?,
            };
            self.guard_path(&mut draft, guard)?;
            let name = split(&draft.name.path)?.1;
            let renamed = match draft.rename(instance, self.directories.file(directory), name) {
                Ok(renamed) => renamed,
                Err(decided) => return decided.map(|stored| Renaming::Named(Named::Settled(stored))),
            };
            let FreeName { copy, replaces, ref mut path, .. } = draft.name;
            match renamed {
                Ok(()) => {
                    fault::point(Step::AfterRename).map_err(|error| StoreError::new("rename to", &path, error))?;
                    let path = std::mem::take(path);
                    let stored = match replaces {
                        Some(Replaced::Different) => Stored { outcome: Outcome::Replaced, path },
                        Some(Replaced::Unwritten) => Stored { outcome: Outcome::Identical, path },
                        None => stored_as(copy, path),
                    };
                    let directory = draft.strategy.syncs_names().then_some(directory);
                    let is_name_synced = directory.is_none() || self.root.filesystem.kind.syncs_as_a_whole();
                    let temp = (!is_name_synced).then_some(draft.temp);
                    let held = draft.name.held.take();
                    return Ok(Renaming::Named(Named::Final(FinalName { stored, directory, temp, held })));
                }
                // Either end may be gone: the temp file, because an earlier commit of this instance renamed it, which
                // the next look finds out; or the directory, which is then made anew.
                Err(Errno::NOENT) if !draft.temp.file().exists() => {}
                Err(Errno::NOENT) => {
                    self.directories.forget(directory);
                    draft.name.directory = None;
                    continue;
                }
                Err(Errno::EXIST) if replaces.is_none() => {}
                Err(error) => return Err(StoreError::new("rename to", &path, error)),
            }
            if draft.strategy == Strategy::Log {
                return Ok(Renaming::PathTaken(draft));
            }
            match self.look(instance, self.path(instance, 1))? {
                Look::Stored(named) => return Ok(Renaming::Named(Named::Final(named))),
                Look::Free(_) if !draft.temp.file().exists() => {
                    return Err(StoreError::TempRemoved);
                }
                Look::Free(name) => draft.name = name,
            }
        }
        Err(StoreError::new("rename to", draft.name.path, Errno::BUSY))
    }

    /// Reserves the final path against other commits, and clears the log of entries for it.
    fn guard_path(&self, draft: &mut Draft<H>, guard: &mut Option<PathGuard>) -> Result<(), StoreError> {
        let key = self.root.paths.key(&draft.name.path);
        if guard.as_ref().is_none_or(|guard| guard.key() != key) {
            *guard = None;
            *guard = Some(self.root.paths.claim_path(key)?);
            draft.is_log_clear = false;
        }
        if let Some(wal) = self.root.wal()
            && !draft.is_log_clear
        {
            wal.clear_of(key, &self.root)?;
            draft.is_log_clear = true;
        }
        Ok(())
    }
}

impl FreeName {
    /// Whether it is the one an instance has that is the only one of its UID.
    pub(super) fn is_first(&self) -> bool {
        self.copy == 1 && self.replaces.is_none()
    }
}

impl<H: Handle> Draft<H> {
    pub(super) fn new(temp: Temp<H>, name: FreeName, strategy: Strategy) -> Self {
        Self { temp, name, strategy, is_log_clear: false }
    }

    /// The same, whose name the instance has reserved: what the log has of that is of this instance, or goes with it.
    pub(super) fn reserved(self) -> Self {
        Self { is_log_clear: true, ..self }
    }

    /// Renames the temp file, unless the outcome of the instance was decided meanwhile: that decision is the outer error.
    fn rename(
        &self,
        instance: &Instance<H>,
        directory: &H,
        name: &OsStr,
    ) -> Result<Result<(), Errno>, Result<Stored, StoreError>> {
        let temp = self.temp.file();
        instance.rename_once(|| {
            fault::point(Step::BeforeRename)?;
            match self.name.replaces {
                Some(_) => temp.rename_over(directory, name),
                None => temp.rename_to_free(directory, name),
            }
        })
    }
}

impl<H: Handle> Temp<H> {
    pub(super) fn file(&self) -> &TempFile<H> {
        match self {
            Temp::Own(temp) => temp,
            Temp::Spool(spool) => spool.temp(),
        }
    }
}

/// The numbers beyond the counted ones that the version with this digest may have, in the order in which they are tried.
fn copies_of(digest: Digest) -> impl Iterator<Item = u32> {
    let beyond = u32::MAX - MAX_COUNTED_COPIES;
    (0..MAX_DIGEST_NAMES).map(move |attempt| {
        let [a, b, c, d, ..] = Digest::of([&digest.to_bytes()[..], &attempt.to_le_bytes()]).to_bytes();
        MAX_COUNTED_COPIES + 1 + u32::from_le_bytes([a, b, c, d]) % beyond
    })
}

/// The outcome of an instance that got the name of `copy`.
fn stored_as(copy: u32, path: PathBuf) -> Stored {
    let outcome = if copy == 1 { Outcome::New } else { Outcome::KeptBoth { copy } };
    Stored { outcome, path }
}

/// The directory and the name in it, of a path as a layout gives it. An empty directory is the root.
fn split(path: &Path) -> Result<(&Path, &OsStr), StoreError> {
    let text = path.to_str().ok_or_else(|| StoreError::new("name a file", path, Errno::INVAL))?;
    // Names are short: this is faster than a search by words.
    let (parent, name) = match text.bytes().rposition(|byte| byte == b'/') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => ("", text),
    };
    Ok((Path::new(parent), OsStr::new(name)))
}
