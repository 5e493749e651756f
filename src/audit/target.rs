//! The destination of audit messages, as configured.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// A file, or a syslog receiver over UDP, TCP or TLS.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Appended to, a line each. Opened for each message, so that it may be moved at any time.
    File(PathBuf),
    /// `HOST:PORT`.
    Udp(String),
    /// `HOST:PORT`.
    Tcp(String),
    /// `HOST:PORT`, the name that its certificate must have, and the trusted authorities.
    Tls { address: String, name: ServerName<'static>, client: Arc<ClientConfig> },
}
