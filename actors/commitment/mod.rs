//! Storage commitment in the node (PS3.4 annex J): a modality may delete its instances because this node says so.
//!
//! | module | is |
//! |---|---|
//! | [`actor`] | the supervised child: it owns the record of requests, and evaluates them in turns |
//! | [`record`] | the open file, and what is done about each of its errors |
//! | [`evaluating`], [`tasks`], [`evaluation`] | what is looked at of each instance, in steps |
//! | [`files`] | the catalogue and the storage root, open while there is work |
//! | [`routes`] | the way of a report: the association that asked, a call, or any association of the peer |
//! | [`report`] | the dataset of a report |
//! | [`dispatching`] | a report is given to its way |
//! | [`caller`] | an association that this node requests |
//! | [`probing`] | connections that ask peers which could not be reached whether they are back |
//! | [`outcome`] | what becomes of a report: record, log, audit and figures |
//! | [`references`] | the references of a request, until they are durable |
//! | [`shared`] | what the child, the associations, the calls and the observers share |
//! | [`telling`] | reports as events of the catalogue |
//! | [`figures`], [`state`] | what operators see of it |
//!
//! Invariants: a request is durable before its response. A report never overtakes that response. It says of each instance what was found
//! when it was sent.

pub(crate) mod actor;
pub(crate) mod caller;
mod dispatching;
mod evaluating;
mod evaluation;
mod figures;
mod files;
mod outcome;
mod peers;
mod probing;
mod record;
pub(crate) mod references;
pub(crate) mod report;
mod routes;
mod sent;
pub(crate) mod shared;
pub mod state;
mod tasks;
mod telling;

pub(crate) use self::shared::Shared;
