//! Datasets written anew: byte for byte as a model says, and as other readers see them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod dataset;
mod hostile;
mod known;
mod memory;
mod model;
mod random;
mod support;
