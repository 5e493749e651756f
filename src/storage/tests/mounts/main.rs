//! The store on filesystems that are mounted for a test. It needs a user who may mount.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/disk.rs"]
mod disk;
#[path = "../support/mod.rs"]
mod support;

mod filesystems;
mod power_cut;
