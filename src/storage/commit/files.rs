//! The files of instances that are in the commit log: whoever has nothing else to do writes them while it is synced.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::instance::{Instance, OTHER_HANDS_PATIENCE, Payload};
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
    /// Locked by the one that writes them; empty once they were taken.
    files: Mutex<Vec<ToWrite<I>>>,
}

#[derive(Debug)]
pub(super) struct ToWrite<I> {
    pub(super) instance: I,
    /// The encoded file meta.
    pub(super) meta: Vec<u8>,
    pub(super) temp: Option<Result<TempFile, StoreError>>,
}

impl<I> Clone for Files<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Deref<Target: AsRef<Instance>>> Files<I> {
    pub(super) fn new(store: &Arc<Inner>, root: &Arc<Root>, files: Vec<ToWrite<I>>) -> Self {
        Self(Arc::new(Unwritten { store: Arc::clone(store), root: Arc::clone(root), files: Mutex::new(files) }))
    }

    /// Writes them, unless they are written or another thread is at it. `pulse` is called after each.
    pub fn write(&self, pulse: &dyn Fn()) {
        if let Some(mut files) = self.0.files.try_lock() {
            self.0.write(&mut files, pulse);
        }
    }

    /// The temp files, in order: written by now, or else by this.
    pub(super) fn take(&self, pulse: &dyn Fn()) -> Result<Vec<Result<TempFile, StoreError>>, StoreError> {
        let mut files = self.0.files.try_lock_for(OTHER_HANDS_PATIENCE).ok_or(StoreError::InOtherHands)?;
        self.0.write(&mut files, pulse);
        Ok(std::mem::take(&mut *files).into_iter().filter_map(|file| file.temp).collect())
    }
}

impl<I: Deref<Target: AsRef<Instance>>> Unwritten<I> {
    fn write(&self, files: &mut [ToWrite<I>], pulse: &dyn Fn()) {
        for file in files.iter_mut().filter(|file| file.temp.is_none()) {
            file.temp = Some(write_file(&self.store, &self.root, &file.meta, (*file.instance).as_ref()));
            pulse();
        }
    }
}

/// A temp file with the bytes of an instance that is in memory, and with their digest.
pub(super) fn write_file(
    store: &Inner,
    root: &Arc<Root>,
    meta: &[u8],
    instance: &Instance,
) -> Result<TempFile, StoreError> {
    let temp = TempFile::create(root, &store.temp_names)?;
    temp.write_at(0, pieces(meta, instance))?;
    temp.note(Digest::of(pieces(meta, instance)));
    Ok(temp)
}

/// The bytes of the file, as they lie in memory.
pub(super) fn pieces<'a>(meta: &'a [u8], instance: &'a Instance) -> impl Iterator<Item = &'a [u8]> {
    let slices = match &instance.payload {
        Payload::Memory(slices) => slices.as_slice(),
        Payload::Spooled(_) => &[],
    };
    std::iter::once(meta).chain(slices.iter().map(|slice| slice.as_ref()))
}
