//! What the children of the destinations, the node and the observers share.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::figures::Figures;
use super::report::{Inbox, NotTaken, Report, Taken, give};
use super::state::DestinationState;
use crate::node::live::Live;

/// See the module.
pub(crate) struct Shared {
    live: Arc<Live>,
    /// By name. Those of a destination outlive its child.
    figures: Mutex<BTreeMap<String, Arc<Figures>>>,
    inboxes: Mutex<BTreeMap<String, Arc<Inbox>>>,
}

impl Shared {
    pub(crate) fn new(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self { live, figures: Mutex::default(), inboxes: Mutex::default() })
    }

    /// The names of the destinations in the settings of this moment.
    pub(crate) fn names(&self) -> Vec<String> {
        self.live.get().delivery.destinations.iter().map(|destination| destination.name.clone()).collect()
    }

    /// The figures of a destination.
    pub(super) fn figures(&self, name: &str) -> Arc<Figures> {
        self.figures.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The reports for a destination.
    pub(super) fn inbox(&self, name: &str) -> Arc<Inbox> {
        self.inboxes.lock().entry(name.to_owned()).or_default().clone()
    }

    /// Takes a report that has come from this AE title, on an association of its own. The answer comes when what it says is durable; none comes if the
    /// node ends.
    pub(crate) fn report(&self, ae_title: &str, report: Report) -> Result<oneshot::Receiver<Taken>, NotTaken> {
        let live = self.live.get();
        let inboxes = live.delivery.committing(ae_title).map(|destination| self.inbox(&destination.name));
        give(report, inboxes)
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
