//! The node as a connection sees it: the shared state, the settings from the start of the connection, and the phase.

use std::sync::Arc;

use tokio::sync::watch;

use crate::node::settings::LiveSettings;
use crate::node::shared::{Phase, Shared};

/// See the module.
pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    /// The settings in force when the connection began.
    pub(super) live: Arc<LiveSettings>,
    phase: watch::Receiver<Phase>,
}

impl Node {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { live: shared.live(), phase: shared.phase.subscribe(), shared }
    }

    /// The present phase.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits for the next phase. An error: the node has ended.
    pub(super) async fn phase_changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.phase.changed().await
    }

    /// A second receiver of the phase.
    pub(super) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }
}
