//! The record of requests on real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod accepting;
mod due;
mod faults;
mod killed;
mod memory;
mod model;
mod progress;
mod pruning;
mod reading;
mod refusals;
mod support;
