//! Requests of storage commitment, as people ask for them: over HTTP, over the socket, and without a node from their file.
//!
//! | module | is |
//! |---|---|
//! | [`model`] | the answers |
//! | [`search`] | which requests, as people ask for them |
//! | [`look`] | from a reader of the requests to an answer |
//! | [`readers`] | the questions to a running node, and the retry of a report |
//! | [`health`] | what `tidegate status` tells of the reports |
//! | [`figures`] | the metrics |
//! | [`http`] | the routes |

pub(crate) mod figures;
pub(crate) mod health;
pub(super) mod http;
pub(crate) mod look;
pub(crate) mod model;
pub(super) mod readers;
pub(crate) mod search;
