//! The SQLite files that a node keeps: the catalogue, and the record of commitment requests. A [`Design`] says what a file is; [`Writer`] is its one
//! writer, [`Reader`] any number of readers. Every [`Error`] names the file, what kind of file it is, and what the caller can do about it.
//!
//! The files are on any disk, and may be deleted, copied, truncated or damaged by anybody at any time: none of that is more than an error. This crate
//! has no sockets, actors or memory leases. Its calls block. `docs/decisions/17-catalogue.md` has the reasons of the settings.

mod design;
mod error;
mod file;
mod lock;
mod open;
mod reader;
mod uid;
mod writer;

pub use design::{BUSY_TIMEOUT, Design, Fill, QUERY_TIMEOUT, Words};
pub use error::{Error, Remedy};
pub use reader::Reader;
pub use uid::{NotAUid, PackedUid};
pub use writer::Writer;
