//! The node as a connection sees it: what all share, the settings of the moment the connection began, and the phase.

use std::sync::Arc;

use tokio::sync::watch;

use crate::node::settings::LiveSettings;
use crate::node::shared::{Phase, Shared};

/// See the module.
pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    /// The settings of the moment the connection began.
    pub(super) live: Arc<LiveSettings>,
    phase: watch::Receiver<Phase>,
}

impl Node {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { live: shared.live(), phase: shared.phase.subscribe(), shared }
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
