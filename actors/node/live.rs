//! The settings in force.

use std::sync::Arc;

use tokio::sync::watch;

use super::settings::LiveSettings;

/// The settings in force, replaced as a whole.
#[derive(Debug)]
pub(crate) struct Live(watch::Sender<Arc<LiveSettings>>);

impl Live {
    pub(crate) fn new(settings: LiveSettings) -> Self {
        Self(watch::Sender::new(Arc::new(settings)))
    }

    /// The settings of this moment. A caller that needs several of them to agree keeps the result.
    pub(crate) fn get(&self) -> Arc<LiveSettings> {
        self.0.borrow().clone()
    }

    /// A receiver that has seen the settings of this moment, and learns of others.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<LiveSettings>> {
        self.0.subscribe()
    }

    /// Puts other settings in force, all at once.
    pub(crate) fn set(&self, settings: LiveSettings) {
        self.0.send_replace(Arc::new(settings));
    }
}
