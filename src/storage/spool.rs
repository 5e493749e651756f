//! A dataset too large for memory, received straight into the temp file it will be committed from.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::error::StoreError;
use crate::fs::Handle;
use crate::root::Root;
use crate::settings::Durability;
use crate::space;
use crate::sync::{Mutex, MutexGuard};
use crate::temp::{TempFile, TempNames};

/// Bytes appended between two looks at the space that is left.
const ROOM_CHECK_INTERVAL_BYTES: u64 = 8 * 1024 * 1024;

/// A temp file that takes the file meta and the dataset behind it as they come. Dropped uncommitted, it is removed.
///
/// Any thread may write any part of it, and a part may be written again while a thread that was given up is still
/// at it: both write the same bytes to the same place.
#[derive(Debug)]
pub struct SpoolFile<H: Handle = File> {
    temp: TempFile<H>,
    root: Arc<Root<H>>,
    meta_bytes: u64,
    file_bytes: AtomicU64,
    room_checked_up_to_bytes: AtomicU64,
    min_free_bytes: u64,
    durability: Durability,
    data: Mutex<Data>,
}

/// What is known of the data.
#[derive(Debug)]
struct Data {
    health: Health,
    /// Where the parts that were written begin and end, in order; parts that touch are one.
    parts: Vec<(u64, u64)>,
}

/// What is known of the data on the disk.
#[derive(Debug, Clone, Copy)]
enum Health {
    Unsynced,
    Synced,
    /// A write or sync failed. Linux reports a failed sync once and then takes the pages for clean, so a second sync
    /// would succeed without the data being on the disk.
    Broken,
}

impl<H: Handle> SpoolFile<H> {
    pub(crate) fn create(
        root: &Arc<Root<H>>,
        names: &TempNames,
        meta_bytes: u64,
        min_free_bytes: u64,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            temp: TempFile::create(root, names)?,
            root: Arc::clone(root),
            meta_bytes,
            file_bytes: AtomicU64::new(0),
            room_checked_up_to_bytes: AtomicU64::new(0),
            min_free_bytes,
            durability,
            data: Mutex::new(Data { health: Health::Unsynced, parts: Vec::new() }),
        })
    }

    /// Writes the part that begins at `offset_bytes` of the file, which begins with the file meta. After an error the instance can no longer be
    /// committed. The parts must leave no gap by the time it is.
    pub fn write(&self, offset_bytes: u64, slices: &[Bytes]) -> Result<(), StoreError> {
        if let Health::Broken = self.lock()?.health {
            return Err(StoreError::SpoolBroken);
        }
        let end_bytes = offset_bytes + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        let bytes = || slices.iter().map(|slice| slice.as_ref());
        let written = self.check_room(offset_bytes, end_bytes).and_then(|()| match self.durability {
            // While the rest still arrives: by its end the disk has most of it.
            Durability::Fsync => self.temp.write_through(offset_bytes, bytes()),
            Durability::None => self.temp.write_at(offset_bytes, bytes()),
        });
        self.lock()?.note(written.is_ok().then_some((offset_bytes, end_bytes)));
        self.file_bytes.fetch_max(end_bytes, Ordering::Relaxed);
        written
    }

    /// Bytes of the file so far.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the dataset so far.
    pub fn dataset_bytes(&self) -> u64 {
        self.file_bytes().saturating_sub(self.meta_bytes)
    }

    pub(crate) fn temp(&self) -> &TempFile<H> {
        &self.temp
    }

    /// The file, and where in it the dataset begins.
    pub(crate) fn dataset(&self) -> (&H, u64) {
        (&self.temp.file, self.meta_bytes)
    }

    /// Returns when what was written is as durable as asked for. Two threads that commit this instance take turns:
    /// a failed sync is reported to one of them only.
    ///
    /// # Errors
    /// [`StoreError::SpoolBroken`] if a part is missing, or a write or sync of one has failed.
    pub(crate) fn sync(&self, durability: Durability) -> Result<(), StoreError> {
        let mut data = self.lock()?;
        if !data.is_whole(self.file_bytes()) {
            return Err(StoreError::SpoolBroken);
        }
        match (data.health, durability) {
            (Health::Broken, _) => Err(StoreError::SpoolBroken),
            (Health::Synced, _) | (Health::Unsynced, Durability::None) => Ok(()),
            (Health::Unsynced, Durability::Fsync) => {
                let synced = self.temp.sync_data();
                data.health = if synced.is_ok() { Health::Synced } else { Health::Broken };
                synced
            }
        }
    }

    /// Held for the time of a sync. A thread that hangs in one must not take the next one with it.
    fn lock(&self) -> Result<MutexGuard<'_, Data>, StoreError> {
        self.data.lock_in_time().ok_or(StoreError::Contended)
    }

    fn check_room(&self, offset_bytes: u64, end_bytes: u64) -> Result<(), StoreError> {
        let checked = self.room_checked_up_to_bytes.load(Ordering::Relaxed);
        if self.min_free_bytes == 0 || end_bytes <= checked {
            return Ok(());
        }
        space::check(end_bytes - offset_bytes, space::of(&self.root)?.free_bytes, self.min_free_bytes)?;
        self.room_checked_up_to_bytes.store(end_bytes + ROOM_CHECK_INTERVAL_BYTES, Ordering::Relaxed);
        Ok(())
    }
}

impl Data {
    /// Takes note of a part that was written, or of one that was not.
    fn note(&mut self, written: Option<(u64, u64)>) {
        let Some((mut begin, mut end)) = written else {
            self.health = Health::Broken;
            return;
        };
        if !matches!(self.health, Health::Broken) {
            self.health = Health::Unsynced;
        }
        self.parts.retain(|part| {
            let touches = part.0 <= end && begin <= part.1;
            if touches {
                (begin, end) = (begin.min(part.0), end.max(part.1));
            }
            !touches
        });
        let at = self.parts.partition_point(|part| part.0 < begin);
        self.parts.insert(at, (begin, end));
    }

    /// Whether the parts leave no gap in so many bytes.
    fn is_whole(&self, bytes: u64) -> bool {
        self.parts == [(0, bytes)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_any_order_are_whole_once_no_gap_is_left() {
        let mut data = Data { health: Health::Unsynced, parts: Vec::new() };
        for (part, is_whole) in
            [((20, 30), false), ((0, 10), false), ((25, 40), false), ((10, 20), true), ((5, 35), true)]
        {
            data.note(Some(part));
            assert_eq!(data.is_whole(40), is_whole, "{part:?}: {:?}", data.parts);
        }
        assert!(!data.is_whole(41));
    }

    #[test]
    fn a_part_that_was_not_written_breaks_it_for_good() {
        let mut data = Data { health: Health::Unsynced, parts: Vec::new() };
        data.note(None);
        data.note(Some((0, 10)));
        assert!(matches!(data.health, Health::Broken));
    }
}
