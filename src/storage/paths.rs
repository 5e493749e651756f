//! Reservations of final names. Invariants: at most one commit at a time renames to a path, so renames and answers have the same order; and no
//! removal takes a file that a commit has found and not yet answered for.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use crate::error::StoreError;
use crate::sync::{Condvar, Mutex, Patience};

/// The paths below one root that commits have reserved.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    state: Mutex<Reserved>,
    released: Condvar,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Reserved {
    /// By a commit that renames to the path, or a removal.
    taken: PathKeys,
    /// Those of `taken` whose file is being removed.
    removing: PathKeys,
    /// Commits that have found the file at the path, and will answer so.
    held: HashMap<PathKey, u32, BuildHasherDefault<AsIs>>,
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
        let is_free = self.state.lock().taken.insert(key);
        is_free.then(|| PathGuard { paths: Arc::clone(self), key })
    }

    /// Reserves the path with that key in order to remove its file; `None` if a commit holds it, or will answer that it has found the file.
    pub(crate) fn reserve_removal(self: &Arc<Self>, key: PathKey) -> Option<PathGuard> {
        let mut state = self.state.lock();
        if state.held.contains_key(&key) || !state.taken.insert(key) {
            return None;
        }
        state.removing.insert(key);
        Some(PathGuard { paths: Arc::clone(self), key })
    }

    /// Keeps removals from the path with that key until the commit has answered. The caller looks again whether the file is there.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if it is being removed beyond the timeout.
    pub(crate) fn hold(self: &Arc<Self>, key: PathKey) -> Result<Held, StoreError> {
        let (mut state, mut patience) = (self.state.lock(), Patience::new());
        while state.removing.contains(&key) {
            if !self.released.wait(&mut state, &mut patience) {
                return Err(StoreError::Contended);
            }
        }
        *state.held.entry(key).or_default() += 1;
        Ok(Held { paths: Arc::clone(self), key })
    }

    /// Reserves the path with that key, and waits for another commit to release it.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if another commit holds it beyond the timeout.
    pub(crate) fn claim_path(self: &Arc<Self>, key: PathKey) -> Result<PathGuard, StoreError> {
        let (mut state, mut patience) = (self.state.lock(), Patience::new());
        while !state.taken.insert(key) {
            if !self.released.wait(&mut state, &mut patience) {
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
        let mut state = self.paths.state.lock();
        state.taken.remove(&self.key);
        state.removing.remove(&self.key);
        drop(state);
        self.paths.released.notify_all();
    }
}

/// A file that was found at a path. While this exists, no removal takes it.
#[derive(Debug)]
pub(crate) struct Held {
    paths: Arc<Paths>,
    key: PathKey,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.paths.state.lock();
        if let Some(held) = state.held.get_mut(&self.key) {
            *held -= 1;
            if *held == 0 {
                state.held.remove(&self.key);
            }
        }
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

    #[test]
    fn what_was_found_is_not_removed_before_the_answer() {
        let paths = Arc::<Paths>::default();
        let key = paths.key(Path::new("a/b"));
        let found = [paths.hold(key).unwrap(), paths.hold(key).unwrap()];
        assert!(paths.reserve_removal(key).is_none());
        // Others may still rename to it.
        drop(paths.reserve_path(key).unwrap());
        drop(found);
        let removal = paths.reserve_removal(key).unwrap();
        assert!(paths.reserve_path(key).is_none());
        assert!(matches!(paths.hold(key), Err(StoreError::Contended)));
        drop(removal);
        assert!(paths.hold(key).is_ok());
        let renamed = paths.reserve_path(key).unwrap();
        assert!(paths.reserve_removal(key).is_none());
        // A commit of the same batch holds it.
        assert!(paths.hold(key).is_ok());
        drop(renamed);
    }
}
