//! The node as a connection sees it: the environment of associations, the settings from the start of the connection and those in force,
//! and the phase.

use std::future::pending;
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
    in_force: watch::Receiver<Arc<LiveSettings>>,
    phase: watch::Receiver<Phase>,
}

impl Node {
    pub(super) fn new(env: Arc<Env>) -> Self {
        let in_force = env.live.watch();
        let live = in_force.borrow().clone();
        Self { live, in_force, phase: env.phase.clone(), env }
    }

    /// Whether settings have come into force that [`Self::take_in_force`] has not returned.
    pub(super) fn is_superseded(&self) -> bool {
        self.in_force.has_changed().unwrap_or(false)
    }

    /// The settings in force.
    pub(super) fn take_in_force(&mut self) -> Arc<LiveSettings> {
        self.in_force.borrow_and_update().clone()
    }

    /// The present phase.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits for the next phase; if the association `is_established`, also until [`Self::is_superseded`].
    pub(super) async fn changed(&mut self, is_established: bool) {
        tokio::select! {
            biased;
            Ok(()) = self.phase.changed() => {}
            Ok(()) = self.in_force.changed(), if is_established => self.in_force.mark_changed(),
            else => pending().await, // the node has ended
        }
    }

    /// A second receiver of the phase.
    pub(super) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.clone()
    }
}
