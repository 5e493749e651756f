//! The destination of audit messages, as configured.

use std::fmt;
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

impl fmt::Display for Target {
    /// As configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls { address, .. } => write!(f, "tls://{address}"),
        }
    }
}
