//! The elements to be read of a dataset.

use std::sync::Arc;

use dicom_core::Tag;

/// The elements to be read of a dataset. Without those that are *needed* the dataset cannot be filed; the others are read where they stand, and
/// nothing that is wrong about them or behind the last needed one is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// All, ascending.
    tags: Arc<[Tag]>,
    /// Of them, those that are needed.
    needed: Arc<[Tag]>,
}

impl Wanted {
    /// `needed`, ascending, and the others of `optional`.
    pub fn new(needed: Arc<[Tag]>, optional: &[Tag]) -> Self {
        debug_assert!(needed.is_sorted());
        let is_new = |tag: &&Tag| needed.binary_search(tag).is_err();
        let mut tags: Vec<Tag> = optional.iter().filter(is_new).chain(needed.iter()).copied().collect();
        if tags.len() == needed.len() {
            return needed.into();
        }
        tags.sort_unstable();
        tags.dedup();
        Self { tags: tags.into(), needed }
    }

    pub(super) fn len(&self) -> usize {
        self.tags.len()
    }

    pub(super) fn contains(&self, tag: Tag) -> bool {
        self.tags.binary_search(&tag).is_ok()
    }

    pub(super) fn needed(&self) -> &[Tag] {
        &self.needed
    }

    /// Whether no wanted element is to come in front of one with that tag.
    pub(super) fn ends_before(&self, tag: Tag) -> bool {
        self.tags.last().is_none_or(|last| tag > *last)
    }

    /// The same for needed ones.
    pub(super) fn needed_ends_before(&self, tag: Tag) -> bool {
        self.needed.last().is_none_or(|last| tag > *last)
    }
}

/// All of them are needed.
impl From<Arc<[Tag]>> for Wanted {
    fn from(needed: Arc<[Tag]>) -> Self {
        Self { tags: Arc::clone(&needed), needed }
    }
}
