//! The steps that an item takes on its way to a durable file. `Commit` calls them in order, each for the whole batch.

use std::collections::VecDeque;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::write_file;
use super::item::{Item, State};
use super::naming::{Draft, FinalName, Look, Named, Renaming, Temp};
use super::run::Run;
use super::strategy::Strategy;
use crate::error::StoreError;
use crate::fs::Handle;
use crate::instance::{Instance, Payload, Stored};
use crate::paths::PathGuard;
use crate::settings::Durability;
use crate::space;

impl<H: Handle> Run<H> {
    pub(super) fn write(
        &mut self,
        instance: &Instance<H>,
        guard: &mut Option<PathGuard>,
    ) -> Result<State<H>, StoreError> {
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
            spool.temp().record(instance.recorded());
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
        let strategy = Strategy::choose(durability, wish, has_log, instance.dataset_bytes(), self.in_commit);
        if strategy == Strategy::Unsynced {
            self.root.note_unsynced();
        }
        strategy
    }

    /// Deducts a file of `bytes` from the free space and inodes.
    fn reserve_space(&mut self, bytes: u64) -> Result<(), StoreError> {
        let min_free_bytes = self.store.settings().min_free_bytes;
        let space = match self.space {
            Some(space) => space,
            None => self.store.space(&self.root)?,
        };
        if min_free_bytes > 0 {
            space::check(bytes, space.free_bytes, min_free_bytes)?;
        }
        space.check_inodes()?;
        self.space = Some(space.less(bytes));
        Ok(())
    }

    pub(super) fn sync(&self, instance: &Instance<H>, state: State<H>) -> Result<State<H>, StoreError> {
        if let State::Written(draft) = &state {
            match &draft.temp {
                Temp::Spool(spool) => spool.sync(self.store.placement(instance).durability)?,
                Temp::Own(temp) if draft.strategy == Strategy::PerFile => temp.sync_data()?,
                Temp::Own(_) => {}
            }
        }
        Ok(state)
    }

    pub(super) fn name(
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
    pub(super) fn sync_directories(&mut self, instance: &Instance<H>, state: State<H>) -> Result<State<H>, StoreError> {
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
    pub(super) fn prove<I: Deref<Target: AsRef<Instance<H>>>>(&self, items: &mut VecDeque<Item<I, H>>) {
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

    pub(super) fn answer<I: Deref<Target: AsRef<Instance<H>>>>(
        &self,
        item: Item<I, H>,
        answer: &mut dyn FnMut(Result<Stored, StoreError>),
    ) {
        let Item { instance, state, .. } = item;
        let mut _held = None;
        let outcome = match state {
            State::Named(Named::Settled(stored)) => Ok(stored),
            State::Named(Named::Final(named)) => {
                _held = named.held; // until the receiver of the answer has it
                Ok((*instance).as_ref().settle(named.stored))
            }
            State::Failed(error) => Err(self.explain((*instance).as_ref(), error)),
            State::Logged(_) | State::Written(_) => Err(StoreError::Contended), // unreachable: every item has left these states
        };
        drop(instance); // the receiver of the answer may count on its memory being free
        answer(outcome);
    }

    pub(super) fn fsync(&self, instance: &Instance<H>) -> bool {
        self.store.placement(instance).durability == Durability::Fsync
    }

    /// The path of the `copy`th version of an instance.
    pub(super) fn path(&self, instance: &Instance<H>, copy: u32) -> PathBuf {
        self.store.placement(instance).layout.path(&instance.meta, &instance.head, copy)
    }
}
