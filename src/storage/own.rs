//! The directory in a root that is the node's own.

/// What of ours is in the root beside the instances. A layout never makes a name that begins with a dot.
pub(crate) const OWN: &str = ".tidegate";

/// Where in it instances are set aside that are not in their places.
pub(crate) const LOST: &str = "lost";
