//! What is stored, as people ask for it: over HTTP, over the socket, and without a node from the file of the catalogue.
//!
//! | module | is |
//! |---|---|
//! | [`search`] | the conditions of a search, as people write them |
//! | [`model`], [`instance`] | the answers |
//! | [`look`] | from a reader of the catalogue to an answer |
//! | [`readers`] | the readers of a node: how many, and what they lease |
//! | [`state`] | the catalogue of the running node: its file, its condition, the work that operators ask for |
//! | [`http`] | the routes |
//!
//! The answers name patients: they are for operators and for the socket, and appear in no log line and no metric.

pub(super) mod http;
pub(crate) mod instance;
pub(crate) mod look;
pub(crate) mod model;
pub(super) mod readers;
pub(crate) mod search;
pub(crate) mod state;
