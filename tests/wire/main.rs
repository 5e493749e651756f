//! The whole process on real sockets: each test starts a node of its own and is its peer, its operator or its service manager.
//!
//! One binary, since linking is most of what a test costs to build. A test shares nothing with the others but this process: state
//! of a test's own (environment, signals, memory figures) is the node's. `cargo test --test wire floods::` runs one module.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/http.rs"]
mod http;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/wire.rs"]
mod wire;

mod access;
mod admin;
mod admission;
mod audit;
mod catalogue;
mod catalogue_answers;
mod commitment;
mod delivery;
mod deviations;
mod files;
mod floods;
mod hostile;
mod layouts;
#[cfg(feature = "test-faults")]
mod leak;
mod lines;
mod log;
mod mem;
mod outbox;
mod receipts;
mod receive;
mod reload;
mod service;
mod sinks;
mod soak;
mod stopped;
#[cfg(feature = "test-faults")]
mod supervision;
mod tls;
