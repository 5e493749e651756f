//! The store on the filesystem of this machine.
//!
//! No test here starts a process: a child holds the store's locks and files for a moment. Such tests are in binaries of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod duplicates;
mod failures;
mod receipts;
mod removal;
mod scale;
mod storing;
mod survey;
mod verify;
