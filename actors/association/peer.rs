//! Who is at the other end.

use std::net::SocketAddr;

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// A peer's string: escape it before printing.
    pub(crate) calling_ae_title: String,
}
