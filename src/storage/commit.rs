//! The durable commit: instances become files, several at a time.
//!
//! For each: look whether its name is taken, write a temp file, sync it, rename it without replacing, sync the directory
//! it went to and those made on the way there. Every instance of a batch takes a step before any takes the next, so one
//! commit of the filesystem's journal serves several, and a directory is synced once. What goes through the commit log is
//! written to that instead of synced, by one write for several batches; its temp file is written meanwhile, and gets its name before
//! the others get theirs.

mod directories;
mod duplicates;
mod files;
mod logged;
mod strategy;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use self::directories::Directories;
pub(crate) use self::directories::KnownDirectories;
use self::duplicates::{Found, examine};
pub use self::files::Files;
use self::files::write_file;
use self::logged::{Logged, ToLog};
use self::strategy::Strategy;
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::instance::{Instance, Outcome, Payload, Stored};
use crate::log::Name;
use crate::root::Root;
use crate::settings::{Duplicates, Durability};
use crate::space;
use crate::spool::SpoolFile;
use crate::store::Inner;
use crate::temp::TempFile;

/// Most versions of one SOP Instance UID that are kept beside each other: each resend is compared with all of them.
const MAX_COPIES: u32 = 1000;

/// How often a rename is tried while others take the names seen free, or remove directories. Each time one of them got on.
const MAX_ATTEMPTS: u32 = 64;

/// A batch on its way: written as far as it does not go through the commit log. What is left, [`Commit::finish`] does.
#[derive(Debug)]
#[must_use = "an instance is stored when the commit is finished"]
pub struct Commit<I> {
    run: Run,
    instances: Vec<I>,
    /// How far each has come.
    batch: Batch,
    /// Those that go through the log.
    to_log: Option<ToLog<I>>,
}

type Batch = Vec<Result<Progress, StoreError>>;

impl<I: Deref<Target: AsRef<Instance>> + Clone> Commit<I> {
    pub(crate) fn begin(store: Arc<Inner>, root: Arc<Root>, instances: Vec<I>, pulse: &dyn Fn()) -> Self {
        let mut run = Run {
            directories: Directories::new(Arc::clone(&root)),
            root,
            free_bytes: None,
            instances: instances.len(),
            in_commit: store.in_commit.fetch_add(instances.len(), Ordering::Relaxed) + instances.len(),
            store,
        };
        let mut batch = each(instances.iter(), pulse, |instance| run.write((**instance).as_ref()));
        let to_log = run.prepare_log(&instances, &mut batch, pulse);
        Self { run, instances, batch, to_log }
    }

    /// Instances in it.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// Whether all that is yet to be stored of it goes through the commit log, so that a write of that is all it waits for.
    pub fn is_wholly_to_log(&self) -> bool {
        let elsewhere = |progress: &Result<Progress, StoreError>| matches!(progress, Ok(Progress::Written(_)));
        self.to_log.is_some() && !self.batch.iter().any(elsewhere)
    }

