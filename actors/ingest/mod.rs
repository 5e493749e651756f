//! The one way in: the bytes of a dataset become an instance that a writer makes durable.
//!
//! A *source* has datasets to be stored; an association is one. For each dataset a source
//!
//! 1. begins it with what is known before its first byte ([`Inbound::begin`]),
//! 2. pushes slices that it has leased ([`Inbound::push`]), or reads straight into the layout of the file ([`Inbound::direct_target`]),
//! 3. spools when that is due ([`Inbound::spooling_due`]),
//! 4. finishes it ([`Inbound::complete`]), and
//! 5. hands the instance to the writers ([`InstanceHandoff`], [`Handoffs`]) until there is an outcome.
//!
//! The outcome is a `Stored` or a `Refusal`; the source makes the answer of its protocol from it. A writer that is lost does not end a
//! handoff: there is one retry rule, in [`handoff`], for instances and for parts of spool files.
//!
//! Nothing here knows a socket, a PDU, an association or a clock of a peer.

mod assembly;
mod dataset;
pub(crate) mod handoff;
mod handoffs;
mod inbound;
pub(crate) mod sizing;
mod spool;

use std::sync::Arc;

use tidegate_memory::pressure::Level;
use tidegate_storage::{Durability, Instance};
use tokio::sync::watch;

pub(crate) use self::assembly::SPOOL_CHUNK;
pub(crate) use self::dataset::Description;
pub(crate) use self::handoffs::{Ended, Handoffs, InstanceHandoff, Returned};
pub(crate) use self::inbound::{Inbound, NextRead};
pub(crate) use self::spool::MAX_PARTS_UNDER_WAY;
use crate::gauges::counters::Counters;
use crate::gauges::latency::Latencies;
use crate::mailbox::WriterMailbox;
use crate::node::settings::WriterSettings;

/// What a source stores with: the writers, and the settings of the moment it began.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) latencies: Arc<Latencies>,
    /// How short memory is.
    pub(crate) pressure: watch::Receiver<Level>,
    /// How durable an instance without a placement of its own is made.
    pub(crate) durability: Durability,
    pub(crate) writers: WriterSettings,
    /// Bytes of a dataset kept in memory.
    pub(crate) spool_threshold_bytes: u64,
}

impl Ingest {
    /// How durable an instance is to be before it is acknowledged.
    pub(crate) fn durability(&self, instance: &Instance) -> Durability {
        instance.placement().map_or(self.durability, |placement| placement.durability)
    }

    /// What the present pressure leaves of `bytes` that are wanted for receiving; `None`: nothing may be held that can go to the spool.
    pub(crate) fn under_pressure(&self, bytes: usize) -> Option<usize> {
        sizing::under_pressure(*self.pressure.borrow(), bytes)
    }
}

#[cfg(test)]
mod tests;
