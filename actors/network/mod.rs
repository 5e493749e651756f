//! From the listening socket to an admitted connection.
//!
//! | module | is |
//! |---|---|
//! | [`listener`] | the actor that accepts connections, and admits or rejects them |
//! | [`admission`], [`startup`], [`source`] | the places of connections and associations, their limits, and the sources that share them |
//! | [`descriptors`] | file descriptors |
//! | [`overload`] | the rejection of a connection for which there is no room |
//! | [`calling`], [`calling_tls`] | the other way: an association that this node requests; a failed handshake in words |
//! | [`transport`], [`handshake`] | the socket, or TLS over it; a failed handshake in words |
//! | [`certificate`], [`certificate_facts`], [`client_verifier`] | a certificate: its names for the rules, its facts for people, whether it counts |

pub(crate) mod admission;
pub(crate) mod calling;
pub(crate) mod calling_tls;
pub mod certificate;
mod certificate_facts;
mod certificate_path;
pub(crate) mod client_verifier;
pub(crate) mod descriptors;
pub(crate) mod handshake;
pub mod listener;
pub(crate) mod overload;
pub(crate) mod source;
mod startup;
pub(crate) mod transport;

pub use certificate_facts::{CertificateFacts, rfc3339};
pub use certificate_path::ClientKeys;
pub use client_verifier::{ClientVerifier, ClientVerifierError};
