//! One sync for all who wait: whoever comes while one runs shares the next.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

/// Syncs of one thing, counted as they start and as they end.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    ended: u64,
    running: bool,
}

impl SharedSync {
    /// Returns after a run of `sync` that began after this call: this thread's, or another's.
    ///
    /// # Errors
    /// Those of `sync`, told to the thread that ran it; one that waited runs it again.
    pub(crate) fn run(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = state.started + 1;
        while state.running {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
            if state.ended >= wanted {
                return Ok(());
            }
        }
        state.started += 1;
        state.running = true;
        let mine = state.started;
        drop(state);
        let synced = sync();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = false;
        if synced.is_ok() {
            state.ended = mine;
        }
        drop(state);
        self.ended.notify_all();
        synced
    }
}
