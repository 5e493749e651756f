//! The ways in which a connection can end.

use crate::gauges::activity::EndCause;

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer asked for release and got it.
    Released,
    /// The association was rejected.
    Rejected,
    /// The connection had no association yet, and its startup place was needed for another.
    GaveWay,
    /// The connection closed before its first byte.
    NothingSaid,
    /// No association request arrived in time.
    RequestTimeout,
    /// The peer closed the connection in the middle of its request.
    RequestIncomplete,
    /// The PROXY header of a balancer began and was not complete in time.
    HeaderTimeout,
    /// A TLS handshake began and was not complete in time.
    HandshakeTimeout,
    /// The peer did not send DICOM.
    NotDicom,
    /// A balancer sent no PROXY header.
    NoProxyHeader,
    /// The peer did not send TLS on the TLS port.
    NotTls,
    /// The TLS handshake failed: no common parameters, or a certificate that is not trusted.
    HandshakeFailed,
    /// The peer aborted.
    PeerAborted,
    /// The connection broke, or the peer closed it without release or abort.
    ConnectionLost,
    /// The peer violated the protocol and got an A-ABORT.
    Violation,
    /// The idle timeout expired.
    TimedOut,
    /// The peer sent less than the minimum rate.
    TooSlow,
    /// The association or a dataset reached its limit.
    LimitReached,
    /// A reload of the configuration changed what the association may do.
    Superseded,
    /// The node is stopping.
    Stopping,
    /// A report of storage commitment could not be read to its end.
    ReportCut,
    /// The memory budget had no room for the association request.
    OutOfMemory,
    /// The association was ended from outside. The cause has a log line of its own.
    Evicted(EndCause),
}

impl End {
    /// The name in the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Rejected => "rejected",
            Self::GaveWay => "gave_way",
            Self::NothingSaid => "nothing_said",
            Self::RequestTimeout => "request_timeout",
            Self::RequestIncomplete => "request_incomplete",
            Self::HeaderTimeout => "proxy_header_timeout",
            Self::HandshakeTimeout => "tls_handshake_timeout",
            Self::NotDicom => "not_dicom",
            Self::NoProxyHeader => "no_proxy_header",
            Self::NotTls => "not_tls",
            Self::HandshakeFailed => "tls_handshake_failed",
            Self::PeerAborted => "aborted_by_peer",
            Self::ConnectionLost => "connection_lost",
            Self::Violation => "protocol_violation",
            Self::TimedOut => "idle_timeout",
            Self::TooSlow => "min_rate",
            Self::LimitReached => "limit_reached",
            Self::Superseded => "configuration_changed",
            Self::Stopping => "node_stopping",
            Self::ReportCut => "report_unreadable",
            Self::OutOfMemory => "memory_budget",
            Self::Evicted(cause) => cause.name(),
        }
    }
}
