//! The program as a shell sees it: arguments and environment in, output and exit code out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod catalogue;
mod commands;
mod configuration;
mod limits;
mod process;
mod verify;
