//! The write-ahead log: small instances become durable together, by one write and one sync, and their files follow unsynced.
//!
//! `.tidegate/log` holds two segments. Frames are appended to one, and synced, one at a time, until it is full, or nothing was for
//! a while; then the other is taken, and the first is *checkpointed*: its files are brought to the disk, and it is marked free.
//! [`replay()`] does the same for what an earlier process left.
//!
//! The rules. (`simulation` holds every one of them against a disk that fails in every way it knows.)
//! 1. **Frame before name.** A file gets its final name after its frame is durable: a torn file under a final name is in the log.
//! 2. **One frame at a time.** A frame is written after the sync of the one before it. Behind one whose write or sync failed there is
//!    no other in that segment. So a frame with another behind it was durable, and damage to it is damage.
//! 3. **What a frame owes its group.** The leader that appends a frame holds a [`FrameGuard`] for all whose entries are in it. Each entry
//!    is answered when its file has its name. One that is refused is made void by a further frame *before* the answer
//!    ([`Wal::void`]): what was refused is not stored by a later start.
//! 4. **Order of names.** At most one commit gives a name at a time ([`crate::paths`]), so the order of frames is that of names. A name
//!    that the log has an entry for is given to a file that goes another way only after a checkpoint ([`Wal::clear_of`]): the last entry
//!    of a path is the last that was acknowledged under it.
//! 5. **When a segment may be freed.** When no frame of it is open, and each of its files is on the disk by proof, and a call has
//!    succeeded *since* that needs the filesystem's journal ([`Trust::prove_journal`]).
//! 6. **What proves a file.** A sync of the filesystem, if no sync on this root has failed since before the first file of the segment
//!    was written, which is before its frame. After a failure the page cache is not the disk: each file is read past it and held against its entry, and written anew
//!    where it differs ([`restore`]). A checkpoint that fails is tried again; its segment stays.
//! 7. **What people did is theirs.** A file that was changed, moved or removed since it got its name is left as it is.
//! 8. **Oldest first.** A segment is freed only when no older one holds anything.

mod checkpoint;
mod frames;
mod record;
mod replay;
mod restore;
mod segment;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use self::record::{Entry, SEGMENT_BYTES};
use self::record::{Frame, FrameId, SegmentHeader};
pub(crate) use self::replay::{count as count_entries, replay};
use self::segment::{Segment, draw_salt, identity_of};
use self::state::{Begun, Replayed, Reserve, Slot, State};
use crate::error::{OpenError, StoreError};
use crate::fs::{Errno, Filesystem, Handle, Pages, is_at};
use crate::own::OWN;
use crate::paths::{PathGuard, PathKey};
use crate::sync::{Condvar, Mutex, now, time_of_day_ms};
use crate::trust::Trust;

/// A frame is gathered and written so much at a time: most are smaller.
const GATHERED_BYTES: usize = if cfg!(test) { 8 << 10 } else { 256 << 10 };

/// After a checkpoint that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// After a checkpoint that waited in vain for a file to get its name, and while another thread is at one.
const RETRY_CONTENDED_AFTER: Duration = Duration::from_secs(1);

/// The log of one root.
#[derive(Debug)]
pub(crate) struct Wal<H: Handle> {
    /// For telling this log from another, and for syncing the filesystem.
    pub(crate) directory: Arc<H>,
    segments: [Segment<H>; 2],
    trust: Arc<Trust<H>>,
    /// What the headers of its segments say.
    mount: u128,
    root: u128,
    state: Mutex<State>,
    /// Held by the leader that writes a frame.
    writing: Mutex<Pages>,
    /// A frame has been closed.
    closed: Condvar,
    /// Held by the thread that checkpoints.
    checkpointing: Mutex<()>,
    /// Refused instances that could not be made void.
    not_voided: AtomicU64,
}

