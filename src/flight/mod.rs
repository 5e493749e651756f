//! The flight record: one bounded JSON file with what the node was about when something went wrong, for whoever comes later.
//!
//! | module | is |
//! |---|---|
//! | [`directory`] | where records are kept, and how many |
//! | [`messages`] | the last lines of the log |
//! | [`record`] | what a record holds |
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
