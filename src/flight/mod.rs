//! The flight record: one bounded JSON file with the state of the node at a failure, for a later analysis.
//!
//! | module | is |
//! |---|---|
//! | [`directory`] | the directory of the records, and their number |
//! | [`messages`] | the last lines of the log |
//! | [`record`] | the contents of a record |
//! | [`recorder`] | the thread that writes them |
//!
//! A record holds no value of a dataset: figures, AE titles, addresses, and lines of the log, which hold none either.

mod directory;
mod messages;
mod record;
mod recorder;

pub(crate) use directory::RecordPath;
pub(crate) use messages::{Messages, MessagesLayer};
pub(crate) use recorder::start;
