//! The storage root as catch-up sees it.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, available_parallelism, scope};

use parking_lot::Mutex;
use tidegate_catalogue::Origin;
use tidegate_catalogue::catch_up::{self, Disk};
use tidegate_catalogue::receipt::{OriginEntry, OriginKey};
use tidegate_storage::head::Wanted;
use tidegate_storage::survey::{self, Directories, Files, Survey};
use tidegate_storage::{Store, StoreError};
use tracing::warn;

use super::record;
use crate::committed::clock_ms;
use crate::elements::{Catalogued, optional};

/// Files are read by so many threads at most: reading waits for the disk, and what is read is entered by one.
const MAX_READERS: usize = 4;
/// Files that it pays to have another thread read.
const FILES_OF_READER: usize = 32;
/// Origins of associations that are remembered. When there are more, all are forgotten.
const MAX_REMEMBERED: usize = 1024;

/// The root of the store.
pub(crate) struct RootDisk {
    store: Store,
    survey: Survey,
    wanted: Wanted,
    origins: Mutex<Origins>,
    assumed: Assumed,
    /// Files without a receipt that have destinations nevertheless.
    without_receipt: AtomicU64,
}

/// Says which destinations an instance has by the rules of today, if its file has no receipt: by calling AE title and SOP class.
pub(crate) type Assumed = Arc<dyn Fn(&str, &str) -> Arc<[String]> + Send + Sync>;

impl RootDisk {
    /// `keeps_patients`: the elements that describe a patient are read, too.
    ///
    /// # Errors
    /// If the root is not the one that was opened: of files that are not there nothing must be concluded.
    pub(crate) fn new(store: &Store, keeps_patients: bool, assumed: Assumed) -> Result<Self, StoreError> {
        let wanted = Wanted::new(Arc::new([]), &optional(false, Catalogued::of(keeps_patients)));
        Ok(Self {
            survey: store.survey()?,
            store: store.clone(),
            wanted,
            origins: Mutex::default(),
            assumed,
            without_receipt: AtomicU64::new(0),
        })
    }

    fn read_one(&self, path: &Path) -> io::Result<catch_up::Found> {
        Ok(match self.survey.read(path, &self.wanted)? {
            survey::Found::Instance(file) => {
                let origin_of = |key, association| self.origins.lock().find(&self.store, key, association);
                let record = record::of_file(path.to_owned(), *file, origin_of, &*self.assumed);
                let origin = record.as_ref().and_then(|record| record.origin.as_ref());
                if origin.is_some_and(|origin| origin.is_assumed() && !origin.destinations.is_empty()) {
                    self.without_receipt.fetch_add(1, Ordering::Relaxed);
                }
                record.map_or(catch_up::Found::Other, |record| catch_up::Found::Instance(Box::new(record)))
            }
            survey::Found::Other => catch_up::Found::Other,
            survey::Found::Gone => catch_up::Found::Gone,
        })
    }
}

impl Drop for RootDisk {
    fn drop(&mut self) {
        let files = self.without_receipt.load(Ordering::Relaxed);
        if files > 0 {
            warn!(
                files,
                "stored files have no receipt; of those that are new, the access rules of today name the destinations"
            );
        }
    }
}

impl Disk for RootDisk {
    type Directories = AllDirectories;
    type Files = FilesOfDirectory;

    fn directories(&self) -> io::Result<AllDirectories> {
        self.survey.directories().map(AllDirectories).map_err(io::Error::other)
    }

    fn stamp_ns(&self, directory: &Path) -> io::Result<Option<i64>> {
        Ok(self.survey.changed_ns(directory)?)
    }

    fn files(&self, directory: &Path) -> io::Result<FilesOfDirectory> {
        Ok(FilesOfDirectory(self.survey.files(directory)?))
    }

    fn is_there(&self, path: &Path) -> io::Result<bool> {
        Ok(self.survey.is_file(path)?)
    }

    fn read(&self, paths: &[PathBuf]) -> Vec<io::Result<catch_up::Found>> {
        let read = |paths: &[PathBuf]| paths.iter().map(|path| self.read_one(path)).collect::<Vec<_>>();
        let readers = available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_READERS);
        let of_reader = paths.len().div_ceil(readers).max(FILES_OF_READER);
        let Some((own, others)) = paths.split_at_checked(of_reader).filter(|(_, others)| !others.is_empty()) else {
            return read(paths);
        };
        scope(|scope| {
            let spawn = |paths| {
                let reader = Builder::new().name("catalogue-read".to_owned());
                (paths, reader.spawn_scoped(scope, move || read(paths)))
            };
            let others: Vec<_> = others.chunks(of_reader).map(spawn).collect();
            let mut found = read(own);
            for (paths, reader) in others {
                let panicked = |_| paths.iter().map(|_| Err(io::Error::other("its reader has panicked"))).collect();
                found.extend(match reader {
                    Ok(reader) => reader.join().unwrap_or_else(panicked),
                    Err(_) => read(paths), // no thread to be had
                });
            }
            found
        })
    }

    fn now_ns(&self) -> i64 {
        clock_ms().saturating_mul(1_000_000)
    }
}

/// The directories of the root.
pub(crate) struct AllDirectories(Directories);

impl Iterator for AllDirectories {
    type Item = io::Result<catch_up::Directory>;

    fn next(&mut self) -> Option<Self::Item> {
        let directory = self.0.next()?;
        let directory = directory.map(|survey::Directory { path, changed_ns }| (path, changed_ns));
        Some(directory.map(|(path, stamp_ns)| catch_up::Directory { path, stamp_ns }).map_err(io::Error::from))
    }
}

/// The files of a directory.
pub(crate) struct FilesOfDirectory(Files);

impl Iterator for FilesOfDirectory {
    type Item = io::Result<catch_up::File>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.0.next()?;
        let seen = |survey::Listed { name, bytes, modified_ns, recorded }| catch_up::File {
            name,
            seen: catch_up::Seen { bytes, modified_ns, digest: recorded.map(|recorded| recorded.digest.value()) },
        };
        Some(file.map(seen).map_err(io::Error::from))
    }
}

/// The list of origins, as far as it was needed.
#[derive(Default)]
struct Origins {
    entries: Vec<Arc<[u8]>>,
    of_associations: HashMap<(OriginKey, u32), Option<Arc<Origin>>>,
}

impl Origins {
    /// The origin of an association. `None`: the list does not have it, since it is another one than that of the receipt.
    fn find(&mut self, store: &Store, key: OriginKey, association: u32) -> Option<Arc<Origin>> {
        if let Some(known) = self.of_associations.get(&(key, association)) {
            return known.clone();
        }
        if self.entries.len() <= key.number as usize {
            // The node adds to the list while it is read. Without the list there are no origins.
            self.entries = store.origins().unwrap_or_default();
        }
        let entry = self.entries.get(key.number as usize).filter(|entry| OriginEntry::check(entry) == key.check);
        let origin = entry.and_then(|entry| OriginEntry::decode(entry).ok()).map(|entry| {
            let OriginEntry { calling_ae_title, address, rule, destinations } = entry;
            Arc::new(Origin { calling_ae_title, address, rule, destinations, association })
        });
        if self.of_associations.len() >= MAX_REMEMBERED {
            self.of_associations.clear();
        }
        self.of_associations.insert((key, association), origin.clone());
        origin
    }
}
