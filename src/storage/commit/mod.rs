//! The durable commit: it turns a batch of instances into files.
//!
//! The steps of an instance: check whether its name is taken, write a temp file, sync the file, rename it without replacing, sync its
//! directory and the directories created above it. All [`Item`]s of a batch take one step before any takes the next, so one commit of
//! the filesystem's journal serves several items, and a directory is synced once. An instance that goes through the write-ahead log is
//! not synced: a group commit appends it, one frame for several batches. Its temp file is written meanwhile and renamed before the other
//! temp files of the batch. Each item is answered separately, in order, and as early as possible.

mod directories;
mod duplicates;
mod files;
mod logged;
mod naming;
mod obstacle;
mod run;
mod strategy;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::directories::Directories;
pub(crate) use self::directories::KnownDirectories;
pub use self::files::Files;
use self::files::write_file;
use self::naming::{Draft, FinalName, FreeName, Look, Named, Renaming, Temp};
use self::run::Run;
use self::strategy::Strategy;
use crate::error::StoreError;
use crate::fs::Handle;
use crate::inner::Inner;
use crate::instance::{Instance, Payload, Stored};
use crate::paths::PathGuard;
use crate::root::Root;
use crate::settings::Durability;
use crate::space;
use crate::wal::Appended;

/// A batch whose temp files are written, except those of items that go through the write-ahead log. [`Commit::finish`] does the rest.
#[derive(Debug)]
#[must_use = "an instance is stored when the commit is finished"]
pub struct Commit<I, H: Handle = File> {
    run: Run<H>,
    /// The unanswered items, in order.
    items: VecDeque<Item<I, H>>,
    /// The files of the items that go through the log, if there are any.
    files: Option<Files<I, H>>,
    /// The outcome of appending those items to the log, once that was tried.
    appended: Option<Appended<H>>,
}

/// An instance of a batch.
#[derive(Debug)]
struct Item<I, H: Handle> {
    instance: I,
    state: State<H>,
    /// The reservation of its path. A refused item keeps it until its entry in the log is void, so that another commit of the path comes
    /// after that.
    guard: Option<PathGuard>,
    /// The path under which the log may have an entry of this item. If the item is refused, the entry is voided first, so that no replay
    /// applies it.
    entry: Option<PathBuf>,
}

/// The progress of an item.
#[derive(Debug)]
enum State<H: Handle> {
    /// The instance is new and goes through the log. It has no name yet.
    Logged(FreeName),
    /// The instance is in a temp file.
    Written(Draft<H>),
    /// The file has its final name, which may still have to be synced.
    Named(Named<H>),
    Failed(StoreError),
}

impl<I: Deref<Target: AsRef<Instance<H>>> + Clone, H: Handle> Commit<I, H> {
    pub(crate) fn begin(store: Arc<Inner<H>>, root: Arc<Root<H>>, instances: Vec<I>, progress: &dyn Fn()) -> Self {
        let mut run = Run {
            directories: Directories::new(Arc::clone(&root)),
            failures: root.trust.failures(),
            root,
            free_bytes: None,
            instances: instances.len(),
            in_commit: store.in_commit.fetch_add(instances.len(), Ordering::Relaxed) + instances.len(),
            store,
        };
        let mut items: VecDeque<_> = instances
            .into_iter()
            .map(|instance| {
                let mut guard = None;
                let state = run.write((*instance).as_ref(), &mut guard).unwrap_or_else(State::Failed);
                progress();
                Item { instance, state, guard, entry: None }
            })
            .collect();
        let files = run.prepare_log(&mut items, progress);
        Self { run, items, files, appended: None }
    }

    /// Whether every item still to be stored goes through the log, so that the batch waits for a frame only.
    pub fn is_wholly_to_log(&self) -> bool {
        self.files.is_some() && !self.items.iter().any(|item| matches!(item.state, State::Written(_)))
    }

    /// The files of the items that go through the log. Other threads may write them while the frame is written; [`Self::finish`] writes
    /// those that remain.
    pub fn files(&self) -> Option<Files<I, H>> {
        self.files.clone()
    }

