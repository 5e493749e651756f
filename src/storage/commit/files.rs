//! The files of instances in the write-ahead log. Idle threads write them while the log is synced.

use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::StoreError;
use crate::fs::Handle;
use crate::inner::Inner;
use crate::instance::Instance;
use crate::root::Root;
use crate::sync::Mutex;
use crate::temp::TempFile;

/// The files that must be written before their commit can be finished. A clone refers to the same files.
#[derive(Debug)]
pub struct Files<I, H: Handle = File>(Arc<Unwritten<I, H>>);

#[derive(Debug)]
struct Unwritten<I, H: Handle> {
    store: Arc<Inner<H>>,
    root: Arc<Root<H>>,
    are_small: bool,
    /// A thread locks the file that it writes. `None` once the file was taken.
    files: Vec<Mutex<Option<ToWrite<I, H>>>>,
}

#[derive(Debug)]
pub(super) struct ToWrite<I, H: Handle> {
    pub(super) instance: I,
    pub(super) temp: Option<Result<TempFile<H>, StoreError>>,
}

impl<I, H: Handle> Clone for Files<I, H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Deref<Target: AsRef<Instance<H>>>, H: Handle> Files<I, H> {
    pub(super) fn new(store: &Arc<Inner<H>>, root: &Arc<Root<H>>, files: Vec<ToWrite<I, H>>) -> Self {
        let are_small = files.iter().all(|file| (*file.instance).as_ref().is_small());
        let files = files.into_iter().map(|file| Mutex::new(Some(file))).collect();
        Self(Arc::new(Unwritten { store: Arc::clone(store), root: Arc::clone(root), are_small, files }))
    }

    /// Whether all files are of small instances. For larger ones it does not pay to wake another thread.
    pub fn are_small(&self) -> bool {
        self.0.are_small
    }

    /// Writes the files that are not written, except those that another thread is writing. `progress` is called after each.
    pub fn write(&self, progress: &dyn Fn()) {
        self.0.write(self.0.files.iter(), progress);
    }

    /// Takes the temp files, in order. Writes those that no thread has written.
    pub(super) fn take(&self, progress: &dyn Fn()) -> Vec<Result<TempFile<H>, StoreError>> {
        // In reverse order: this helps a thread that is still writing, and waits for it no longer than one file takes.
        self.0.write(self.0.files.iter().rev(), progress);
        let taken = |file: &Mutex<Option<ToWrite<I, H>>>| {
            let mut file = file.lock_in_time().ok_or(StoreError::Contended)?;
            file.take().and_then(|file| file.temp).unwrap_or(Err(StoreError::Contended))
        };
        self.0.files.iter().map(taken).collect()
    }
}

impl<I: Deref<Target: AsRef<Instance<H>>>, H: Handle> Unwritten<I, H> {
    fn write<'a>(&self, files: impl Iterator<Item = &'a Mutex<Option<ToWrite<I, H>>>>, progress: &dyn Fn())
    where
        I: 'a,
        H: 'a,
    {
        for file in files {
            let mut file = file.try_lock();
            if let Some(Some(file)) = file.as_deref_mut()
                && file.temp.is_none()
            {
                file.temp = Some(write_file(&self.store, &self.root, (*file.instance).as_ref(), false));
                progress();
            }
        }
    }
}

/// Writes a temp file with the bytes and the digest of an instance in memory; `is_synced_next` if the file itself is synced next.
pub(super) fn write_file<H: Handle>(
    store: &Inner<H>,
    root: &Arc<Root<H>>,
    instance: &Instance<H>,
    is_synced_next: bool,
) -> Result<TempFile<H>, StoreError> {
    let temp = TempFile::create(root, &store.temp_names)?;
    match is_synced_next {
        true => temp.write_through(0, instance.pieces())?,
        false => temp.write_at(0, instance.pieces())?,
    }
    temp.record(instance.recorded());
    Ok(temp)
}