/// What became of a frame.
#[derive(Debug)]
pub(crate) enum Appended<H: Handle> {
    /// It is on the disk.
    Durable(Arc<FrameGuard<H>>),
    /// There is no room for it, or another thread has been writing for too long. There are other ways to commit.
    NoRoom,
    /// It may be in the log or not, and nothing more is appended to its segment. There are other ways to commit.
    NotWritten {
        error: StoreError,
        /// The log has entries of its paths that are not its own.
        has_earlier: bool,
    },
    /// It may be in the log or not, and nothing more is appended to its segment. What is in it has failed.
    NotSynced(StoreError),
}

/// A frame whose files are yet to get their names: its segment is not freed.
#[derive(Debug)]
pub(crate) struct FrameGuard<H: Handle> {
    wal: Arc<Wal<H>>,
    segment: usize,
    /// If it is not, no frame may follow it.
    is_durable: bool,
    /// The log has earlier entries of its paths.
    has_earlier: bool,
}

impl<H: Handle> Clone for Appended<H> {
    fn clone(&self) -> Self {
        match self {
            Self::Durable(guard) => Self::Durable(Arc::clone(guard)),
            Self::NoRoom => Self::NoRoom,
            Self::NotWritten { error, has_earlier } => {
                Self::NotWritten { error: error.clone(), has_earlier: *has_earlier }
            }
            Self::NotSynced(error) => Self::NotSynced(error.clone()),
        }
    }
}

impl<H: Handle> Wal<H> {
    /// Makes the two segments, empty, in `directory` of the root `dir`; those of an earlier log, which was `replayed`, are given up.
    pub(crate) fn create(
        dir: &H,
        filesystem: &Filesystem,
        trust: &Arc<Trust<H>>,
        directory: &Arc<H>,
        path: &Path,
        replayed: Replayed,
    ) -> Result<Arc<Self>, OpenError> {
        let mount = filesystem.mount.unwrap_or(0);
        let root_id = identity_of(dir, directory).map_err(OpenError::io("examine", path))?;
        let Replayed { next_generation, older } = replayed;
        let header = |generation| SegmentHeader { generation, salt: draw_salt(), mount, root: root_id };
        let headers = [header(next_generation), header(next_generation + 1)];
        let create = |number: usize| Segment::<H>::create(directory, trust, path, number, headers[number]);
        let first = create(older)?; // rule 8
        let second = create(1 - older)?;
        let segments = if older == 0 { [first, second] } else { [second, first] };
        let slot = |number: usize| Slot::empty(headers[number], segments[number].laid_out_bytes());
        let state = Mutex::new(State::new([slot(0), slot(1)], next_generation + 2));
        Ok(Arc::new(Self {
            directory: Arc::clone(directory),
            segments,
            trust: Arc::clone(trust),
            mount,
            root: root_id,
            state,
            writing: Mutex::new(Pages::new(GATHERED_BYTES)),
            closed: Condvar::default(),
            checkpointing: Mutex::default(),
            not_voided: AtomicU64::new(0),
        }))
    }

