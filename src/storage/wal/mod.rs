//! The write-ahead log: a group commit makes small instances durable with one write and one sync. Their files are written without a sync.
//!
//! `.tidegate/log` holds two segments. Frames are appended to one segment, and each is synced before the next, until the segment is
//! full or its first frame is a second old. Then the log switches to the other segment and *checkpoints* the first: it makes the segment's
//! files durable and marks the segment free. At a start, [`replay()`] does the same for the segments of an earlier process.
//!
//! Invariants, each tested by `simulation` against every failure that the simulated disk has:
//! 1. **Frame before name.** A file gets its final name after its frame is durable. A torn file under a final name is therefore in the log.
//! 2. **One frame at a time.** A frame is written after the sync of its predecessor. No frame follows one whose write or sync failed in
//!    the same segment. A frame that has a successor was therefore durable, and a mismatch in it is damage, not a torn write.
//! 3. **Obligations of a frame.** The leader that appends a frame holds a [`FrameGuard`] for all entries of its group. An entry is
//!    answered when its file has its final name. A refused entry is voided by a further frame *before* the answer ([`Wal::void`]), so
//!    that no later start stores a refused instance.
//! 4. **Order of names.** At most one commit at a time names a file at a path ([`crate::paths`]), so frames and names have the same
//!    order. A file that bypasses the log gets a path with entries in the log only after a checkpoint ([`Wal::clear_of`]). The last entry
//!    of a path is therefore the last instance acknowledged under it.
//! 5. **Freeing a segment.** A segment is freed when none of its frames is open, each of its files is proved to be on the disk, and a
//!    call that needs the filesystem's journal has succeeded *since* ([`Trust::prove_journal`]).
//! 6. **Proof of a file.** A sync of the filesystem proves a file if no sync on this root has failed since before the first file of the
//!    segment was written, which is before its frame. After a failure the page cache does not show the disk: each file is read past
//!    the cache, compared with its entry and rewritten if it differs ([`restore`]). A failed checkpoint is retried; its segment stays.
//! 7. **Changes by people stand.** A file that was changed, moved or removed after it got its name is left as it is.
//! 8. **Oldest first.** A segment is freed only when no older segment holds an entry.

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
use crate::paths::PathKey;
use crate::recovery::Recovery;
use crate::sync::{Condvar, Mutex, now, time_of_day_ms};
use crate::trust::Trust;

/// A frame is gathered and written so much at a time: most are smaller.
const GATHERED_BYTES: usize = if cfg!(test) { 8 << 10 } else { 256 << 10 };

/// After a checkpoint that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Delay of the retry after a checkpoint timed out waiting for a file to get its name, and while another thread checkpoints.
const RETRY_CONTENDED_AFTER: Duration = Duration::from_secs(1);

/// The write-ahead log of one root.
#[derive(Debug)]
pub(crate) struct Wal<H: Handle> {
    /// Identifies this log; also the handle that the filesystem is synced through.
    pub(crate) directory: Arc<H>,
    segments: [Segment<H>; 2],
    trust: Arc<Trust<H>>,
    /// The mount and the root recorded in the segment headers.
    mount: u128,
    root: u128,
    state: Mutex<State>,
    /// Held by the leader that writes a frame.
    writing: Mutex<Pages>,
    /// Notified when a frame is closed and when a segment was freed, or not.
    closed: Condvar,
    /// Held by the thread that checkpoints.
    checkpointing: Mutex<()>,
    /// Findings of checkpoints that nobody was told of yet.
    findings: Mutex<Recovery>,
    /// Number of refused instances whose entries could not be voided.
    not_voided: AtomicU64,
}

/// The outcome of appending a frame.
#[derive(Debug)]
pub(crate) enum Appended<H: Handle> {
    /// The frame is on the disk.
    Durable(Arc<FrameGuard<H>>),
    /// The log has no room, or another thread held the log beyond the timeout. The caller may commit without the log.
    NoRoom,
    /// The frame may or may not be in the log. Its segment takes no more frames. The caller may commit without the log.
    NotWritten {
        error: StoreError,
        /// The log has entries of the same paths from other frames.
        has_earlier: bool,
    },
    /// The frame may or may not be in the log. Its segment takes no more frames. Its instances have failed.
    NotSynced(StoreError),
}

/// An open frame: some of its files have no final name yet. While the guard lives, the segment is not freed.
#[derive(Debug)]
pub(crate) struct FrameGuard<H: Handle> {
    wal: Arc<Wal<H>>,
    segment: usize,
    /// If false, no frame may follow this one.
    is_durable: bool,
    /// The log has earlier entries of the same paths.
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
    /// Creates the two segments, empty, in `directory`. They replace those of an earlier log, which was `replayed`.
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
            findings: Mutex::default(),
            not_voided: AtomicU64::new(0),
        }))
    }

    /// Removes the segments in `directory` durably, and their entries with them.
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
    /// If the segments cannot be examined.
    pub(crate) fn is_in(&self, dir: &H) -> Result<bool, Errno> {
        let log = Path::new(OWN).join("log");
        for (number, segment) in self.segments.iter().enumerate() {
            if !is_at(dir, &log.join(segment::name(number)), &segment.file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stops appending. A commit that began earlier gets [`Appended::NoRoom`].
    pub(crate) fn retire(&self) {
        self.state.lock().is_retired = true;
    }

    /// Whether the log has an entry for `path`, or for a path with the same hash.
    pub(crate) fn has(&self, path: PathKey) -> bool {
        self.state.lock().has(path)
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
            // From here on the segment may contain parts of the frame, whatever the outcome.
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

    /// When the next checkpoint is due: at once if a segment is full. `None` if the log is empty.
    pub(crate) fn checkpoint_due(&self) -> Option<Instant> {
        let due = self.state.lock().due()?;
        // Another thread is checkpointing and may be fenced meanwhile, so the caller looks again later.
        Some(if self.checkpointing.is_locked() { due.max(now() + RETRY_CONTENDED_AFTER) } else { due })
    }
}

impl<H: Handle> FrameGuard<H> {
    /// Whether the log has earlier entries of the paths of this frame.
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
