//! Supervision: the supervisor starts, watches and replaces the parts of the node. [`supervisor`] is the actor. The rest is logic without an
//! actor and without a clock, so that tests can drive it.
//!
//! | module | is |
//! |---|---|
//! | [`child`] | the actor of a child that runs on a thread of its own |
//! | [`exit`] | the ways in which a child can end, and the record of a panic |
//! | [`liveness`] | the heartbeat and progress of a child, its end, and its fence |
//! | [`limits`] | restart intensity and backoff, as functions of time |
//! | [`spec`] | the specification of a child: how it is started and restarted |
//! | [`service`] | a child from outside this crate, such as a surface for operators |
//! | [`status`] | what operators see of a child |
//! | [`supervisor`] | the actor that advances the tree and acts on the result |
//! | [`threads`] | the association threads, and the associations on each |
//! | [`tree`] | the states of all children, advanced by looks at given instants |

pub(crate) mod child;
pub mod exit;
pub(crate) mod limits;
pub(crate) mod liveness;
pub mod service;
pub(crate) mod spec;
pub mod status;
pub(crate) mod supervisor;
pub(crate) mod threads;
pub(crate) mod tree;
#[cfg(test)]
mod tree_tests;
