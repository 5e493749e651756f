//! The spool: a dataset too large for memory is received directly into the temp file from which it is committed.

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

/// Bytes appended between two checks of the free space.
const ROOM_CHECK_INTERVAL_BYTES: u64 = 8 * 1024 * 1024;

/// A temp file that receives the file meta and then the dataset, in parts. Dropping it uncommitted removes it. Any thread may write any
/// part, and writing a part is idempotent: a fenced thread may still be writing it while another writes the same bytes at the same
/// offset.
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

/// The state of the data.
#[derive(Debug)]
struct Data {
    health: Health,
    /// Begin and end of the written parts, in order. Adjacent parts are merged.
    parts: Vec<(u64, u64)>,
}

/// The state of the data on the disk.
#[derive(Debug, Clone, Copy)]
enum Health {
    Unsynced,
    Synced,
    /// A write or sync failed. Linux reports a failed sync once and then marks the pages clean, so a second sync would succeed although
    /// the data is not on the disk.
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

    /// Writes the part at `offset_bytes` of the file, which begins with the file meta. After an error the instance cannot be committed
    /// any more. The parts must be contiguous at the commit.
    pub fn write(&self, offset_bytes: u64, slices: &[Bytes]) -> Result<(), StoreError> {
        if let Health::Broken = self.lock()?.health {
            return Err(StoreError::SpoolBroken);
        }
        let end_bytes = offset_bytes + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        let bytes = || slices.iter().map(|slice| slice.as_ref());
        let written = self.check_room(offset_bytes, end_bytes).and_then(|()| match self.durability {
            // Write through while later parts still arrive, so that most of the data is on the disk at the end.
            Durability::Fsync => self.temp.write_through(offset_bytes, bytes()),
            Durability::None => self.temp.write_at(offset_bytes, bytes()),
        });
        self.lock()?.note(written.is_ok().then_some((offset_bytes, end_bytes)));
        self.file_bytes.fetch_max(end_bytes, Ordering::Relaxed);
        written
    }

    /// Number of bytes of the file so far.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Number of bytes of the dataset so far.
    pub fn dataset_bytes(&self) -> u64 {
        self.file_bytes().saturating_sub(self.meta_bytes)
    }

    pub(crate) fn temp(&self) -> &TempFile<H> {
        &self.temp
    }

    /// The file, and the offset of the dataset in it.
    pub(crate) fn dataset(&self) -> (&H, u64) {
        (&self.temp.file, self.meta_bytes)
    }

    /// Returns when the written data has the requested durability. Two threads that commit this instance exclude each other, because
    /// Linux reports a failed sync to one of them only.
    ///
    /// # Errors
    /// [`StoreError::SpoolBroken`] if a part is missing, or if the write or the sync of a part failed.
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

    /// Locks the data with a timeout: a thread that hangs in a sync must not block the next one.
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
    /// Records a written part, or a failed write.
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

    /// Whether the parts cover `bytes` without a gap.
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
