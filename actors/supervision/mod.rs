//! The supervisor, its children and what it knows of them. [`supervisor`] is the actor; the rest is logic without an actor: how a
//! child can end, how it shows that it is alive, how it is started again, and when that is no longer tried.
//!
//! | module | is |
//! |---|---|
//! | [`child`] | the actor of a child that runs on a thread of its own |
//! | [`exit`] | the ways a child can end, and what is known of a panic |
//! | [`liveness`] | what a child holds as long as it lives, and what the supervisor reads of it |
//! | [`limits`] | restart intensity and backoff, as functions of time |
//! | [`spec`] | what is to be known of a child to start it, and to start it again |
//! | [`service`] | a child from outside this crate: a surface for operators |
//! | [`supervisor`] | the actor that looks at the tree and carries out what follows |
//! | [`threads`] | which thread serves which association |
//! | [`tree`] | the children and what each goes through; moved on by looks at given instants |

pub(crate) mod child;
pub mod exit;
pub(crate) mod limits;
pub(crate) mod liveness;
pub mod service;
pub(crate) mod spec;
pub(crate) mod supervisor;
pub(crate) mod threads;
pub(crate) mod tree;
#[cfg(test)]
mod tree_tests;
