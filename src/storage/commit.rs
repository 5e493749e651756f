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
mod naming;
mod strategy;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::directories::Directories;
pub(crate) use self::directories::KnownDirectories;
pub use self::files::Files;
use self::files::write_file;
use self::logged::{Logged, ToLog};
use self::naming::{Draft, Look, Named, Temp};
use self::strategy::Strategy;
use crate::error::StoreError;
use crate::instance::{Instance, Payload, Stored};
use crate::log::Appended;
use crate::root::Root;
use crate::settings::Durability;
use crate::space;
use crate::store::Inner;

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

    /// Whether all that is yet to be stored of it goes through the commit log, so that a write of that is all it waits for.
    pub fn is_wholly_to_log(&self) -> bool {
        let elsewhere = |progress: &Result<Progress, StoreError>| matches!(progress, Ok(Progress::Written(_)));
        self.to_log.is_some() && !self.batch.iter().any(elsewhere)
    }

    /// Writes to the commit log what goes through it of all of `commits`, together, and returns once that is on the disk;
    /// [`Self::finish`] does it for those for which nobody has. `pulse` is called as by [`Store::begin`].
    ///
    /// # Errors
    /// If the log failed. Nothing is to be done about it: [`Self::finish`] stores each another way or says that it could not.
    pub fn write_log<'c>(commits: impl IntoIterator<Item = &'c mut Self>, pulse: &dyn Fn()) -> Result<(), StoreError>
    where
        I: 'c,
    {
        let mut commits: Vec<&mut Self> = commits.into_iter().filter(|commit| commit.to_log.is_some()).collect();
        let Some(log) = commits.first().and_then(|first| first.run.root.log()).cloned() else {
            return Ok(());
        };
        // Another root may have been put in its place meanwhile.
        commits.retain(|commit| commit.run.root.log().is_some_and(|own| Arc::ptr_eq(own, &log)));
        let (entries, names): (Vec<_>, Vec<_>) =
            commits.iter().flat_map(|commit| logged::entries(&commit.instances, &commit.batch)).unzip();
        let to_log = || commits.iter().filter_map(|commit| commit.to_log.as_ref());
        // What is more than small takes a while, and another thread is a wake-up away and has none of it in its caches.
        let write_files = || to_log().for_each(|to_log| to_log.files.write(pulse));
        let is_large = to_log().any(|to_log| !to_log.files.are_small());
        let appended = log.append(&entries, &names, is_large.then_some(&write_files as &dyn Fn()));
        pulse();
        for to_log in commits.into_iter().filter_map(|commit| commit.to_log.as_mut()) {
            to_log.appended = Some(appended.clone());
        }
        match appended {
            Appended::Durable(_) | Appended::NoRoom => Ok(()),
            Appended::NotWritten(error) | Appended::NotSynced(error) => Err(error),
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
        if self.to_log.as_ref().is_some_and(|to_log| to_log.appended.is_none()) {
            let _ = Self::write_log([&mut self], pulse);
        }
        let Self { mut run, instances, batch, to_log } = self;
        let (instances, placed) = match to_log {
            Some(to_log) => run.place_logged(instances, batch, to_log, pulse, answer),
            None => (instances, batch),
        };
        let each_instance = || instances.iter().map(|instance| (**instance).as_ref());
        let shared = run.sync_filesystem(placed);
        let synced = each(each_instance().zip(shared), pulse, |(instance, shared)| run.sync(instance, shared?));
        let placed = each(each_instance().zip(synced), pulse, |(instance, synced)| run.name(instance, synced?));
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
        Ok(Progress::Written(Draft { temp: Temp::Own(temp), name, strategy, logged: None }))
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

    fn name(&mut self, instance: &Instance, progress: Progress) -> Result<Named, StoreError> {
        match progress {
            Progress::Written(draft) => self.place(instance, draft),
            Progress::Named(named) => Ok(named),
            Progress::Logged(_) => Err(StoreError::InOtherHands), // all that are have been written
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
