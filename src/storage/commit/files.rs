//! The files of instances that are in the commit log: whoever has nothing else to do writes them while it is synced.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::StoreError;
use crate::instance::{Instance, OTHER_HANDS_PATIENCE};
use crate::root::Root;
use crate::store::Inner;
use crate::temp::TempFile;

/// Files to be written before the commit that they belong to can be finished; a clone stands for the same ones.
#[derive(Debug)]
pub struct Files<I>(Arc<Unwritten<I>>);

#[derive(Debug)]
struct Unwritten<I> {
    store: Arc<Inner>,
    root: Arc<Root>,
    are_small: bool,
    /// Each locked by the one that writes it, and empty once it was taken.
    files: Vec<Mutex<Option<ToWrite<I>>>>,
}

#[derive(Debug)]
pub(super) struct ToWrite<I> {
    pub(super) instance: I,
    pub(super) temp: Option<Result<TempFile, StoreError>>,
}

impl<I> Clone for Files<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Deref<Target: AsRef<Instance>>> Files<I> {
    pub(super) fn new(store: &Arc<Inner>, root: &Arc<Root>, files: Vec<ToWrite<I>>) -> Self {
        let are_small = files.iter().all(|file| (*file.instance).as_ref().is_small());
        let files = files.into_iter().map(|file| Mutex::new(Some(file))).collect();
        Self(Arc::new(Unwritten { store: Arc::clone(store), root: Arc::clone(root), are_small, files }))
    }

    /// Whether each is of a small instance. For what is more than that, it does not pay to call another thread.
    pub fn are_small(&self) -> bool {
        self.0.are_small
    }

    /// Writes those that are not written, but for one that another thread is at. `pulse` is called after each.
    pub fn write(&self, pulse: &dyn Fn()) {
        self.0.write(self.0.files.iter(), pulse);
    }

    /// The temp files, in order: written by now, or else by this.
    pub(super) fn take(&self, pulse: &dyn Fn()) -> Vec<Result<TempFile, StoreError>> {
        // From the other end: whoever is still at it is helped, and waited for no longer than one file takes.
        self.0.write(self.0.files.iter().rev(), pulse);
        let taken = |file: &Mutex<Option<ToWrite<I>>>| {
            let mut file = file.try_lock_for(OTHER_HANDS_PATIENCE).ok_or(StoreError::InOtherHands)?;
            file.take().and_then(|file| file.temp).unwrap_or(Err(StoreError::InOtherHands))
        };
        self.0.files.iter().map(taken).collect()
    }
}

impl<I: Deref<Target: AsRef<Instance>>> Unwritten<I> {
    fn write<'a>(&self, files: impl Iterator<Item = &'a Mutex<Option<ToWrite<I>>>>, pulse: &dyn Fn())
    where
        I: 'a,
    {
        for file in files {
            let mut file = file.try_lock();
            if let Some(Some(file)) = file.as_deref_mut()
                && file.temp.is_none()
            {
                file.temp = Some(write_file(&self.store, &self.root, (*file.instance).as_ref(), false));
                pulse();
            }
        }
    }
}

/// A temp file with the bytes of an instance that is in memory, and with their digest; `is_synced_next`, by itself.
pub(super) fn write_file(
    store: &Inner,
    root: &Arc<Root>,
    instance: &Instance,
    is_synced_next: bool,
) -> Result<TempFile, StoreError> {
    let temp = TempFile::create(root, &store.temp_names)?;
    match is_synced_next {
        true => temp.write_through(0, instance.pieces())?,
        false => temp.write_at(0, instance.pieces())?,
    }
    temp.note(instance.digest());
    Ok(temp)
}
