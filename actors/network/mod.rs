//! From the listening socket to an admitted connection.
//!
//! | module | is |
//! |---|---|
//! | [`listener`] | the actor that accepts connections, and admits or rejects them |
//! | [`admission`], [`descriptors`] | the limits that decide: associations by peer, file descriptors |
//! | [`overload`] | the rejection of a connection for which there is no room |
//! | [`transport`], [`certificate`] | the socket, or TLS over it, and the names in the peer's certificate |

pub(crate) mod admission;
pub mod certificate;
pub(crate) mod descriptors;
pub mod listener;
pub(crate) mod overload;
pub(crate) mod transport;
