//! The requestor as a peer meets it: its bytes read by a decoder that is not ours, and the bytes of an encoder that is not ours.

mod both;
mod endings;
mod establishment;
mod messages;
mod peer;
