//! The environment of associations: the parts of the node that they use.

use std::sync::Arc;

use tidegate_memory::pressure::Level;
use tidegate_storage::head::Wanted;
use tidegate_storage::{Instance, Placement};
use tokio::sync::watch;

use super::passcodes::PasscodeQueue;
use crate::commitment;
use crate::committed::Subscribers;
use crate::delivery;
use crate::gauges::Gauges;
use crate::ingest::Ingest;
use crate::mailbox::WriterMailbox;
use crate::node::live::Live;
use crate::node::phase::Phase;
use crate::node::settings::LiveSettings;
use crate::senders::Senders;

/// The parts of the node that associations use. All associations share one environment.
pub(crate) struct Env {
    pub(crate) live: Arc<Live>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) pressure: watch::Receiver<Level>,
    /// The elements that are read of a dataset which is stored as the store's settings have it.
    pub(crate) wanted: Wanted,
    /// Where and how an instance is stored of which no access rule says more.
    pub(crate) placement: Placement,
    pub(crate) subscribers: Subscribers,
    pub(crate) passcodes: Arc<PasscodeQueue>,
    /// Delivery, for what destinations report.
    pub(crate) delivery: Arc<delivery::Shared>,
    /// Storage commitment; `None`: there is none without the catalogue.
    pub(crate) commitment: Option<Arc<commitment::Shared>>,
    /// Who is sending of which study; `None`: nobody asks.
    pub(crate) senders: Option<Arc<Senders>>,
}

impl Env {
    /// The way in for a source that begins with these settings.
    pub(crate) fn ingest(&self, live: &LiveSettings) -> Ingest {
        Ingest {
            mailbox: self.mailbox.clone(),
            counters: self.gauges.counters.clone(),
            latencies: self.gauges.latencies.clone(),
            pressure: self.pressure.clone(),
            durability: self.placement.durability,
            writers: live.writers,
            spool_threshold_bytes: live.associations.spool_threshold_bytes,
            subscribers: self.subscribers.clone(),
        }
    }

    /// Where and how the instance is stored.
    pub(crate) fn placement_of<'a>(&'a self, instance: &'a Instance) -> &'a Placement {
        instance.placement().unwrap_or(&self.placement)
    }

    /// The elements that are read of a dataset which is stored as `placement` has it.
    pub(crate) fn wanted_for(&self, placement: Option<&Placement>) -> Wanted {
        let of_placement = |placement: &Placement| self.gauges.wanted_beside(placement.layout.wanted());
        placement.map_or_else(|| self.wanted.clone(), of_placement)
    }
}
