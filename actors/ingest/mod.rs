//! The one way in: the bytes of a dataset become an instance that a writer makes durable.
//!
//! Invariant: every byte is leased before it is read, and every dataset that begins has one outcome. A *source* has datasets to be stored;
//! an association is one. For each dataset a source
//!
//! 1. begins it with its description, before the first byte ([`Inbound::begin`]),
//! 2. pushes slices that it has leased ([`Inbound::push`]), or reads straight into the layout of the file ([`Inbound::direct_target`]),
//! 3. spools it when that is due ([`Inbound::spooling_due`]),
//! 4. finishes it ([`Inbound::complete`]), and
//! 5. hands the instance to the writers ([`InstanceHandoff`], [`Handoffs`]) until there is an outcome.
//!
//! The outcome is a `Stored` or a `Refusal`; the source turns it into the response of its protocol. A lost writer does not end a hand-off:
//! one retry rule, in [`handoff`], serves instances and spool parts.
//!
//! Nothing here knows a socket, a PDU, an association or a clock of a peer.

mod assembly;
mod context;
mod dataset;
mod description;
pub(crate) mod handoff;
mod handoffs;
mod inbound;
pub(crate) mod sizing;
mod spool;

pub(crate) use self::assembly::SPOOL_CHUNK;
pub(crate) use self::context::Ingest;
pub(crate) use self::description::Description;
pub(crate) use self::handoffs::{Ended, Handoffs, InstanceHandoff, Returned};
pub(crate) use self::inbound::{Inbound, NextRead};
pub(crate) use self::sizing::SpoolExtent;
pub(crate) use self::spool::MAX_PARTS_UNDER_WAY;

#[cfg(test)]
mod tests;
