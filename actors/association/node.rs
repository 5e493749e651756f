//! The node as a connection sees it: the environment of associations, the settings from the start of the connection, and the phase.

use std::sync::Arc;

use tokio::sync::watch;

use super::env::Env;
use crate::node::phase::Phase;
use crate::node::settings::LiveSettings;

/// The parts of the node that a connection uses.
pub(super) struct Node {
    pub(super) env: Arc<Env>,
    /// The settings in force when the connection began.
    pub(super) live: Arc<LiveSettings>,
    phase: watch::Receiver<Phase>,
}

impl Node {
    pub(super) fn new(env: Arc<Env>) -> Self {
        Self { live: env.live.get(), phase: env.phase.clone(), env }
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
