//! The catalogue on real files, and catch-up against the model of a disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod catching_up;
mod clock;
mod committing;
mod completing;
#[path = "../../../../tests/support/database.rs"]
mod database;
mod deliveries_model;
mod delivering;
mod entering;
mod faults;
mod hints;
mod killed;
mod last_events;
mod model;
mod moving;
mod opening;
mod reconciling;
mod releasing;
mod searching;
mod stored;
mod support;
mod views;
