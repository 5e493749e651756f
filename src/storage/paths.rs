//! Reservations of final names. Invariant: at most one commit at a time renames to a path, so renames and answers have the same order.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use crate::error::StoreError;
use crate::sync::{Condvar, Mutex, Patience};

/// The paths below one root that commits have reserved.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    taken: Mutex<PathKeys>,
    released: Condvar,
    hasher: RandomState,
}

/// The hash of a path. Two paths that collide wait for each other, and cost a checkpoint at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PathKey(u64);

/// A set of paths, by the hash they already have.
pub(crate) type PathKeys = HashSet<PathKey, BuildHasherDefault<AsIs>>;

/// Uses a [`PathKey`] as its own hash.
#[derive(Debug, Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte)); // nothing but a key is written
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// The reservation of a path. While it is held, no other commit renames a file to that path.
#[derive(Debug)]
pub(crate) struct PathGuard {
    paths: Arc<Paths>,
    key: PathKey,
}

impl Paths {
    /// The key of a path. All paths come from one layout, so no path has two spellings.
    pub(crate) fn key(&self, path: &Path) -> PathKey {
        PathKey(self.hasher.hash_one(path.as_os_str()))
    }

    /// Reserves the path with that key; `None` if another commit holds it.
    pub(crate) fn reserve_path(self: &Arc<Self>, key: PathKey) -> Option<PathGuard> {
        let is_free = self.taken.lock().insert(key);
        is_free.then(|| PathGuard { paths: Arc::clone(self), key })
    }

    /// Reserves the path with that key, and waits for another commit to release it.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if another commit holds it beyond the timeout.
    pub(crate) fn claim_path(self: &Arc<Self>, key: PathKey) -> Result<PathGuard, StoreError> {
        let (mut taken, mut patience) = (self.taken.lock(), Patience::new());
        while !taken.insert(key) {
            if !self.released.wait(&mut taken, &mut patience) {
                return Err(StoreError::Contended);
            }
        }
        Ok(PathGuard { paths: Arc::clone(self), key })
    }
}

impl PathGuard {
    pub(crate) fn key(&self) -> PathKey {
        self.key
    }
}

impl Drop for PathGuard {
    fn drop(&mut self) {
        self.paths.taken.lock().remove(&self.key);
        self.paths.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_given_by_one_commit_at_a_time() {
        let paths = Arc::<Paths>::default();
        let [b, c] = ["a/b", "a/c"].map(|path| paths.key(Path::new(path)));
        let guard = paths.reserve_path(b).unwrap();
        assert!(paths.reserve_path(b).is_none());
        assert!(paths.reserve_path(c).is_some());
        assert!(matches!(paths.claim_path(b), Err(StoreError::Contended)));
        drop(guard);
        assert_eq!(paths.claim_path(b).unwrap().key(), b);
    }
}