    /// Gives every file its final name, durably if the settings ask for that. Each instance is answered separately, in order, and as
    /// early as possible. `progress` is called as by [`Store::begin`](crate::Store::begin).
    pub fn finish(mut self, progress: &dyn Fn(), answer: &mut dyn FnMut(Result<Stored, StoreError>)) {
        if self.files.is_some() && self.appended.is_none() {
            let _ = Self::write_log([&mut self], progress);
        }
        let Self { mut run, mut items, files, appended } = self;
        if let (Some(files), Some(appended)) = (files, appended) {
            run.name_logged(&mut items, &files, appended, progress, answer);
        }
        each(&mut items, progress, |instance, state, _| run.sync(instance, state));
        each(&mut items, progress, |instance, state, guard| run.name(instance, state, guard));
        each(&mut items, progress, |instance, state, _| run.sync_directories(instance, state));
        run.prove(&mut items);
        run.void_refused(&mut items);
        while let Some(item) = items.pop_front() {
            run.answer(item, answer);
            progress();
        }
    }
}

/// Takes each item through a step, and reports progress after it.
fn each<I: Deref<Target: AsRef<Instance<H>>>, H: Handle>(
    items: &mut VecDeque<Item<I, H>>,
    progress: &dyn Fn(),
    mut step: impl FnMut(&Instance<H>, State<H>, &mut Option<PathGuard>) -> Result<State<H>, StoreError>,
) {
    for item in items {
        if !matches!(item.state, State::Failed(_)) {
            let state = std::mem::replace(&mut item.state, State::Failed(StoreError::Contended));
            item.state = step((*item.instance).as_ref(), state, &mut item.guard).unwrap_or_else(State::Failed);
            if item.entry.is_none() && !matches!(item.state, State::Written(_)) {
                item.guard = None;
            }
            progress();
        }
    }
}

impl<H: Handle> Run<H> {
    fn write(&mut self, instance: &Instance<H>, guard: &mut Option<PathGuard>) -> Result<State<H>, StoreError> {
        if let Err(decided) = instance.rename_once(|| ()) {
            return decided.map(|stored| State::Named(Named::Settled(stored)));
        }
        let in_memory = !matches!(instance.payload, Payload::Spooled(_));
        let strategy = self.strategy(instance, in_memory);
        // Reserve before the look, so that its result holds among all commits that reserve.
        let first = self.path(instance, 1);
        let mut reserved = match strategy {
            Strategy::Log => self.root.paths.reserve_path(self.root.paths.key(&first)),
            _ => None,
        };
        // Look before the first write: a resend usually needs none.
        let name = match self.look(instance, first)? {
            Look::Free(name) => name,
            Look::Stored(named) => return Ok(State::Named(Named::Final(named))),
        };
        if let Payload::Spooled(spool) = &instance.payload {
            spool.temp().note(instance.digest());
            return Ok(State::Written(Draft::new(Temp::Spool(Arc::clone(spool)), name, strategy)));
        }
        self.reserve_space(instance.file_bytes())?;
        // Only a new instance goes through the log: an existing file may belong to a process that does not consult the log.
        if let Some(reserved) = reserved.take_if(|_| name.is_first()) {
            *guard = Some(reserved);
            return Ok(State::Logged(name));
        }
        let strategy = if strategy == Strategy::Log { Strategy::PerFile } else { strategy };
        let temp = write_file(&self.store, &self.root, instance, strategy == Strategy::PerFile)?;
        Ok(State::Written(Draft::new(Temp::Own(temp), name, strategy)))
    }

    fn strategy(&self, instance: &Instance<H>, in_memory: bool) -> Strategy {
        let has_log = in_memory && self.root.wal().is_some();
        let (durability, wish) = (self.store.placement(instance).durability, self.store.settings().commit);
        Strategy::choose(durability, wish, has_log, instance.dataset_bytes(), self.in_commit)
    }

