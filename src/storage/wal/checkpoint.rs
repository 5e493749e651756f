//! The checkpoint: it proves that the files of a segment are on the disk, and frees the segment (rules 5 to 8). Also what waits for one:
//! an append that needs room, a path that is to be clear, an entry that is to be void.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frames::{index, last_of_each};
use super::record::{Frame, SegmentHeader};
use super::restore::{Restorer, Since, failed};
use super::segment::draw_salt;
use super::state::{Reserve, Room};
use super::{Appended, Entry, RETRY_AFTER, RETRY_CONTENDED_AFTER, Wal};
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::fs::{Handle, Open};
use crate::paths::{PathGuard, PathKey};
use crate::recovery::{Aside, Reason, Recovery};
use crate::root::Root;
use crate::sync::{Patience, now};

impl<H: Handle> Wal<H> {
    /// Checkpoints the segments that are due, unless another thread is checkpointing. Returns the findings about single files.
    pub(crate) fn checkpoint_if_due(&self, root: &Arc<Root<H>>, progress: &dyn Fn()) -> Result<Recovery, StoreError> {
        if let Some(_alone) = self.checkpointing.try_lock() {
            self.free_due(root, progress)?;
        }
        Ok(std::mem::take(&mut *self.findings.lock()))
    }

    /// Frees the segments that are due, and returns how many.
    fn free_due(&self, root: &Arc<Root<H>>, progress: &dyn Fn()) -> Result<usize, StoreError> {
        let is_due = || self.state.lock().due().is_some_and(|due| due <= now());
        let mut freed = 0;
        while is_due() {
            self.free_oldest(root, Room::Larger, progress)?;
            freed += 1;
        }
        Ok(freed)
    }

    /// Waits until there is room for `files` files of so many bytes altogether: for a checkpoint, which this makes unless another thread
    /// does. `false` if that does not help, or takes too long. The caller holds no frame.
    pub(crate) fn wait_for_room(&self, bytes: u64, files: usize, root: &Arc<Root<H>>, progress: &dyn Fn()) -> bool {
        let (mut state, mut patience) = (self.state.lock(), Patience::new());
        while state.with_room(bytes, files, Reserve::Kept).is_none() {
            if !state.may_get_room(bytes) {
                return false;
            }
            if let Some(_alone) = self.checkpointing.try_lock() {
                drop(state);
                if !self.free_due(root, progress).is_ok_and(|freed| freed > 0) {
                    return false;
                }
                state = self.state.lock();
            } else if !self.closed.wait(&mut state, &mut patience) {
                return false;
            } else {
                progress();
            }
        }
        true
    }