    /// Writes to the commit log what goes through it of all of `commits`, together, and returns once that is on the disk;
    /// [`Self::finish`] does it for those for which nobody has. `pulse` is called as by [`Store::begin`].
    pub fn write_log<'c>(commits: impl IntoIterator<Item = &'c mut Self>, pulse: &dyn Fn())
    where
        I: 'c,
    {
        let mut commits: Vec<&mut Self> = commits.into_iter().filter(|commit| commit.to_log.is_some()).collect();
        let Some(log) = commits.first().and_then(|first| first.run.root.log()).cloned() else {
            return;
        };
        // Another root may have been put in its place meanwhile.
        commits.retain(|commit| commit.run.root.log().is_some_and(|own| Arc::ptr_eq(own, &log)));
        let (entries, names): (Vec<_>, Vec<_>) =
            commits.iter().flat_map(|commit| logged::entries(&commit.instances, &commit.batch)).unzip();
        let to_log = || commits.iter().filter_map(|commit| commit.to_log.as_ref());
        // What is more than small takes a while, and another thread is a wake-up away and has none of it in its caches.
        let write_files = || to_log().for_each(|to_log| to_log.files.write(pulse));
        let is_large = to_log().any(|to_log| !to_log.files.are_small());
        let written = log.append(&entries, &names, is_large.then_some(&write_files as &dyn Fn()));
        pulse();
        for to_log in commits.into_iter().filter_map(|commit| commit.to_log.as_mut()) {
            to_log.written = Some(written.clone());
        }
    }

    /// The files of what goes through the commit log: there is time for them while that is written. [`Self::finish`] writes them if
    /// nobody has.
    pub fn files(&self) -> Option<Files<I>> {
        self.to_log.as_ref().map(|to_log| to_log.files.clone())
    }

    /// Gives every instance its name, durably if the settings ask for that, and answers for each by itself, in order and as soon as it
    /// can. `pulse` is called as by [`Store::begin`].
    pub fn finish(mut self, pulse: &dyn Fn(), answer: &mut dyn FnMut(Result<Stored, StoreError>)) {
        if self.to_log.as_ref().is_some_and(|to_log| to_log.written.is_none()) {
            Self::write_log([&mut self], pulse);
        }
        let Self { mut run, instances, batch, to_log } = self;
        let (instances, placed) = match to_log {
            Some(to_log) => run.place_logged(instances, batch, to_log, pulse, answer),
            None => (instances, batch),
        };
        let each_instance = || instances.iter().map(|instance| (**instance).as_ref());
        let shared = run.sync_filesystem(placed);
        let synced = each(each_instance().zip(shared), pulse, |(instance, shared)| run.sync(instance, shared?));
        let placed = each(each_instance().zip(synced), pulse, |(instance, synced)| run.place(instance, synced?));
        for (instance, placed) in instances.into_iter().zip(placed) {
            let outcome = run.conclude((*instance).as_ref(), placed);
            drop(instance); // who hears of it may count on its memory
            answer(outcome);
            pulse();
        }
    }
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
#[derive(Debug)]
struct Run {
    store: Arc<Inner>,
    root: Arc<Root>,
    directories: Directories,
    /// What is free on the disk as far as this batch knows, once it had to ask.
    free_bytes: Option<u64>,
    /// In the batch.
    instances: usize,
    /// Instances that were being committed when it began, its own among them.
    in_commit: usize,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.store.in_commit.fetch_sub(self.instances, Ordering::Relaxed);
    }
}

/// How far an instance has come.
#[derive(Debug)]
enum Progress {
    Logged(Logged),
    Written(Draft),
    Named(Named),
}

/// An instance whose bytes are under a final name.
#[derive(Debug)]
enum Named {
    Placed(Placed),
    /// Durably: by another commit of the same instance.
    Settled(Stored),
}

/// An instance whose bytes are in a temp file.
#[derive(Debug)]
struct Draft {
    temp: Temp,
    name: FreeName,
    strategy: Strategy,
    /// What it has in the log, if it went there.
    logged: Option<Name>,
}

/// The temp file of this commit, or the one the instance came with.
#[derive(Debug)]
enum Temp {
    Own(TempFile),
    Spool(Arc<SpoolFile>),
}

/// The name an instance is to have, as far as was seen.
#[derive(Debug)]
struct FreeName {
    copy: u32,
    /// Below the root.
    path: PathBuf,
    /// It belongs to a file with different bytes that is to be replaced.
    replaces: bool,
}

/// A final name.
#[derive(Debug)]
struct Placed {
    stored: Stored,
    /// What is yet to be synced for it to last, if anything is.
    directory: Option<usize>,
}

/// What a look at the names an instance could have came to.
enum Look {
    Free(FreeName),
    Stored(Placed),
}

impl Run {
    fn write(&mut self, instance: &Instance) -> Result<Progress, StoreError> {
        let in_memory = !matches!(instance.payload, Payload::Spooled(_));
        let has_log = in_memory && self.root.log().is_some();
        let bytes = instance.dataset_bytes();
        let (durability, wish) = (self.store.placement(instance).durability, self.store.settings().commit);
        let strategy = match Strategy::choose(durability, wish, has_log, bytes, self.in_commit) {
            Strategy::Shared if !in_memory => Strategy::PerFile,
            strategy => strategy,
        };
        self.write_by(strategy, instance)
    }

