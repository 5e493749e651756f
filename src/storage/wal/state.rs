//! The contents of the two segments. This is bookkeeping in memory: it does no I/O.

use std::time::{Duration, Instant};

use super::record::{FRAMES_BEGIN_BYTES, PAGE_BYTES, SEGMENT_BYTES, SegmentHeader};
use crate::paths::{PathKey, PathKeys};
use crate::sync::now;

/// Most files of one segment. A checkpoint has to sync them all, and a start has to examine them.
const MAX_FILES: usize = 8192;

/// Files that a segment of a new log may have. Each checkpoint that keeps within [`CHECKPOINT_TARGET`] doubles them.
const FIRST_FILES: usize = 256;

/// Files that a segment may have on the slowest disk. Fewer would cost more syncs of the log than they save.
const MIN_FILES: usize = 32;

/// The longest time that a checkpoint should take: meanwhile the disk's queue is full of files, and a write of the log waits behind them.
/// The number of files in a segment follows from it and from the speed of the last checkpoint.
const CHECKPOINT_TARGET: Duration = Duration::from_millis(250);

/// Age of a segment's first frame at which the segment is checkpointed. It bounds the age of files that a start after a crash examines.
pub(super) const CHECKPOINT_AFTER: Duration = Duration::from_secs(1);

/// Room at the end of a segment that only void entries may use, so that a refusal finds some.
const RESERVE_BYTES: u64 = 4 * PAGE_BYTES;

/// The state of the old log that a new one continues.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replayed {
    /// Higher than all in the old log.
    pub(crate) next_generation: u64,
    /// The segment that is made anew first: were it the newer one, and the machine crashed in between, the next start would take the older
    /// one for all there is.
    pub(crate) older: usize,
}

/// The part of a segment that a frame may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserve {
    /// Everything except the reserve.
    Kept,
    /// The whole segment.
    Used,
}

/// The size of a segment after it is freed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    /// Larger, if the segment was full and was not just left for its age.
    Larger,
    AsItIs,
}

#[derive(Debug)]
pub(super) struct State {
    /// The segment that frames are appended to, if there is one.
    active: Option<usize>,
    pub(super) slots: [Slot; 2],
    next_generation: u64,
    /// Earliest time of the next checkpoint after one that failed.
    retry_at: Option<Instant>,
    /// No later start reads this log.
    pub(super) is_retired: bool,
    /// Files that a segment may have, as far as the disk's speed is known.
    max_files: usize,
}

/// An open frame.
pub(super) struct Begun {
    pub(super) number: u32,
    pub(super) offset_bytes: u64,
    /// The log already has entries of the same paths.
    pub(super) has_earlier: bool,
}

/// The contents of one segment.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) header: SegmentHeader,
    /// Allocated size of the segment.
    room_bytes: u64,
    used_bytes: u64,
    frames: u32,
    /// Paths of the entries in its frames.
    paths: PathKeys,
    /// Number of frames with files that have no final name yet.
    pub(super) open: u32,
    /// When the first of its frames was written.
    since: Option<Instant>,
    /// Number of failed syncs before the first of its files was written.
    pub(super) failures: u64,
    /// The write or the sync of its last frame failed: no frame may follow.
    is_broken: bool,
    /// A checkpoint is about to free the segment.
    is_closing: bool,
}

impl Slot {
    pub(super) fn empty(header: SegmentHeader, laid_out_bytes: u64) -> Self {
        Self {
            header,
            room_bytes: laid_out_bytes.min(SEGMENT_BYTES),
            used_bytes: FRAMES_BEGIN_BYTES,
            frames: 0,
            paths: PathKeys::default(),
            open: 0,
            since: None,
            failures: u64::MAX,
            is_broken: false,
            is_closing: false,
        }
    }

    /// Allocates room for a frame and opens it. Returns the number and the offset of the frame.
    fn begin_frame(&mut self, bytes: u64, now: Instant, failures: u64) -> (u32, u64) {
        let (number, offset_bytes) = (self.frames, self.used_bytes);
        self.used_bytes += bytes.next_multiple_of(PAGE_BYTES);
        self.frames += 1;
        self.open += 1;
        self.since.get_or_insert(now);
        self.failures = self.failures.min(failures);
        (number, offset_bytes)
    }

    fn has_room(&self, bytes: u64, files: usize, max_files: usize, reserve: Reserve) -> bool {
        if self.is_broken || self.is_closing {
            return false;
        }
        let reserved_bytes = if reserve == Reserve::Kept { RESERVE_BYTES } else { 0 };
        // A batch is not divided: the first may have more files.
        let max_files = if self.paths.is_empty() { MAX_FILES } else { max_files };
        self.used_bytes + bytes + reserved_bytes <= self.room_bytes && self.paths.len() + files <= max_files
    }

    pub(super) fn has(&self, path: PathKey) -> bool {
        self.paths.contains(&path)
    }

    /// Offset of the end of its frames.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }
}

impl State {
    pub(super) fn new(slots: [Slot; 2], next_generation: u64) -> Self {
        Self { active: Some(0), slots, next_generation, retry_at: None, is_retired: false, max_files: FIRST_FILES }
    }

    pub(super) fn has(&self, path: PathKey) -> bool {
        self.slots.iter().any(|slot| slot.has(path))
    }

