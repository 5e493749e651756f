//! The part of a commit that goes through the write-ahead log: a group commit, led by one thread for several batches.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use super::Commit;
use super::files::{Files, ToWrite};
use super::item::{Item, State};
use super::naming::{Draft, FreeName, Look, Named, Renaming, Temp};
use super::run::Run;
use super::strategy::Strategy;
use crate::error::StoreError;
use crate::fs::Handle;
use crate::instance::{Instance, Stored};
use crate::paths::PathGuard;
use crate::temp::TempFile;
use crate::wal::{Appended, Entry};

impl<I: Deref<Target: AsRef<Instance<H>>> + Clone, H: Handle> Commit<I, H> {
    /// Appends the logged items of all `commits` as one frame, and returns when the frame is on the disk. The caller leads the group.
    /// [`Self::finish`] calls it for a batch that no leader has written. `progress` is called as by
    /// [`Store::begin`](crate::Store::begin).
    ///
    /// # Errors
    /// If the log failed. The caller need not react: [`Self::finish`] stores each item another way or refuses it.
    pub fn write_log<'c>(commits: impl IntoIterator<Item = &'c mut Self>, progress: &dyn Fn()) -> Result<(), StoreError>
    where
        I: 'c,
    {
        let mut commits: Vec<&mut Self> = commits.into_iter().filter(|commit| commit.files.is_some()).collect();
        let Some(root) = commits.first().map(|first| Arc::clone(&first.run.root)) else {
            return Ok(());
        };
        let Some(wal) = root.wal() else {
            return Ok(());
        };
        // Another root may have replaced it meanwhile.
        commits.retain(|commit| commit.run.root.wal().is_some_and(|own| Arc::ptr_eq(own, wal)));
        let (entries, guards): (Vec<_>, Vec<_>) = commits.iter().flat_map(|commit| entries(&commit.items)).unzip();
        let files = || commits.iter().filter_map(|commit| commit.files.as_ref());
        // Writing larger instances takes a while, and waking another thread costs time and finds its caches cold.
        let write_files = || files().for_each(|files| files.write(progress));
        let is_large = files().any(|files| !files.are_small());
        let failures = commits.iter().map(|commit| commit.run.failures).min().unwrap_or(0);
        let meanwhile = is_large.then_some(&write_files as &dyn Fn());
        let appended = wal.append(&entries, &guards, failures, &root, meanwhile, progress);
        progress();
        for commit in commits {
            commit.appended = Some(appended.clone());
        }
        match appended {
            Appended::Durable(_) | Appended::NoRoom => Ok(()),
            Appended::NotWritten { error, .. } | Appended::NotSynced(error) => Err(error),
        }
    }
}

/// The entries that the log may have of items that are committed another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnEntries {
    /// None of these items. The log may still have entries of their paths, from earlier instances.
    None,
    /// Entries of these items, and no others of their paths.
    Alone,
    /// Entries of these items, and earlier ones of their paths.
    BehindOthers,
}

impl<H: Handle> Run<H> {
    /// Finds the items that go through the log. If the log has no room for them, they are committed another way.
    pub(super) fn prepare_log<I>(&self, items: &mut VecDeque<Item<I, H>>, progress: &dyn Fn()) -> Option<Files<I, H>>
    where
        I: Deref<Target: AsRef<Instance<H>>> + Clone,
    {
        let wal = self.root.wal()?;
        let logged = || items.iter().filter(|item| matches!(item.state, State::Logged(_)));
        let to_write: Vec<_> = logged().map(|item| ToWrite { instance: item.instance.clone(), temp: None }).collect();
        if to_write.is_empty() {
            return None;
        }
        let bytes = logged().map(|item| (*item.instance).as_ref().file_bytes()).sum();
        let has_room = wal.wait_for_room(bytes, to_write.len(), &self.root, progress);
        let files = Files::new(&self.store, &self.root, to_write);
        if has_room {
            return Some(files);
        }
        self.go_another_way(items, &files, OwnEntries::None, progress);
        None
    }

    /// Has the logged items synced file by file instead (rule 4 of the log).
    fn go_another_way<I>(
        &self,
        items: &mut VecDeque<Item<I, H>>,
        files: &Files<I, H>,
        own: OwnEntries,
        progress: &dyn Fn(),
    ) where
        I: Deref<Target: AsRef<Instance<H>>>,
    {
        let mut temps = files.take(progress).into_iter();
        for item in items {
            let Some(name) = take_logged(item) else { continue };
            item.entry = (own != OwnEntries::None).then(|| name.path.clone());
            item.state = match temps.next().unwrap_or(Err(StoreError::Contended)) {
                Ok(temp) => {
                    temp.start_writing_out(0);
                    let draft = Draft::new(Temp::Own(temp), name, Strategy::PerFile);
                    State::Written(if own == OwnEntries::Alone { draft.reserved() } else { draft })
                }
                Err(error) => State::Failed(error),
            };
        }
    }

