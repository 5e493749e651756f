//! Storage commitment in the node.

pub mod state;
