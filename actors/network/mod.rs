//! From the listening socket to an admitted connection.
//!
//! | module | is |
//! |---|---|
//! | [`listener`] | the actor that accepts connections, and admits or rejects them |
//! | [`admission`], [`startup`], [`source`] | the places of connections and associations, their limits, and the sources that share them |
//! | [`descriptors`] | file descriptors |
//! | [`overload`] | the rejection of a connection for which there is no room |
//! | [`transport`], [`certificate`] | the socket, or TLS over it, and the names in the peer's certificate |

pub(crate) mod admission;
pub mod certificate;
pub(crate) mod descriptors;
pub mod listener;
pub(crate) mod overload;
pub(crate) mod source;
mod startup;
pub(crate) mod transport;
