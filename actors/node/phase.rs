//! The phase of a node.

/// The phase of a node: it accepts associations, or is on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Associations are accepted.
    Serving,
    /// Drained by an operator: new associations are rejected, open ones continue.
    Drained,
    /// Stopping: new associations are rejected, open ones finish their current instance.
    Draining,
    /// The grace period is over: open associations are aborted.
    Aborting,
}
