//! The commit log: small instances become durable together, by one write and one sync, and their files follow unsynced.
//!
//! `.tidegate/log` holds two segments. Frames are appended to one, and synced, one at a time, until it is full, or nothing was for
//! a while; then the other is taken, and the first is *checkpointed*: the filesystem is synced, which brings its files to the disk,
//! and then it is marked free. Opening a store writes out what the segments still hold, so an instance that was acknowledged is whole
//! whatever state a crash left its file in.
//!
//! What makes that right:
//! - A file gets its final name after the sync of its frame: a torn one under a final name is always in the log.
//! - A frame is written after the sync of the one before it; behind one that failed there is no other.
//! - A segment is marked free only when every file of its frames has its name ([`Held`]), and after the sync of those.
//! - A name that is in the log is given to another file by way of the log, or after a checkpoint ([`CommitLog::claim`]):
//!   what the log says of a name is the last that was acknowledged under it.
//! - At most one commit gives a name to a file at a time ([`Name`]), so the order of frames is that of the names.

mod pages;
mod record;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::fs::AtFlags;
use rustix::io::{Errno, retry_on_intr};

use self::pages::Pages;
pub(crate) use self::record::Entry;
use self::record::{Frame, PAGE_BYTES};
pub(crate) use self::replay::replay;
use self::segment::Segment;
use crate::error::{OpenError, StoreError};
use crate::fault::{self, Step};
use crate::instance::OTHER_HANDS_PATIENCE;

/// Most bytes of one segment. Twice that is what the log takes up on the disk once it has been full; until then, a segment that
/// was full is laid out for more before it is used again, by the one that checkpoints, so that nobody waits for it.
pub(crate) const SEGMENT_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 64 << 20 };
/// A frame is gathered and written so much at a time: most are smaller.
const GATHERED_BYTES: usize = if cfg!(test) { 8 << 10 } else { 256 << 10 };

/// Most files of one segment: what a checkpoint has to sync, and a start to look at.
const MAX_FILES: usize = 8192;
/// A segment with something in it is checkpointed after this time, so that a restart does not find files in it that have
/// been moved elsewhere long ago.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(1);
/// After a checkpoint that failed.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The log of one root.
#[derive(Debug)]
pub(crate) struct CommitLog {
    /// For syncing the filesystem, and for telling this log from another.
    pub(crate) directory: Arc<File>,
    segments: [Segment; 2],
    state: Mutex<State>,
    /// Held by the one that writes a frame.
    writing: Mutex<Pages>,
    /// A name is free again, or a file has got its.
    released: Condvar,
    /// Held by the one that checkpoints.
    checkpointing: Mutex<()>,
    hasher: RandomState,
}

#[derive(Debug)]
struct State {
    /// The segment that is appended to, if any can be.
    active: Option<usize>,
    slots: [Slot; 2],
    next_generation: u64,
    /// Names that a commit is about to give, hashed.
    in_hand: HashSet<u64>,
}

/// What is in a segment.
#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    /// What it is laid out for.
    room_bytes: u64,
    used_bytes: u64,
    frames: u32,
    /// Names of the files in its frames, hashed: two that collide cost a checkpoint.
    names: HashSet<u64>,
    /// Commits that are yet to give files of it their names.
    open: u32,
    /// When the first of its frames was written, or a checkpoint that failed is to be tried again.
    since: Option<Instant>,
}

/// What a segment is to have once it is free.
#[derive(Debug, Clone, Copy)]
enum Room {
    /// More, if it was full and not just left for its age.
    Larger,
    AsItIs,
}

/// A name that nobody else gives to a file as long as this is held.
#[derive(Debug)]
pub(crate) struct Name {
    log: Arc<CommitLog>,
    key: u64,
}

/// What became of a frame.
#[derive(Debug, Clone)]
pub(crate) enum Appended {
    /// It is on the disk.
    Durable(Arc<Held>),
    /// There is none for it, or another thread has been at it for too long. There are other ways to commit.
    NoRoom,
    /// It does not count, and nothing more is appended to its segment. There are other ways to commit.
    NotWritten(StoreError),
    /// It may be in the log or not, and nothing more is appended to its segment. What is in it has failed.
    NotSynced(StoreError),
}

/// A frame whose files are yet to get their names.
#[derive(Debug)]
pub(crate) struct Held {
    log: Arc<CommitLog>,
    segment: usize,
    /// If it is not, no frame may follow it.
    is_durable: bool,
}

impl CommitLog {
    /// Makes the two segments, empty, in `directory`; any file there is given up. `generation` is higher than any before.
    pub(crate) fn create(directory: &Arc<File>, path: &Path, generation: u64) -> Result<Arc<Self>, OpenError> {
        let segments =
            [Segment::create(directory, path, 0, generation)?, Segment::create(directory, path, 1, generation + 1)?];
        let state = State {
            active: Some(0),
            slots: [Slot::empty(generation, &segments[0]), Slot::empty(generation + 1, &segments[1])],
            next_generation: generation + 2,
            in_hand: HashSet::new(),
        };
        Ok(Arc::new(Self {
            directory: Arc::clone(directory),
            segments,
            state: Mutex::new(state),
            writing: Mutex::new(Pages::new(GATHERED_BYTES)),
            released: Condvar::new(),
            checkpointing: Mutex::new(()),
            hasher: RandomState::new(),
        }))
    }

