//! The program's commands as processes, against receivers that are good or bad.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod fake;
mod generator;
mod honesty;
mod messages;
mod orchestration;
mod run;
