//! The steps of a commit at which unit tests let it fail, end, or be overtaken. Nothing outside of tests.

use crate::fs::Errno;

/// Where a commit can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Before the write of a temp file.
    Write,
    /// Before the write of a temp file past the page cache.
    WriteThrough,
    /// Instead of syncing a temp file's data.
    SyncData,
    /// Instead of syncing a file found already stored.
    SyncStored,
    /// Before the file is renamed, after the commit has claimed the rename.
    BeforeRename,
    /// Instead of the rename that does not replace.
    Rename,
    /// After the rename.
    AfterRename,
    /// Instead of syncing a directory.
    SyncDirectory,
    /// Instead of changing the journal to see whether it is alive.
    ProveJournal,
    /// Instead of appending to the commit log.
    Log,
    /// Instead of syncing the commit log.
    SyncLog,
    /// Instead of syncing the files of the commit log.
    Checkpoint,
    /// Instead of marking a segment of the commit log free.
    Free,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn point(_: Step) -> Result<(), Errno> {
    Ok(())
}

#[cfg(test)]
pub(crate) use armed::{arm, point};

#[cfg(test)]
mod armed {
    use std::cell::RefCell;

    use super::{Errno, Step};

    type Fault = Box<dyn FnOnce() -> Result<(), Errno>>;

    thread_local! {
        static ARMED: RefCell<Vec<(Step, Fault)>> = const { RefCell::new(Vec::new()) };
    }

    /// Has `fault` happen the next time this thread comes to `step`, after those armed for it before.
    pub(crate) fn arm(step: Step, fault: impl FnOnce() -> Result<(), Errno> + 'static) {
        ARMED.with_borrow_mut(|armed| armed.push((step, Box::new(fault))));
    }

    pub(crate) fn point(step: Step) -> Result<(), Errno> {
        let fault = ARMED.with_borrow_mut(|armed| {
            let position = armed.iter().position(|(at, _)| *at == step)?;
            Some(armed.remove(position).1)
        });
        fault.map_or(Ok(()), |fault| fault())
    }
}
