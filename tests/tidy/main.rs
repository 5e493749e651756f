//! Rules that no compiler enforces: the walls between the crates, and the documents against the program.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod conditions;
mod documents;
mod log_lines;
mod modules;
mod openapi;
mod sizes;
mod supply_chain;
mod walls;