    /// Removes the segments in `directory`, durably: what they held is void.
    pub(crate) fn remove(directory: &H) -> Result<(), Errno> {
        for number in 0..2 {
            match directory.unlink(segment::name(number).as_ref()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        directory.sync()
    }

    /// Whether the segments are still where the next start of the root `dir` looks for them.
    ///
    /// # Errors
    /// If that cannot be told now.
    pub(crate) fn is_in(&self, dir: &H) -> Result<bool, Errno> {
        let log = Path::new(OWN).join("log");
        for (number, segment) in self.segments.iter().enumerate() {
            if !is_at(dir, &log.join(segment::name(number)), &segment.file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends nothing from now on. A commit that was begun before finds no room.
    pub(crate) fn retire(&self) {
        self.state.lock().is_retired = true;
    }

    /// Whether there is an entry for that path, or one with the same hash.
    pub(crate) fn has(&self, path: PathKey) -> bool {
        self.state.lock().has(path)
    }

    /// Whether there is room for files of so many bytes altogether, as far as a look tells.
    pub(crate) fn has_room(&self, bytes: u64, files: usize) -> bool {
        self.state.lock().with_room(bytes, files, Reserve::Kept).is_some()
    }

    /// Appends `entries` as one frame, each under its path, and returns once they are durable or cannot be. `failures` is what
    /// [`Trust::failures`] said before the first of their files was written. `meanwhile` is for a frame that takes the disk a while: it is
    /// done before that is waited for.
    pub(crate) fn append(
        self: &Arc<Self>,
        entries: &[Entry<'_>],
        paths: &[&PathGuard],
        failures: u64,
        meanwhile: Option<&dyn Fn()>,
    ) -> Appended<H> {
        self.append_frame(entries, paths.iter().map(|path| path.key()), failures, Reserve::Kept, meanwhile)
    }

    fn append_frame(
        self: &Arc<Self>,
        entries: &[Entry<'_>],
        paths: impl Iterator<Item = PathKey>,
        failures: u64,
        reserve: Reserve,
        meanwhile: Option<&dyn Fn()>,
    ) -> Appended<H> {
        let Some(mut pages) = self.writing.lock_in_time() else {
            return Appended::NoRoom;
        };
        let bytes = Frame::bytes(entries);
        let (segment, place, Begun { offset_bytes, has_earlier, .. }) = {
            let mut state = self.state.lock();
            let Some(segment) = state.with_room(bytes, entries.len(), reserve) else {
                return Appended::NoRoom;
            };
            // Whatever becomes of it: from now on something may be written there.
            let begun = state.begin_frame(segment, bytes, paths, failures);
            let SegmentHeader { generation, salt, .. } = state.slots[segment].header;
            (segment, FrameId { generation, salt, number: begun.number }, begun)
        };
        let mut guard = FrameGuard { wal: Arc::clone(self), segment, is_durable: false, has_earlier };
        let (segment, frame) = (&self.segments[segment], Frame::new(place, entries, bytes, time_of_day_ms()));
        let written = match meanwhile {
            None => segment.write(offset_bytes, frame.slices(entries), &mut pages),
            Some(meanwhile) => {
                segment.start_writing(offset_bytes, bytes, frame.slices(entries)).inspect(|()| meanwhile())
            }
        };
        if let Err(error) = written {
            let error = StoreError::new("write", "the commit log", error);
            return Appended::NotWritten { error, has_earlier };
        }
        if let Err(error) = segment.sync() {
            return Appended::NotSynced(StoreError::new("sync", "the commit log", error));
        }
        guard.is_durable = true;
        Appended::Durable(Arc::new(guard))
    }

    /// Refused instances that the next start may store, because the disk did not take that they are void.
    pub(crate) fn not_voided(&self) -> u64 {
        self.not_voided.load(Ordering::Relaxed)
    }

    /// When the log is to be checkpointed: at once if a segment is full. `None`: there is nothing in it.
    pub(crate) fn checkpoint_due(&self) -> Option<Instant> {
        let due = self.state.lock().due()?;
        // Another thread is at it, and may be given up over it: somebody has to look again.
        Some(if self.checkpointing.is_locked() { due.max(now() + RETRY_CONTENDED_AFTER) } else { due })
    }
}

impl<H: Handle> FrameGuard<H> {
    /// Whether the log has entries of its paths that were written before.
    pub(crate) fn has_earlier(&self) -> bool {
        self.has_earlier
    }
}

impl<H: Handle> Drop for FrameGuard<H> {
    fn drop(&mut self) {
        let mut state = self.wal.state.lock();
        state.slots[self.segment].open -= 1;
        if !self.is_durable {
            state.close_broken(self.segment);
        }
        drop(state);
        self.wal.closed.notify_all();
    }
}