    /// Removes the segments in `directory`, durably: what they held is void.
    pub(crate) fn remove(directory: &File) -> Result<(), Errno> {
        for number in 0..2 {
            match rustix::fs::unlinkat(directory, segment::name(number), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        retry_on_intr(|| rustix::fs::fsync(directory))
    }

    /// Whether the segments are still where the next start looks for them.
    pub(crate) fn is_linked(&self) -> bool {
        self.segments.iter().all(Segment::is_linked)
    }

    /// The name at `path`, for a file that is to go through the log; `None` if another commit is about to give it.
    pub(crate) fn reserve(self: &Arc<Self>, path: &Path) -> Option<Name> {
        let key = self.key(path);
        let is_free = self.state.lock().in_hand.insert(key);
        is_free.then(|| Name { log: Arc::clone(self), key })
    }

    /// The name at `path`, for a file that does not go through the log: waits for whoever is about to give it, and takes
    /// what the log says of it out of the log.
    pub(crate) fn claim(self: &Arc<Self>, path: &Path) -> Result<Name, StoreError> {
        let key = self.key(path);
        let mut state = self.state.lock();
        while !state.in_hand.insert(key) {
            if self.released.wait_for(&mut state, OTHER_HANDS_PATIENCE).timed_out() && state.in_hand.contains(&key) {
                return Err(StoreError::InOtherHands);
            }
        }
        let name = Name { log: Arc::clone(self), key };
        while state.slots.iter().any(|slot| slot.names.contains(&key)) {
            drop(state);
            self.checkpoint()?;
            state = self.state.lock();
        }
        Ok(name)
    }

    /// Tells a name from others. All of them come from one layout, so that no two ways of writing it mean the same.
    fn key(&self, path: &Path) -> u64 {
        self.hasher.hash_one(path.as_os_str())
    }

    /// Whether there is room for files of so many bytes altogether, as far as a look tells.
    pub(crate) fn has_room(&self, bytes: u64, files: usize) -> bool {
        self.state.lock().with_room(bytes, files).is_some()
    }

    /// Appends `entries` as one frame, each under its name, and returns once they are durable or cannot be. `meanwhile` is for a frame
    /// that takes the disk a while: it is done before that is waited for.
    pub(crate) fn append(
        self: &Arc<Self>,
        entries: &[Entry<'_>],
        names: &[&Name],
        meanwhile: Option<&dyn Fn()>,
    ) -> Appended {
        let Some(mut pages) = self.writing.try_lock_for(OTHER_HANDS_PATIENCE) else {
            return Appended::NoRoom;
        };
        let mut state = self.state.lock();
        let bytes = Frame::bytes(entries);
        let Some(segment) = state.with_room(bytes, entries.len()) else {
            return Appended::NoRoom;
        };
        // Whatever becomes of it: from now on something may be written there.
        let slot = &mut state.slots[segment];
        let (generation, number, offset_bytes) = (slot.generation, slot.frames, slot.used_bytes);
        slot.used_bytes += bytes.next_multiple_of(PAGE_BYTES);
        slot.frames += 1;
        slot.names.extend(names.iter().map(|name| name.key));
        slot.since.get_or_insert_with(Instant::now);
        slot.open += 1;
        drop(state);
        let mut held = Held { log: Arc::clone(self), segment, is_durable: false };
        let (segment, frame) = (&self.segments[segment], Frame::new(generation, number, entries, bytes));
        let written = match meanwhile {
            None => segment.write(offset_bytes, frame.slices(entries), &mut pages),
            Some(meanwhile) => {
                segment.start_writing(offset_bytes, bytes, frame.slices(entries)).inspect(|()| meanwhile())
            }
        };
        if let Err(error) = written {
            return Appended::NotWritten(StoreError::new("write", "the commit log", error));
        }
        if let Err(error) = segment.sync() {
            return Appended::NotSynced(StoreError::new("sync", "the commit log", error));
        }
        held.is_durable = true;
        Appended::Durable(Arc::new(held))
    }

    /// When the log is to be checkpointed: at once if a segment is full. `None`: there is nothing in it, or a thread is at it.
    pub(crate) fn checkpoint_due(&self) -> Option<Instant> {
        if self.checkpointing.is_locked() { None } else { self.state.lock().due() }
    }

    /// Checkpoints what is due, unless another thread is at it.
    pub(crate) fn checkpoint_if_due(&self) -> Result<(), StoreError> {
        let Some(_alone) = self.checkpointing.try_lock() else {
            return Ok(());
        };
        let is_due = || self.state.lock().due().is_some_and(|due| due <= Instant::now());
        while is_due() {
            self.free_oldest(Room::Larger)?;
        }
        Ok(())
    }

    /// Brings the files of every frame written so far to the disk and frees the segments.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let Some(_alone) = self.checkpointing.try_lock_for(OTHER_HANDS_PATIENCE) else {
            return Err(StoreError::InOtherHands);
        };
        for _ in 0..self.segments.len() {
            self.free_oldest(Room::AsItIs)?; // somebody waits for this
        }
        Ok(())
    }

    /// Checkpoints the segment that was written first. Never another before it: a name may be in both, and the later file is
    /// the one that counts.
    fn free_oldest(&self, room: Room) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let Some(segment) = state.oldest() else {
            return Ok(());
        };
        state.leave_if_active(segment);
        while state.slots[segment].open > 0 {
            if self.released.wait_for(&mut state, OTHER_HANDS_PATIENCE).timed_out() && state.slots[segment].open > 0 {
                return Err(StoreError::InOtherHands);
            }
        }
        let generation = state.next_generation;
        state.next_generation += 1;
        let Slot { room_bytes, used_bytes, .. } = state.slots[segment];
        let wanted_bytes = match room {
            Room::Larger if used_bytes > room_bytes / 2 => state.larger_bytes(),
            Room::Larger | Room::AsItIs => room_bytes,
        };
        drop(state);
        let freed = self.free(segment, generation, wanted_bytes);
        let mut state = self.state.lock();
        if freed.is_err() {
            state.slots[segment].since = Some(Instant::now() + TRY_AGAIN_AFTER);
            return freed;
        }
        state.slots[segment] = Slot::empty(generation, &self.segments[segment]);
        state.active.get_or_insert(segment);
        Ok(())
    }

