//! The ways in which a connection can end.

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
    /// The memory budget had no room for the association request.
    OutOfMemory,
    /// The association was ended from outside: by an operator, under memory pressure as the largest holder, or over its memory limit. The
    /// cause has a log line of its own.
    Evicted,
}
