//! A dataset too large for memory, received straight into the temp file it will be committed from.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::error::StoreError;
use crate::instance::OTHER_HANDS_PATIENCE;
use crate::root::Root;
use crate::settings::Durability;
use crate::space;
use crate::temp::{TempFile, TempNames};

/// Bytes appended between two looks at the space that is left.
const ROOM_CHECK_INTERVAL_BYTES: u64 = 8 * 1024 * 1024;

/// A temp file that takes the file meta and the dataset behind it as they come. Dropped uncommitted, it is removed.
///
/// Any thread may write any part of it, and a part may be written again while a thread that was given up is still
/// at it: both write the same bytes to the same place.
#[derive(Debug)]
pub struct SpoolFile {
    temp: TempFile,
    root: Arc<Root>,
    meta_bytes: u64,
    file_bytes: AtomicU64,
    room_checked_up_to_bytes: AtomicU64,
    min_free_bytes: u64,
    durability: Durability,
    health: Mutex<Health>,
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

impl SpoolFile {
    pub(crate) fn create(
        root: &Arc<Root>,
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
            health: Mutex::new(Health::Unsynced),
        })
    }

    /// Writes the part that begins at `offset_bytes` of the file, which begins with the file meta. After an error the instance can no longer be
    /// committed. The parts must leave no gap by the time it is.
    pub fn write(&self, offset_bytes: u64, slices: &[Bytes]) -> Result<(), StoreError> {
        if let Health::Broken = *self.lock_health()? {
            return Err(StoreError::SpoolBroken);
        }
        let end_bytes = offset_bytes + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        let bytes = || slices.iter().map(|slice| slice.as_ref());
        let written = self.check_room(offset_bytes, end_bytes).and_then(|()| match self.durability {
            // While the rest still arrives: by its end the disk has most of it.
            Durability::Fsync => self.temp.write_through(offset_bytes, bytes()),
            Durability::None => self.temp.write_at(offset_bytes, bytes()),
        });
        *self.lock_health()? = if written.is_ok() { Health::Unsynced } else { Health::Broken };
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

    pub(crate) fn temp(&self) -> &TempFile {
        &self.temp
    }

    /// The file, and where in it the dataset begins.
    pub(crate) fn dataset(&self) -> (&File, u64) {
        (&self.temp.file, self.meta_bytes)
    }

    /// Returns when what was written is as durable as asked for. Two threads that commit this instance take turns:
    /// a failed sync is reported to one of them only.
    pub(crate) fn sync(&self, durability: Durability) -> Result<(), StoreError> {
        let mut health = self.lock_health()?;
        match (*health, durability) {
            (Health::Broken, _) => Err(StoreError::SpoolBroken),
            (Health::Synced, _) | (Health::Unsynced, Durability::None) => Ok(()),
            (Health::Unsynced, Durability::Fsync) => {
                let synced = self.temp.sync_data();
                *health = if synced.is_ok() { Health::Synced } else { Health::Broken };
                synced
            }
        }
    }

    /// Held for the time of a sync. Whoever hangs in one must not take the next thread with him.
    fn lock_health(&self) -> Result<MutexGuard<'_, Health>, StoreError> {
        self.health.try_lock_for(OTHER_HANDS_PATIENCE).ok_or(StoreError::InOtherHands)
    }

    fn check_room(&self, offset_bytes: u64, end_bytes: u64) -> Result<(), StoreError> {
        let checked = self.room_checked_up_to_bytes.load(Ordering::Relaxed);
        if self.min_free_bytes == 0 || end_bytes <= checked {
            return Ok(());
        }
        space::check(end_bytes - offset_bytes, space::free_bytes(&self.root)?, self.min_free_bytes)?;
        self.room_checked_up_to_bytes.store(end_bytes + ROOM_CHECK_INTERVAL_BYTES, Ordering::Relaxed);
        Ok(())
    }
}