    fn write_by(&mut self, mut strategy: Strategy, instance: &Instance) -> Result<Progress, StoreError> {
        if let Err(decided) = instance.pass_gate(|| ()) {
            return decided.map(|stored| Progress::Named(Named::Settled(stored)));
        }
        // Before the look, so that what it says of the name holds as far as those go who ask the log.
        let first = self.path(instance, 1);
        let mut reserved = match self.root.log() {
            Some(log) if strategy == Strategy::Log => log.reserve(&first),
            _ => None,
        };
        // Before a byte is written: a resend usually needs none.
        let name = match self.look(instance, first)? {
            Look::Free(name) => name,
            Look::Stored(placed) => return Ok(Progress::Named(Named::Placed(placed))),
        };
        if let Payload::Spooled(spool) = &instance.payload {
            spool.temp().note(instance.digest());
            let temp = Temp::Spool(Arc::clone(spool));
            return Ok(Progress::Written(Draft { temp, name, strategy, logged: None }));
        }
        self.claim(instance.file_bytes())?;
        // Only what is new goes through the log: a file that is there may be somebody's who does not ask it.
        if let Some(reserved) = reserved.take_if(|_| name.is_first()) {
            return Ok(Progress::Logged(Logged { name, reserved }));
        }
        if strategy == Strategy::Log {
            strategy = Strategy::PerFile;
        }
        let temp = write_file(&self.store, &self.root, instance, strategy == Strategy::PerFile)?;
        if strategy == Strategy::PerFile && self.instances > 1 {
            temp.start_writing_out();
        }
        Ok(Progress::Written(Draft { temp: Temp::Own(temp), name, strategy, logged: None }))
    }

    /// Goes through the names the instance could have while they are taken, from the path of the `first` on.
    fn look(&mut self, instance: &Instance, first: PathBuf) -> Result<Look, StoreError> {
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

    /// Takes `bytes` from what may be written.
    fn claim(&mut self, bytes: u64) -> Result<(), StoreError> {
        let min_free_bytes = self.store.settings().min_free_bytes;
        if min_free_bytes == 0 {
            return Ok(());
        }
        let free_bytes = match self.free_bytes {
            Some(free_bytes) => free_bytes,
            None => space::free_bytes(&self.root)?,
        };
        space::check(bytes, free_bytes, min_free_bytes)?;
        self.free_bytes = Some(free_bytes - bytes);
        Ok(())
    }

    /// Syncs once for all that share it.
    fn sync_filesystem(&self, mut batch: Batch) -> Batch {
        let shares = |progress: &Result<Progress, StoreError>| matches!(progress, Ok(Progress::Written(draft)) if draft.strategy == Strategy::Shared);
        if batch.iter().any(shares)
            && let Err(error) = self.root.sync_filesystem()
        {
            batch.iter_mut().filter(|progress| shares(progress)).for_each(|failed| *failed = Err(error.clone()));
        }
        batch
    }

    fn sync(&self, instance: &Instance, progress: Progress) -> Result<Progress, StoreError> {
        if let Progress::Written(draft) = &progress {
            match &draft.temp {
                Temp::Spool(spool) => spool.sync(self.store.placement(instance).durability)?,
                Temp::Own(temp) if draft.strategy == Strategy::PerFile => temp.sync_data()?,
                Temp::Own(_) => {}
            }
        }
        Ok(progress)
    }

    fn place(&mut self, instance: &Instance, progress: Progress) -> Result<Named, StoreError> {
        let mut draft = match progress {
            Progress::Named(named) => return Ok(named),
            Progress::Written(draft) => draft,
            Progress::Logged(_) => return Err(StoreError::InOtherHands), // all that are have been written
        };
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
    fn conclude(&mut self, instance: &Instance, named: Result<Named, StoreError>) -> Result<Stored, StoreError> {
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

    fn fsync(&self, instance: &Instance) -> bool {
        self.store.placement(instance).durability == Durability::Fsync
    }

    /// The path of the `copy`th version of an instance.
    fn path(&self, instance: &Instance, copy: u32) -> PathBuf {
        self.store.placement(instance).layout.path(&instance.meta, &instance.head, copy)
    }
}

impl FreeName {
    /// Whether it is the one an instance has that is the only one of its UID.
    fn is_first(&self) -> bool {
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
