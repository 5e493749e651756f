//! The sinks of events, and what they are owed, as people ask for them.
//!
//! | module | is |
//! |---|---|
//! | [`model`] | the answers |
//! | [`look`] | from a reader of the catalogue to an answer |
//! | [`readers`] | the questions to a running node, and the orders of operators |
//! | [`figures`] | the metrics |
//! | [`http`] | the routes |
//! | [`stream`] | events as they come about |

pub(crate) mod figures;
pub(super) mod http;
pub(crate) mod look;
pub(crate) mod model;
pub(super) mod readers;
pub(super) mod stream;
