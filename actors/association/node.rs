//! The node as a connection sees it: what every association gets, the settings of the moment the connection began, and the phase.

use std::sync::Arc;

use tokio::sync::watch;

use super::env::Env;
use crate::node::phase::Phase;
use crate::node::settings::LiveSettings;

/// See the module.
pub(super) struct Node {
    pub(super) env: Arc<Env>,
    /// The settings of the moment the connection began.
    pub(super) live: Arc<LiveSettings>,
    phase: watch::Receiver<Phase>,
}

impl Node {
    pub(super) fn new(env: Arc<Env>) -> Self {
        Self { live: env.live.get(), phase: env.phase.clone(), env }
    }

    /// What the node is about.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits for the next phase. An error: there is no node any more.
    pub(super) async fn phase_changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.phase.changed().await
    }

    /// Another view of the phase.
    pub(super) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }
}
