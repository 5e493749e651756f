//! Which final names are about to be given: at most one commit gives a name at a time, so that the order of renames is that of answers.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use crate::error::StoreError;
use crate::sync::{Condvar, Mutex, Patience};

/// Names below one root that commits are about to give.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    taken: Mutex<HashSet<PathKey>>,
    released: Condvar,
    hasher: RandomState,
}

/// A path, hashed: two that collide wait for each other, and cost a checkpoint at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PathKey(u64);

/// A name that no other commit gives to a file as long as this is held.
#[derive(Debug)]
pub(crate) struct PathGuard {
    paths: Arc<Paths>,
    key: PathKey,
}

impl Paths {
    /// Tells a path from others. All of them come from one layout, so that no two ways of writing it mean the same.
    pub(crate) fn key(&self, path: &Path) -> PathKey {
        PathKey(self.hasher.hash_one(path.as_os_str()))
    }

    /// The name at `path`; `None` if another commit is about to give it.
    pub(crate) fn reserve_path(self: &Arc<Self>, path: &Path) -> Option<PathGuard> {
        let key = self.key(path);
        let is_free = self.taken.lock().insert(key);
        is_free.then(|| PathGuard { paths: Arc::clone(self), key })
    }

    /// The same, once nobody else is about to give it.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if somebody has been for too long.
    pub(crate) fn claim_path(self: &Arc<Self>, path: &Path) -> Result<PathGuard, StoreError> {
        let key = self.key(path);
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
        let guard = paths.reserve_path(Path::new("a/b")).unwrap();
        assert!(paths.reserve_path(Path::new("a/b")).is_none());
        assert!(paths.reserve_path(Path::new("a/c")).is_some());
        assert!(matches!(paths.claim_path(Path::new("a/b")), Err(StoreError::Contended)));
        drop(guard);
        assert_eq!(paths.claim_path(Path::new("a/b")).unwrap().key(), paths.key(Path::new("a/b")));
    }
}
