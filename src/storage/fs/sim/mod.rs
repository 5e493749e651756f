//! A simulated machine behind the seam: a disk with a volatile cache, a page cache, a journal, errors, people, threads and the clock. The seed
//! decides everything.
//!
//! [`Simulation::enter`] makes it the world of the current thread: [`SimFile`]'s top is its root directory, and the locks and the clock
//! of [`crate::sync`] are its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "histories do not use all of it")]

mod cache;
mod disk;
mod errors;
mod handle;
mod journal;
mod names;
mod people;
mod random;
pub(crate) mod sync;
#[cfg(test)]
mod tests;
pub(crate) mod threads;
mod volume;

pub(crate) use self::disk::Ailment;
pub(crate) use self::errors::{Call, Faults};
pub(crate) use self::handle::SimFile;
pub(crate) use self::journal::Aborted;
pub(crate) use self::people::Snapshot;
pub(crate) use self::random::Random;
pub(crate) use self::threads::{Simulation, Time};
pub(crate) use self::volume::{End, Event, Machine, Nature, Volume};
