//! Where received instances go: the layout that names them, the durable commit that makes them files, and recovery.
//!
//! [`Store::commit`] is the one way in. With [`Durability::Fsync`], when it answers `Ok` for an instance, the whole file,
//! its name and every directory on the way to it are on the disk, or all of that is in the commit log, which is. A file under
//! a final name is always whole: it was written, and it or its copy in the log was synced, before it got that name.
//!
//! This crate knows no sockets, actors or memory leases. Its calls block.

// The tests in here and those beside the crate share their means.
#[cfg(test)]
extern crate self as tidegate_storage;
#[cfg(test)]
#[path = "tests/support/mod.rs"]
mod support;

mod commit;
pub mod digest;
mod error;
mod fault;
pub mod fs;
pub mod head;
mod inner;
mod instance;
pub mod layout;
pub mod leftovers;
pub mod meta;
mod own;
mod paths;
mod recovery;
mod root;
mod settings;
mod shared_sync;
#[cfg(test)]
mod simulation;
mod space;
mod spool;
mod store;
mod sync;
mod temp;
mod trust;
pub mod uid;
pub mod verify;
mod wal;

pub use commit::{Commit, Files};
pub use error::{OpenError, Owner, StoreError};
pub use fs::Space;
pub use instance::{Cancellation, FileBuilder, Instance, Outcome, Payload, Stored};
pub use recovery::{Aside, Reason, Recovery};
pub use settings::{CommitStrategy, Duplicates, Durability, Placement, Settings, UnknownWord};
pub use spool::SpoolFile;
pub use store::Store;
