//! How a connection can end.

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer asked for release and got it.
    Released,
    /// The association was rejected.
    Rejected,
    /// The connection closed before it said anything.
    NothingSaid,
    /// No association request within its time.
    RequestTimeout,
    /// The peer spoke something else.
    NotDicom,
    /// A balancer did not say whom it speaks for.
    NoProxyHeader,
    /// The peer spoke something else than TLS on the TLS port.
    NotTls,
    /// The peer and we did not come to terms about TLS, or its certificate is none we trust.
    HandshakeFailed,
    /// The peer aborted.
    PeerAborted,
    /// The peer closed or lost the connection without a word.
    ConnectionLost,
    /// The peer broke the protocol and was told so.
    Violation,
    /// The peer kept us waiting.
    TimedOut,
    /// The peer trickled.
    TooSlow,
    /// The peer sent more than an association or a dataset may have.
    LimitReached,
    /// The node is stopping.
    Stopping,
    /// A request so long that the memory budget did not hold it.
    OutOfMemory,
    /// It was ended from outside, for the good of the others (memory is short and it held most, or it held more than any may) or
    /// because an operator asked for it. Whoever did it has logged why.
    Evicted,
}
