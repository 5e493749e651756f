//! Where a receiver can listen.

use std::io;
use std::net::TcpListener;

/// A port of the loopback that nobody uses at the moment.
///
/// # Errors
/// When the system has none.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
