//! Durable storage of received instances: the layout of their paths, the durable commit, and recovery.
//!
//! [`Store::commit`] is the one entry point. Invariant, with [`Durability::Fsync`]: when it answers `Ok` for an instance, the whole file,
//! its name and every directory above it are on the disk, or the commit log on the disk holds all of that. A file under a final name is
//! always whole: it, or its copy in the log, was written and synced before the rename.
//!
//! This crate has no sockets, actors or memory leases. Its calls block.

// The unit tests and the integration tests share their support code.
#[cfg(test)]
extern crate self as tidegate_storage;
#[cfg(test)]
#[path = "tests/support/mod.rs"]
mod support;

mod associations;
mod commit;
pub mod digest;
mod error;
mod fault;
pub mod fs;
pub mod head;
mod id;
mod inner;
mod instance;
pub mod layout;
pub mod leftovers;
pub mod meta;
mod number_file;
mod obstacle;
mod origins;
mod own;
mod paths;
mod recovery;
mod removal;
mod root;
mod settings;
#[cfg(test)]
mod simulation;
mod space;
mod spool;
mod store;
pub mod survey;
mod sync;
mod temp;
mod tree;
mod trust;
pub mod uid;
pub mod verify;
mod wal;

pub use commit::{Commit, Files};
pub use error::{OpenError, Owner, StoreError};
pub use fs::{Inodes, Space};
pub use id::root_id;
pub use instance::{Cancellation, FileBuilder, Instance, Outcome, Payload, Stored};
pub use obstacle::Obstacle;
pub use recovery::{Aside, Reason, Recovery};
pub use removal::{Looked, Removal, Removed};
pub use settings::{CommitStrategy, Duplicates, Durability, FileAccess, Placement, Settings, UnknownWord};
pub use spool::SpoolFile;
pub use store::Store;
