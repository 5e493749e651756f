//! A dataset too large for memory, received straight into the temp file it will be committed from.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::StoreError;
use crate::meta::FileMeta;
use crate::root::Root;
use crate::settings::Durability;
use crate::space;
use crate::temp::{TempFile, TempNames};

/// Bytes appended between two looks at the space that is left.
const ROOM_CHECK_INTERVAL_BYTES: u64 = 8 * 1024 * 1024;

/// A temp file that begins with the file meta and takes the dataset as it comes. Dropped uncommitted, it is removed.
#[derive(Debug)]
pub struct SpoolFile {
    temp: TempFile,
    root: Arc<Root>,
    meta_bytes: u64,
    dataset_bytes: u64,
    since_room_check_bytes: u64,
    min_free_bytes: u64,
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
        meta: &FileMeta,
        min_free_bytes: u64,
    ) -> Result<Self, StoreError> {
        let meta = meta.encode();
        let temp = TempFile::create(root, names)?;
        temp.append([meta.as_slice()])?;
        Ok(Self {
            temp,
            root: Arc::clone(root),
            meta_bytes: meta.len() as u64,
            dataset_bytes: 0,
            since_room_check_bytes: 0,
            min_free_bytes,
            health: Mutex::new(Health::Unsynced),
        })
    }

    /// Appends the next part of the dataset. After an error the instance can no longer be committed.
    pub fn append(&mut self, slices: &[Bytes]) -> Result<(), StoreError> {
        if let Health::Broken = *self.health.get_mut() {
            return Err(StoreError::SpoolBroken);
        }
        let bytes: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        *self.health.get_mut() = Health::Broken;
        self.check_room(bytes)?;
        self.temp.append(slices.iter().map(|slice| slice.as_ref()))?;
        *self.health.get_mut() = Health::Unsynced;
        self.dataset_bytes += bytes;
        Ok(())
    }

    /// Bytes of the dataset received so far.
    pub fn dataset_bytes(&self) -> u64 {
        self.dataset_bytes
    }

    pub(crate) fn temp(&self) -> &TempFile {
        &self.temp
    }

    /// The file, and where in it the dataset begins.
    pub(crate) fn dataset(&self) -> (&File, u64) {
        (&self.temp.file, self.meta_bytes)
    }

    /// Returns when what was appended is as durable as asked for. Two threads that commit this instance take turns:
    /// a failed sync is reported to one of them only.
    pub(crate) fn sync(&self, durability: Durability) -> Result<(), StoreError> {
        let mut health = self.health.lock();
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

    fn check_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        if self.min_free_bytes == 0 {
            return Ok(());
        }
        if self.dataset_bytes == 0 || self.since_room_check_bytes + bytes >= ROOM_CHECK_INTERVAL_BYTES {
            let free_bytes = space::free_bytes(&self.root)?;
            space::check(bytes, free_bytes, self.min_free_bytes)?;
            self.since_room_check_bytes = 0;
        }
        self.since_room_check_bytes += bytes;
        Ok(())
    }
}
