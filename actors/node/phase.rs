//! What the node is about.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything is served.
    Serving,
    /// An operator asked for it: no new associations; those that are open go on.
    Drained,
    /// The node stops: no new associations; those that are open finish the instance they are at.
    Draining,
    /// The grace period is over: associations end now.
    Aborting,
}
