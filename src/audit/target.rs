//! A place for audit messages, as the configuration names it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Appended to, a line each. Opened for each message, so that it may be moved away at any time.
    File(PathBuf),
    /// `HOST:PORT`.
    Udp(String),
    /// `HOST:PORT`.
    Tcp(String),
    /// `HOST:PORT`, the name its certificate must have, and whom to trust.
    Tls { address: String, name: ServerName<'static>, client: Arc<ClientConfig> },
}
