//! The accepted presentation contexts.

use std::sync::Arc;

/// An accepted presentation context.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) abstract_syntax: Arc<str>,
    pub(crate) transfer_syntax: Arc<str>,
    /// Whether this node is an SCU of the SOP class here (PS3.7 §D.3.3.4).
    pub(crate) is_scu: bool,
    /// Whether this node is an SCP of the SOP class here.
    pub(crate) is_scp: bool,
}

/// The accepted presentation contexts of an association, by their odd ID (PS3.8 §9.3.2.2).
#[derive(Debug, Default)]
pub(crate) struct Contexts(Vec<Option<Context>>);

impl Contexts {
    pub(crate) fn insert(&mut self, id: u8, context: Context) {
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

    /// The requestor does not take the role of an SCU of the SOP class: this node is no SCP of it.
    pub(super) fn deny_scp(&mut self, abstract_syntax: &str) {
        for context in self.0.iter_mut().flatten().filter(|context| &*context.abstract_syntax == abstract_syntax) {
            context.is_scp = false;
        }
    }

    /// The requestor is an SCP of the SOP class: this node may be an SCU of it.
    pub(super) fn allow_scu(&mut self, abstract_syntax: &str) {
        for context in self.0.iter_mut().flatten().filter(|context| &*context.abstract_syntax == abstract_syntax) {
            context.is_scu = true;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Context> {
        self.0.iter().flatten()
    }

    /// The contexts with their IDs.
    pub(crate) fn with_ids(&self) -> impl Iterator<Item = (u8, &Context)> {
        let odd = (1..=u8::MAX).step_by(2);
        odd.zip(&self.0).filter_map(|(id, context)| Some((id, context.as_ref()?)))
    }
}