    /// Names the files of the logged items after the frame is written. Answers as many items as possible at the beginning of the batch.
    pub(super) fn name_logged<I>(
        &mut self,
        items: &mut VecDeque<Item<I, H>>,
        files: &Files<I, H>,
        appended: Appended<H>,
        progress: &dyn Fn(),
        answer: &mut dyn FnMut(Result<Stored, StoreError>),
    ) where
        I: Deref<Target: AsRef<Instance<H>>>,
    {
        let frame = match appended {
            Appended::Durable(frame) => frame,
            Appended::NotSynced(error) => {
                for item in items.iter_mut() {
                    if let Some(name) = take_logged(item) {
                        item.entry = Some(name.path);
                        item.state = State::Failed(error.clone());
                    }
                }
                return self.void_refused(items);
            }
            Appended::NoRoom => return self.go_another_way(items, files, OwnEntries::None, progress),
            Appended::NotWritten { has_earlier, .. } => {
                let own = if has_earlier { OwnEntries::BehindOthers } else { OwnEntries::Alone };
                return self.go_another_way(items, files, own, progress);
            }
        };
        let mut temps = files.take(progress).into_iter();
        let mut at = 0;
        while let Some(item) = items.get_mut(at) {
            if let Some(name) = take_logged(item) {
                let entry = name.path.clone();
                let temp = temps.next().unwrap_or(Err(StoreError::Contended));
                let is_alone = !frame.has_earlier();
                let named = self.name_one((*item.instance).as_ref(), (name, temp), is_alone, &mut item.guard);
                item.state = named.unwrap_or_else(State::Failed);
                match item.state {
                    State::Named(_) => item.guard = None,
                    _ => item.entry = Some(entry),
                }
                progress();
            }
            // A client that waits for this item need not wait for the names of the others.
            match item.state {
                State::Named(Named::Settled(_)) if at == 0 => {}
                State::Named(Named::Final(ref named)) if at == 0 && named.directory.is_none() => {}
                _ => {
                    at += 1;
                    continue;
                }
            }
            if let Some(item) = items.pop_front() {
                self.answer(item, answer);
            }
        }
        drop(frame);
        // The refused items; and items whose name was taken by a process that does not consult the log: these are committed another way.
        self.void(items, |item| matches!(item.state, State::Written(_) | State::Failed(_)));
    }

    fn name_one(
        &mut self,
        instance: &Instance<H>,
        (name, temp): (FreeName, Result<TempFile<H>, StoreError>),
        is_alone: bool,
        guard: &mut Option<PathGuard>,
    ) -> Result<State<H>, StoreError> {
        let temp = temp?;
        // A checkpoint that finds it on the disk does not keep the next syncs waiting for all of them at once. For a small one it
        // would cost more than it spares.
        if !instance.is_small() {
            temp.start_writing_out(0);
        }
        match self.rename_to_final(instance, Draft::new(Temp::Own(temp), name, Strategy::Log).reserved(), guard)? {
            Renaming::Named(named) => Ok(State::Named(named)),
            Renaming::PathTaken(draft) => {
                let name = match self.look(instance, self.path(instance, 1))? {
                    Look::Free(name) => name,
                    Look::Stored(named) => return Ok(State::Named(Named::Final(named))),
                };
                Ok(State::Written(Draft { name, strategy: Strategy::PerFile, is_log_clear: is_alone, ..draft }))
            }
        }
    }

    /// Voids the log entries of refused items.
    pub(super) fn void_refused<I>(&self, items: &mut VecDeque<Item<I, H>>)
    where
        I: Deref<Target: AsRef<Instance<H>>>,
    {
        self.void(items, |item| matches!(item.state, State::Failed(_)));
    }

    /// Voids the log entries of the items that `which` selects. An item whose entry cannot be voided is refused.
    fn void<I>(&self, items: &mut VecDeque<Item<I, H>>, which: impl Fn(&Item<I, H>) -> bool)
    where
        I: Deref<Target: AsRef<Instance<H>>>,
    {
        let Some(wal) = self.root.wal() else { return };
        let voided = |item: &Item<I, H>| item.entry.is_some() && which(item);
        let entries: Vec<_> = items
            .iter()
            .filter(|item| voided(item))
            .filter_map(|item| {
                let recorded = (*item.instance).as_ref().recorded();
                item.entry.as_deref().map(|path| Entry { path, content: None, recorded })
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        let outcome = wal.void(&entries, &self.root);
        drop(entries);
        for item in items.iter_mut() {
            if voided(item) {
                match &outcome {
                    Ok(()) => {
                        item.entry = None;
                        item.guard.take_if(|_| matches!(item.state, State::Failed(_)));
                    }
                    Err(error) if !matches!(item.state, State::Failed(_)) => item.state = State::Failed(error.clone()),
                    Err(_) => {}
                }
            }
        }
    }
}

/// Takes the logged items out of the batch; the caller replaces them by their outcomes.
fn take_logged<I, H: Handle>(item: &mut Item<I, H>) -> Option<FreeName> {
    match std::mem::replace(&mut item.state, State::Failed(StoreError::Contended)) {
        State::Logged(name) => Some(name),
        other => {
            item.state = other;
            None
        }
    }
}

/// The log entries of a batch, each under its path.
fn entries<I: Deref<Target: AsRef<Instance<H>>>, H: Handle>(
    items: &VecDeque<Item<I, H>>,
) -> impl Iterator<Item = (Entry<'_>, &PathGuard)> {
    items.iter().filter_map(|item| {
        let (State::Logged(name), Some(guard)) = (&item.state, &item.guard) else { return None };
        let instance = (*item.instance).as_ref();
        let content = Some(instance.pieces().collect());
        Some((Entry { path: &name.path, content, recorded: instance.recorded() }, guard))
    })
}
