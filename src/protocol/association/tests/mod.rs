//! The state machine as a peer meets it: bytes in, bytes out, and what the caller hears in between.

mod commitment;
mod endings;
mod establishment;
mod messages;
mod peer;
mod properties;
mod states;
mod violations;