    /// Deducts `bytes` from the free space.
    fn reserve_space(&mut self, bytes: u64) -> Result<(), StoreError> {
        let min_free_bytes = self.store.settings().min_free_bytes;
        if min_free_bytes == 0 {
            return Ok(());
        }
        let free_bytes = match self.free_bytes {
            Some(free_bytes) => free_bytes,
            None => space::of(&self.root)?.free_bytes,
        };
        space::check(bytes, free_bytes, min_free_bytes)?;
        self.free_bytes = Some(free_bytes - bytes);
        Ok(())
    }

    fn sync(&self, instance: &Instance<H>, state: State<H>) -> Result<State<H>, StoreError> {
        if let State::Written(draft) = &state {
            match &draft.temp {
                Temp::Spool(spool) => spool.sync(self.store.placement(instance).durability)?,
                Temp::Own(temp) if draft.strategy == Strategy::PerFile => temp.sync_data()?,
                Temp::Own(_) => {}
            }
        }
        Ok(state)
    }

    fn name(
        &mut self,
        instance: &Instance<H>,
        state: State<H>,
        guard: &mut Option<PathGuard>,
    ) -> Result<State<H>, StoreError> {
        match state {
            State::Written(draft) => match self.rename_to_final(instance, draft, guard)? {
                Renaming::Named(named) => Ok(State::Named(named)),
                Renaming::PathTaken(_) => Err(StoreError::Contended), // occurs only for items in the log
            },
            state => Ok(state),
        }
    }

    /// Makes the names durable.
    fn sync_directories(&mut self, instance: &Instance<H>, state: State<H>) -> Result<State<H>, StoreError> {
        if let State::Named(Named::Final(named)) = &state
            && let Some(directory) = self.unsynced(instance, named)
        {
            let depth = named.stored.path.components().count().saturating_sub(1);
            self.directories.make_durable(directory, depth, &self.store.known_directories)?;
            if let Some(temp) = &named.temp {
                temp.file().sync_name()?;
            }
        }
        Ok(state)
    }

    /// The directory that has to be synced for a name to last.
    fn unsynced(&self, instance: &Instance<H>, named: &FinalName<H>) -> Option<usize> {
        named.directory.filter(|_| self.store.placement(instance).durability == Durability::Fsync)
    }

    /// Proves after all syncs that they took effect.
    fn prove<I: Deref<Target: AsRef<Instance<H>>>>(&self, items: &mut VecDeque<Item<I, H>>) {
        let relies_on_it = |item: &Item<I, H>| match &item.state {
            State::Named(Named::Final(named)) => self.unsynced((*item.instance).as_ref(), named).is_some(),
            _ => false,
        };
        if items.iter().any(relies_on_it)
            && let Err(error) = self.root.prove_journal()
        {
            let failed = items.iter_mut().filter(|item| relies_on_it(item));
            failed.for_each(|item| item.state = State::Failed(error.clone()));
        }
    }

    fn answer<I: Deref<Target: AsRef<Instance<H>>>>(
        &self,
        item: Item<I, H>,
        answer: &mut dyn FnMut(Result<Stored, StoreError>),
    ) {
        let Item { instance, state, .. } = item;
        let outcome = match state {
            State::Named(Named::Settled(stored)) => Ok(stored),
            State::Named(Named::Final(named)) => Ok((*instance).as_ref().settle(named.stored)),
            State::Failed(error) => Err(self.explain((*instance).as_ref(), error)),
            State::Logged(_) | State::Written(_) => Err(StoreError::Contended), // unreachable: every item has left these states
        };
        drop(instance); // the receiver of the answer may count on its memory being free
        answer(outcome);
    }

    fn fsync(&self, instance: &Instance<H>) -> bool {
        self.store.placement(instance).durability == Durability::Fsync
    }

    /// The path of the `copy`th version of an instance.
    fn path(&self, instance: &Instance<H>, copy: u32) -> PathBuf {
        self.store.placement(instance).layout.path(&instance.meta, &instance.head, copy)
    }
}
