//! The event that an instance is stored. Every consumer behind the storage learns of it here.
//!
//! The writer sends it after the commit, also if the source is gone, and usually once. It may be repeated: by a retry after the death of a
//! writer, an identical resend, a commit that ends after its timeout. It may be missing: after a crash, or if the writer was fenced and the
//! source is gone. So a sink is idempotent, and one that must be complete compares with the storage.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_storage::{Instance, Stored};

/// The sender of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The account of the association, as in its log lines and in `tidegate associations`.
    pub association: u64,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// A peer's string: escape it before printing.
    pub calling_ae_title: String,
    /// The access rule that let the association in.
    pub rule: Option<String>,
}

/// An instance is stored. The event borrows: a sink that hands it on copies what it needs, and pays for that.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// The sender.
    pub origin: &'a Arc<Origin>,
    /// Its file meta, digest, and the elements its layout and the audit need.
    pub instance: &'a Instance,
    /// The outcome, and the path of the file.
    pub stored: &'a Stored,
}

/// A consumer of committed instances.
pub trait Sink: Send + Sync {
    /// Takes note of an instance, on the thread of a writer or an association: it must not block or panic. A sink whose queue is full
    /// records that it has missed instances.
    fn committed(&self, event: &Committed<'_>);
}

/// All sinks of a node.
#[derive(Clone, Default)]
pub(crate) struct Sinks(Arc<[Arc<dyn Sink>]>);

impl Sinks {
    pub(crate) fn new(sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self(sinks.into())
    }

    /// Tells every sink.
    pub(crate) fn tell(&self, event: &Committed<'_>) {
        self.0.iter().for_each(|sink| sink.committed(event));
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sinks({})", self.0.len())
    }
}
