//! The catalogue in the node: which studies and instances are stored. It is derived from the files, and nothing waits for it.
//!
//! [`record`] is what an event or a file says of an instance; [`disk`] is the storage root as catch-up sees it.

#![allow(dead_code, reason = "nothing in the node enters records yet")]

pub(crate) mod disk;
pub(crate) mod record;
#[cfg(test)]
mod record_tests;
