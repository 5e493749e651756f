//! The durable commit: it turns a batch of instances into files.
//!
//! Invariants: with `durability = "fsync"`, an instance is answered with success only when its bytes and its name are durable, by syncs or
//! by a synced frame of the write-ahead log. A commit is idempotent: an instance may be committed again, after a failure or by another
//! thread at the same time, and is stored once.
//!
//! The steps of an instance: check whether its name is taken, write a temp file, sync the file, rename it, sync its directory and the
//! directories created above it. The rename replaces a file only if the check found it and it may be replaced. All [`Item`]s of a batch take one step before any takes the next, so one commit of
//! the filesystem's journal serves several items, and a directory is synced once. An instance that goes through the write-ahead log is
//! not synced: a group commit appends it, one frame for several batches. Its temp file is written meanwhile and renamed before the other
//! temp files of the batch. Each item is answered separately, in order, and as early as possible. This file has the order of the steps;
//! `steps`, `logged` and `naming` have the steps.

mod directories;
mod duplicates;
mod files;
mod item;
mod logged;
mod naming;
mod obstacle;
mod run;
mod steps;
mod strategy;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::directories::Directories;
pub(crate) use self::directories::KnownDirectories;
pub use self::files::Files;
use self::item::{Item, State, each};
use self::run::Run;
use crate::error::StoreError;
use crate::fs::Handle;
use crate::inner::Inner;
use crate::instance::{Instance, Stored};
use crate::root::Root;
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

impl<I: Deref<Target: AsRef<Instance<H>>> + Clone, H: Handle> Commit<I, H> {
    pub(crate) fn begin(store: Arc<Inner<H>>, root: Arc<Root<H>>, instances: Vec<I>, progress: &dyn Fn()) -> Self {
        let mut run = Run {
            directories: Directories::new(Arc::clone(&root)),
            failures: root.trust.failures(),
            root,
            space: None,
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
