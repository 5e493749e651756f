//! The part of the node that a source stores with.

use std::sync::Arc;

use tidegate_memory::pressure::Level;
use tidegate_storage::{Durability, Instance};
use tokio::sync::watch;

use super::sizing::{self, FIRST_SEGMENT, SpoolExtent};
use crate::committed::Subscribers;
use crate::gauges::counters::{Counters, SpoolReason};
use crate::gauges::latency::Latencies;
use crate::mailbox::WriterMailbox;
use crate::node::settings::WriterSettings;

/// The writers, and the settings of the moment the source began.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) latencies: Arc<Latencies>,
    /// The pressure level.
    pub(crate) pressure: watch::Receiver<Level>,
    /// Durability of an instance without a placement of its own.
    pub(crate) durability: Durability,
    pub(crate) writers: WriterSettings,
    /// Bytes of a dataset that are kept in memory; a longer one is spooled.
    pub(crate) spool_threshold_bytes: u64,
    pub(crate) subscribers: Subscribers,
}

impl Ingest {
    /// Durability that the instance must have before it is acknowledged.
    pub(crate) fn durability(&self, instance: &Instance) -> Durability {
        instance.placement().map_or(self.durability, |placement| placement.durability)
    }

    /// The share of `bytes` that the present pressure permits for receiving; `None`: everything that can be spooled must be.
    pub(crate) fn under_pressure(&self, bytes: usize) -> Option<usize> {
        sizing::under_pressure(*self.pressure.borrow(), bytes)
    }

    /// The reason to spool `extent` of a dataset now. Only a dataset longer than the threshold is spooled in whole parts.
    pub(super) fn spool_reason(&self, extent: SpoolExtent) -> SpoolReason {
        match extent {
            SpoolExtent::WholeParts => SpoolReason::Threshold,
            SpoolExtent::Everything if self.under_pressure(FIRST_SEGMENT).is_none() => SpoolReason::Pressure,
            SpoolExtent::Everything => SpoolReason::Budget,
        }
    }
}
