//! The least that a commit log costs: append, one sync for all who wait, and the files later.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::shared::SharedSync;

/// Bytes of each half: what is written while the files of the other half are synced.
const HALF_BYTES: u64 = 64 << 20;
const PAGE_BYTES: u64 = 4096;

/// Two halves of one preallocated file, used in turn. What it would take to read it back is left out.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    sync: SharedSync,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    half: u64,
    used: u64,
    /// Files of each half that are yet to be written.
    open: [u64; 2],
    /// Whether the files of the half not in use are yet to be synced.
    checkpointing: bool,
}

impl Log {
    pub(crate) fn create(root: &Path) -> io::Result<Self> {
        let path = root.join(".log");
        let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..2 * HALF_BYTES / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        Ok(Self { file, sync: SharedSync::default(), state: Mutex::default(), changed: Condvar::new() })
    }

    /// Appends `bytes` durably; what it gives is to be given to [`Self::written`] once their file is written.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let length = (bytes.len() as u64).next_multiple_of(PAGE_BYTES);
        let mut state = self.lock();
        let mut left_written = false;
        if state.used + length > HALF_BYTES {
            while state.checkpointing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.half = 1 - state.half;
            state.used = 0;
            state.checkpointing = true;
            left_written = state.open[1 - state.half as usize] == 0;
        }
        let half = state.half;
        self.file.write_all_at(bytes, half * HALF_BYTES + state.used)?;
        state.used += length;
        state.open[half as usize] += 1;
        drop(state);
        if left_written {
            self.checkpoint()?;
        }
        self.sync.run(|| self.file.sync_data())?;
        Ok(half as usize)
    }

    /// The file of an append is written. Who writes the last one of a half left behind syncs them all.
    pub(crate) fn written(&self, half: usize) -> io::Result<()> {
        let mut state = self.lock();
        state.open[half] -= 1;
        if state.open[half] > 0 || half as u64 == state.half || !state.checkpointing {
            return Ok(());
        }
        drop(state);
        self.checkpoint()
    }

    fn checkpoint(&self) -> io::Result<()> {
        let synced = rustix::fs::syncfs(&self.file);
        self.lock().checkpointing = false;
        self.changed.notify_all();
        Ok(synced?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