    /// The segment that has room for `bytes` and `files`.
    pub(super) fn with_room(&mut self, bytes: u64, files: usize, reserve: Reserve) -> Option<usize> {
        if self.is_retired {
            return None;
        }
        if let Some(active) = self.active
            && !self.slots[active].has_room(bytes, files, self.max_files, reserve)
        {
            self.leave(active);
        }
        let segment = match reserve {
            Reserve::Kept => self.active?,
            // An entry is voided by a later frame, never by an earlier one.
            Reserve::Used => self.active.or_else(|| self.newest())?,
        };
        self.slots[segment].has_room(bytes, files, self.max_files, reserve).then_some(segment)
    }

    /// Whether a checkpoint may free a segment that has room for `bytes`. False after one that failed.
    pub(super) fn may_get_room(&self, bytes: u64) -> bool {
        let largest = self.slots.iter().map(|slot| slot.room_bytes).max().unwrap_or(0);
        let fits = FRAMES_BEGIN_BYTES + bytes + RESERVE_BYTES <= largest;
        fits && !self.is_retired && self.retry_at.is_none()
    }

    /// Adapts the number of files in a segment to the disk: one sync of the filesystem has taken so long for those of `segment`.
    pub(super) fn adapt(&mut self, segment: usize, took: Duration) {
        let files = self.slots[segment].paths.len();
        if took > CHECKPOINT_TARGET {
            let in_time = (files as f64 * CHECKPOINT_TARGET.as_secs_f64() / took.as_secs_f64()) as usize;
            self.max_files = in_time.clamp(MIN_FILES, self.max_files);
        } else if 2 * files > self.max_files {
            self.max_files = (2 * self.max_files).min(MAX_FILES);
        }
    }

    /// Opens a frame in `segment`, which must have room for it.
    pub(super) fn begin_frame(
        &mut self,
        segment: usize,
        bytes: u64,
        paths: impl Iterator<Item = PathKey>,
        failures: u64,
    ) -> Begun {
        let mut has_earlier = false;
        for path in paths {
            has_earlier |= self.slots[1 - segment].has(path);
            has_earlier |= !self.slots[segment].paths.insert(path);
        }
        let (number, offset_bytes) = self.slots[segment].begin_frame(bytes, now(), failures);
        Begun { number, offset_bytes, has_earlier }
    }

    pub(super) fn leave_active(&mut self) {
        if let Some(active) = self.active {
            self.leave(active);
        }
    }

    fn leave_if_active(&mut self, segment: usize) {
        if self.active == Some(segment) {
            self.leave(segment);
        }
    }

    /// Forbids any further frame in this segment.
    pub(super) fn close_broken(&mut self, segment: usize) {
        self.slots[segment].is_broken = true;
        self.leave_if_active(segment);
    }

    /// Begins to free a segment: no frame is appended to it any more.
    pub(super) fn begin_closing(&mut self, segment: usize) {
        self.slots[segment].is_closing = true;
        self.leave_if_active(segment);
    }

    /// Keeps a segment whose checkpoint failed.
    pub(super) fn keep(&mut self, segment: usize, retry_at: Instant) {
        self.slots[segment].is_closing = false;
        self.retry_at = Some(retry_at);
    }

    /// Stops appending to this segment, and switches to the other if it is free.
    fn leave(&mut self, segment: usize) {
        if self.slots[segment].since.is_none() {
            return; // nobody would come to free it
        }
        let other = 1 - segment;
        self.active = (self.slots[other].since.is_none()).then_some(other);
    }

    /// The non-empty segment that was written first.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.filled().min_by_key(|segment| self.slots[*segment].header.generation)
    }

    fn newest(&self) -> Option<usize> {
        self.filled().max_by_key(|segment| self.slots[*segment].header.generation)
    }

    fn filled(&self) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(|segment| self.slots[*segment].since.is_some())
    }

    pub(super) fn take_generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation - 1
    }

    /// The size that the segment is to have after it is freed.
    pub(super) fn wanted_bytes(&self, segment: usize, room: Room) -> u64 {
        let Slot { room_bytes, used_bytes, .. } = self.slots[segment];
        let largest = self.slots.iter().map(|slot| slot.room_bytes).max().unwrap_or(0);
        match room {
            Room::Larger if used_bytes > room_bytes / 2 => (2 * largest).min(SEGMENT_BYTES),
            Room::Larger | Room::AsItIs => room_bytes,
        }
    }

    pub(super) fn freed(&mut self, segment: usize, header: SegmentHeader, laid_out_bytes: u64) {
        self.slots[segment] = Slot::empty(header, laid_out_bytes);
        self.active.get_or_insert(segment);
        self.retry_at = None;
    }

    /// Whether the next checkpoint is due because a segment is full, and not because of its age.
    #[cfg(test)]
    pub(super) fn is_oldest_full(&self) -> bool {
        self.oldest().is_some_and(|oldest| self.active != Some(oldest))
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let oldest = self.oldest()?;
        let since = self.slots[oldest].since?;
        let due = if self.active == Some(oldest) { since + CHECKPOINT_AFTER } else { since };
        Some(self.retry_at.map_or(due, |retry_at| due.max(retry_at)))
    }
}
