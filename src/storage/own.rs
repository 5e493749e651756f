//! The directory in a root that is the node's own.

/// The node's own directory in the root. No layout makes a name that begins with a period.
pub(crate) const OWN: &str = ".tidegate";

/// Subdirectory for instances that are set aside.
pub(crate) const LOST: &str = "lost";
