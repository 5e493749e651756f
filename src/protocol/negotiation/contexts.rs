//! The accepted presentation contexts.

use std::sync::Arc;

/// An accepted presentation context.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) abstract_syntax: Arc<str>,
    pub(crate) transfer_syntax: Arc<str>,
}

/// The accepted presentation contexts of an association, by their odd ID (PS3.8 §9.3.2.2).
#[derive(Debug, Default)]
pub(crate) struct Contexts(Vec<Option<Context>>);

impl Contexts {
    pub(super) fn insert(&mut self, id: u8, context: Context) {
        let index = usize::from(id / 2);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(context);
    }

    pub(crate) fn get(&self, id: u8) -> Option<&Context> {
        (id % 2 == 1).then(|| self.0.get(usize::from(id / 2))).flatten()?.as_ref()
    }

    pub(super) fn remove(&mut self, id: u8) {
        if let Some(context) = self.0.get_mut(usize::from(id / 2)) {
            *context = None;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Context> {
        self.0.iter().flatten()
    }
}
