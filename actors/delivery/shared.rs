//! What the children of the destinations, the node and the observers share.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::figures::Figures;
use super::state::DestinationState;
use crate::node::live::Live;

/// See the module.
pub(crate) struct Shared {
    live: Arc<Live>,
    /// By name. Those of a destination outlive its child.
    figures: Mutex<BTreeMap<String, Arc<Figures>>>,
}

impl Shared {
    pub(crate) fn new(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self { live, figures: Mutex::default() })
    }

    /// The names of the destinations in the settings of this moment.
    pub(crate) fn names(&self) -> Vec<String> {
        self.live.get().delivery.destinations.iter().map(|destination| destination.name.clone()).collect()
    }

    /// The figures of a destination.
    pub(super) fn figures(&self, name: &str) -> Arc<Figures> {
        self.figures.lock().entry(name.to_owned()).or_default().clone()
    }

    /// Associations with destinations.
    pub(crate) fn connections(&self) -> u64 {
        self.figures.lock().values().map(|figures| figures.connections()).sum()
    }

    /// The states of the destinations in the settings, in their order.
    pub(crate) fn states(&self) -> Vec<DestinationState> {
        self.names().iter().map(|name| self.figures(name).state(name)).collect()
    }
}
