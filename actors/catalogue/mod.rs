//! The catalogue in the node: which studies and instances are stored, for people. It is derived from the files, and nothing waits for it.
//!
//! | module | is |
//! |---|---|
//! | [`subscriber`] | hears of each committed instance, on the thread of its writer |
//! | [`record`] | what an event says of an instance |
//! | [`deliveries`] | notes about deliveries, for those who deliver |
//! | [`notes`] | notes about deliveries that wait to be entered |
//! | [`orders`] | what operators order about deliveries |
//! | [`queue`] | the records that wait to be entered: bounded, leased, and counted when they do not fit |
//! | [`actor`] | the supervised child: one transaction a batch, and catch-up between the batches |
//! | [`keeper`] | the open file, and what is done about each of its errors |
//! | [`disk`] | the storage root as catch-up sees it |
//! | [`work`] | catch-up, check and rebuild, in steps |
//! | [`retention`] | which files are deleted, and when |
//! | [`completeness`] | when studies are complete |
//! | [`offline`] | check and rebuild of a root that no node serves |
//! | [`memory`] | the lease of the caches of SQLite |
//! | [`shared`] | what the child, the sink and the observers share |
//! | [`state`] | what operators see of it |
//!
//! Invariant: whatever happens to the file, an instance is stored and acknowledged as before. A record that cannot be queued or entered is
//! missed; what was missed is noted as a gap, and catch-up closes it.

pub(crate) mod actor;
pub(crate) mod completeness;
pub(crate) mod deliveries;
mod disk;
mod keeper;
mod memory;
mod notes;
pub mod offline;
pub mod orders;
mod queue;
mod record;
#[cfg(test)]
mod record_tests;
pub(crate) mod retention;
pub(crate) mod shared;
pub mod state;
mod subscriber;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use self::disk::{Assumed, RootDisk};
pub(crate) use self::shared::Shared;
pub(crate) use self::subscriber::CatalogueSubscriber;