    /// Appends `entries` as one frame, each under its path, and returns when the frame is durable or has failed. Waits for room first, as
    /// [`Self::wait_for_room`]: each batch of a group has found room for itself only. `failures` is the value of [`Trust::failures`](crate::trust::Trust::failures)
    /// before the first of their files was written. `meanwhile` runs before the wait for the disk, for a frame that takes the disk a
    /// while.
    pub(crate) fn append(
        self: &Arc<Self>,
        entries: &[Entry<'_>],
        paths: &[&PathGuard],
        failures: u64,
        root: &Arc<Root<H>>,
        meanwhile: Option<&dyn Fn()>,
        progress: &dyn Fn(),
    ) -> Appended<H> {
        // Without room, the append says so.
        let _ = self.wait_for_room(Frame::bytes(entries), entries.len(), root, progress);
        self.append_frame(entries, paths.iter().map(|path| path.key()), failures, Reserve::Kept, meanwhile)
    }

    /// Makes the files of all frames written so far durable, and frees the segments.
    pub(crate) fn checkpoint(&self, root: &Arc<Root<H>>, progress: &dyn Fn()) -> Result<(), StoreError> {
        let Some(_alone) = self.checkpointing.lock_in_time() else {
            return Err(StoreError::Contended);
        };
        for _ in 0..self.segments.len() {
            self.free_oldest(root, Room::AsItIs, progress)?; // somebody waits for this
        }
        Ok(())
    }

    /// Returns once the log has no entry for that path: a file gets it that does not go through the log.
    pub(crate) fn clear_of(self: &Arc<Self>, path: PathKey, root: &Arc<Root<H>>) -> Result<(), StoreError> {
        while self.has(path) {
            self.checkpoint(root, &|| ())?;
        }
        Ok(())
    }

    /// Voids these entries durably (rule 3). The caller holds no frame that it has to wait for.
    ///
    /// # Errors
    /// If the disk does not take it. The next start may store them.
    pub(crate) fn void(self: &Arc<Self>, entries: &[Entry<'_>], root: &Arc<Root<H>>) -> Result<(), StoreError> {
        let failures = self.trust.failures();
        let voided = match self.append_frame(entries, std::iter::empty(), failures, Reserve::Used, None) {
            Appended::Durable(_) => Ok(()),
            Appended::NotWritten { error, .. } | Appended::NotSynced(error) => Err(error),
            Appended::NoRoom => Err(StoreError::Contended),
        };
        // A log with nothing in it has nothing of them either.
        voided.or_else(|error| self.try_checkpoint_all(root).map_err(|_| error)).inspect_err(|_| {
            self.not_voided.fetch_add(entries.len() as u64, Ordering::Relaxed);
            self.state.lock().leave_active(); // due at once
        })
    }

    /// The same, if no thread has to be waited for.
    pub(super) fn try_checkpoint_all(&self, root: &Arc<Root<H>>) -> Result<(), StoreError> {
        let is_open = || self.state.lock().slots.iter().any(|slot| slot.open > 0);
        match self.checkpointing.try_lock() {
            Some(_alone) if !is_open() => {}
            _ => return Err(StoreError::Contended),
        }
        self.checkpoint(root, &|| ())
    }

    /// Checkpoints the segment that was written first, never another before it: both may have an entry of the same path, and the later
    /// entry counts.
    fn free_oldest(&self, root: &Arc<Root<H>>, room: Room, progress: &dyn Fn()) -> Result<(), StoreError> {
        let (mut state, mut patience) = (self.state.lock(), Patience::new());
        let Some(segment) = state.oldest() else {
            return Ok(());
        };
        state.begin_closing(segment);
        while state.slots[segment].open > 0 {
            if !self.closed.wait(&mut state, &mut patience) {
                state.keep(segment, now() + RETRY_CONTENDED_AFTER);
                return Err(StoreError::Contended);
            }
        }
        let header = SegmentHeader {
            generation: state.take_generation(),
            salt: draw_salt(),
            mount: self.mount,
            root: self.root,
        };
        let wanted_bytes = state.wanted_bytes(segment, room);
        drop(state);
        let freed = self.prove(segment, root, progress).and_then(|()| self.free(segment, header, wanted_bytes));
        let mut state = self.state.lock();
        match freed {
            Ok(()) => state.freed(segment, header, self.segments[segment].laid_out_bytes()),
            Err(_) => state.keep(segment, now() + RETRY_AFTER),
        }
        drop(state);
        self.closed.notify_all();
        freed
    }

    /// Returns when each file of a segment is proved to be on the disk.
    fn prove(&self, segment: usize, root: &Arc<Root<H>>, progress: &dyn Fn()) -> Result<(), StoreError> {
        let began = now();
        let synced = fault::point(Step::Checkpoint).and_then(|()| self.directory.sync_filesystem(progress));
        let synced = self.trust.note(synced);
        progress();
        let failures = {
            let mut state = self.state.lock();
            state.adapt(segment, now() - began);
            state.slots[segment].failures
        };
        if synced.is_ok() && self.trust.failures() == failures {
            return root.prove_journal();
        }
        let mut findings = Recovery::default();
        let restored = self.restore(segment, root, progress, &mut findings);
        self.findings.lock().add(findings);
        restored
    }

    /// Proves each file separately, and rewrites a file that is not on the disk.
    fn restore(
        &self,
        segment: usize,
        root: &Arc<Root<H>>,
        progress: &dyn Fn(),
        recovery: &mut Recovery,
    ) -> Result<(), StoreError> {
        let failed_on = |what| move |error| StoreError::new(what, "the commit log", error);
        let (header, used_bytes) = {
            let state = self.state.lock();
            (state.slots[segment].header, state.slots[segment].used_bytes())
        };
        let name = super::segment::name(segment);
        let file = self.directory.open(Path::new(&name), Open::Read).map_err(failed_on("open"))?;
        let index = index(&file, &header, used_bytes).map_err(failed_on("read"))?;
        if index.damaged_frames > 0 {
            let path = Path::new(".tidegate/log").join(&name);
            recovery.aside.push(Aside { path, kept_as: None, reason: Reason::DamagedLog });
        }
        let last = last_of_each(index.entries.iter().map(|entry| ((), entry)));
        let is_newer = |path: &Path| self.state.lock().slots[1 - segment].has(root.paths.key(path));
        let mut restorer = Restorer::new(root);
        for (_, entry) in last.into_iter().filter(|(_, entry)| !is_newer(&entry.path)) {
            restorer.settle(Since::SameMount, entry, &file).map_err(failed(entry))?.count(recovery);
            progress();
        }
        restorer.finish().map_err(failed_on("sync the files of"))
    }

    /// Empties a segment, and allocates `wanted_bytes` for it if the disk has the space.
    fn free(&self, segment: usize, header: SegmentHeader, wanted_bytes: u64) -> Result<(), StoreError> {
        let segment = &self.segments[segment];
        let _ = segment.lay_out(wanted_bytes);
        let freed = fault::point(Step::Free).and_then(|()| segment.mark_free(header));
        freed.map_err(|error| StoreError::new("free a segment of", "the commit log", error))
    }
}
