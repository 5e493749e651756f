//! One instance of a batch: its state, and the guard of its path.

use std::collections::VecDeque;
use std::ops::Deref;
use std::path::PathBuf;

use super::naming::{Draft, FreeName, Named};
use crate::error::StoreError;
use crate::fs::Handle;
use crate::instance::Instance;
use crate::paths::PathGuard;

/// An instance of a batch.
#[derive(Debug)]
pub(super) struct Item<I, H: Handle> {
    pub(super) instance: I,
    pub(super) state: State<H>,
    /// The reservation of its path. A refused item keeps it until its entry in the log is void, so that another commit of the path comes
    /// after that.
    pub(super) guard: Option<PathGuard>,
    /// The path under which the log may have an entry of this item. If the item is refused, the entry is voided first, so that no replay
    /// applies it.
    pub(super) entry: Option<PathBuf>,
}

/// The progress of an item.
#[derive(Debug)]
pub(super) enum State<H: Handle> {
    /// The instance is new and goes through the log. It has no name yet.
    Logged(FreeName),
    /// The instance is in a temp file.
    Written(Draft<H>),
    /// The file has its final name, which may still have to be synced.
    Named(Named<H>),
    Failed(StoreError),
}

/// Takes each item through a step, and reports progress after it.
pub(super) fn each<I: Deref<Target: AsRef<Instance<H>>>, H: Handle>(
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
