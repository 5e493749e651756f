//! The validated configuration, in the types of each crate.

use std::time::Duration;

use tidegate_actors::NodeSettings;

use super::tls::{OwnCertificate, RevocationList};
use crate::admin::{AdminSettings, SocketPath};
use crate::audit::Target;
use crate::flight::RecordPath;

/// Valid settings.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) node: NodeSettings,
    /// The certificate that TLS peers see; `None`: no TLS.
    pub(crate) certificate: Option<OwnCertificate>,
    /// Revocation lists for the certificates of TLS peers.
    pub(crate) revocation_lists: Vec<RevocationList>,
    /// Time for associations to finish when the node stops.
    pub(crate) shutdown_grace: Duration,
    /// The admin surface; `None`: off.
    pub(crate) admin: Option<AdminSettings>,
    /// Path of the admin socket; `None`: off.
    pub(crate) admin_socket: Option<SocketPath>,
    pub(crate) log: LogSettings,
    /// Destination of audit messages; `None`: off.
    pub(crate) audit: Option<Target>,
    /// Directory of the flight records; `None`: none are written.
    pub(crate) flight_records: Option<RecordPath>,
    /// Values that are allowed and probably not meant, for people.
    pub(crate) warnings: Vec<String>,
}

/// Format and level of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) level: tracing::Level,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
