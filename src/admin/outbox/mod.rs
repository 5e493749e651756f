//! Deliveries, as people ask for them: over HTTP, over the socket, and without a node from the catalogue.
//!
//! | module | is |
//! |---|---|
//! | [`model`] | the answers |
//! | [`search`] | which deliveries, as people ask for them, and what is to be done to them |
//! | [`look`] | from a reader of the catalogue to an answer |
//! | [`readers`] | the questions to a running node, and the orders of operators |
//! | [`figures`] | the metrics |
//! | [`http`] | the routes |

pub(crate) mod figures;
pub(super) mod http;
pub(crate) mod look;
pub(crate) mod model;
pub(super) mod readers;
pub(crate) mod search;
