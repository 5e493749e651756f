//! A configuration that was checked, in the types that each room takes.

use std::time::Duration;

use tidegate_actors::NodeSettings;

use super::tls::{OwnCertificate, RevocationList};
use crate::admin::{AdminSettings, SocketPath};
use crate::audit::Target;
use crate::flight::RecordPath;

/// Settings that cannot be wrong any more.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) node: NodeSettings,
    /// The certificate that TLS peers see; `None`: no TLS.
    pub(crate) certificate: Option<OwnCertificate>,
    /// Whom TLS peers' certificates are looked up in.
    pub(crate) revocation_lists: Vec<RevocationList>,
    /// How long associations get to finish when the node is asked to stop.
    pub(crate) shutdown_grace: Duration,
    /// Where the admin surface listens; `None` = off.
    pub(crate) admin: Option<AdminSettings>,
    /// Where the admin socket is; `None` = off.
    pub(crate) admin_socket: Option<SocketPath>,
    pub(crate) log: LogSettings,
    /// Where audit messages go; `None`: nowhere.
    pub(crate) audit: Option<Target>,
    /// Where flight records are kept; `None`: none are written.
    pub(crate) flight_records: Option<RecordPath>,
}

/// What is logged, and in which form.
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
