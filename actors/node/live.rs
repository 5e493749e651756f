//! The settings in force.

use std::sync::Arc;

use parking_lot::RwLock;

use super::settings::LiveSettings;

/// The settings in force, replaced as a whole.
#[derive(Debug)]
pub(crate) struct Live(RwLock<Arc<LiveSettings>>);

impl Live {
    pub(crate) fn new(settings: LiveSettings) -> Self {
        Self(RwLock::new(Arc::new(settings)))
    }

    /// The settings of this moment. A caller that needs several of them to agree keeps the result.
    pub(crate) fn get(&self) -> Arc<LiveSettings> {
        self.0.read().clone()
    }

    /// Puts other settings in force, all at once.
    pub(crate) fn set(&self, settings: LiveSettings) {
        *self.0.write() = Arc::new(settings);
    }
}