    /// Syncs the files of a segment and empties it; it is to have room for `wanted_bytes` from now on, if the disk has it.
    fn free(&self, segment: usize, generation: u64, wanted_bytes: u64) -> Result<(), StoreError> {
        let segment = &self.segments[segment];
        segment.check_trust()?;
        let synced = fault::at(Step::Checkpoint).and_then(|()| retry_on_intr(|| rustix::fs::syncfs(&self.directory)));
        if let Err(error) = synced {
            // The system takes the files for clean now, so that no later sync could be believed: it stays in the log.
            segment.distrust();
            return Err(StoreError::new("sync the filesystem of", "the storage root", error));
        }
        let _ = segment.lay_out(wanted_bytes);
        fault::at(Step::Free)
            .and_then(|()| segment.mark_free(generation))
            .map_err(|error| StoreError::new("free a segment of", "the commit log", error))
    }
}

impl Slot {
    fn empty(generation: u64, segment: &Segment) -> Self {
        let room_bytes = segment.laid_out_bytes().min(SEGMENT_BYTES);
        Self { generation, room_bytes, used_bytes: PAGE_BYTES, ..Self::default() }
    }
}

impl State {
    /// The segment to append so much to.
    fn with_room(&mut self, bytes: u64, files: usize) -> Option<usize> {
        let active = self.active?;
        let has_room =
            |slot: &Slot| slot.used_bytes + bytes <= slot.room_bytes && slot.names.len() + files <= MAX_FILES;
        if !has_room(&self.slots[active]) {
            self.leave(active);
        }
        self.active.filter(|active| has_room(&self.slots[*active]))
    }

    fn leave_if_active(&mut self, segment: usize) {
        if self.active == Some(segment) {
            self.leave(segment);
        }
    }

    /// Appends no more to this segment; to the other, if it is free.
    fn leave(&mut self, segment: usize) {
        let other = 1 - segment;
        self.active = (self.slots[other].since.is_none()).then_some(other);
    }

    /// Twice the room of the largest segment, within bounds.
    fn larger_bytes(&self) -> u64 {
        let largest = self.slots.iter().map(|slot| slot.room_bytes).max().unwrap_or(0);
        (2 * largest).min(SEGMENT_BYTES)
    }

    /// Of the segments with something in them, the one that was written first.
    fn oldest(&self) -> Option<usize> {
        let filled = (0..self.slots.len()).filter(|segment| self.slots[*segment].since.is_some());
        filled.min_by_key(|segment| self.slots[*segment].generation)
    }

    fn due(&self) -> Option<Instant> {
        let oldest = self.oldest()?;
        let since = self.slots[oldest].since?;
        Some(if self.active == Some(oldest) { since + CHECKPOINT_AFTER } else { since })
    }
}

impl Held {
    /// Has nothing more appended to the segment of the frame: it is due for a checkpoint, and what is in it void soon.
    pub(crate) fn leave_segment(&self) {
        self.log.state.lock().leave_if_active(self.segment);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        state.slots[self.segment].open -= 1;
        if !self.is_durable {
            state.leave_if_active(self.segment);
        }
        drop(state);
        self.log.released.notify_all();
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.log.state.lock().in_hand.remove(&self.key);
        self.log.released.notify_all();
    }
}

impl Drop for CommitLog {
    /// A store that is closed in order leaves nothing to be done at the next start. What fails here is done then.
    fn drop(&mut self) {
        let _ = self.checkpoint();
    }
}
