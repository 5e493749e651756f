//! The destinations of instances.

use std::sync::Arc;
use std::time::Duration;

use crate::network::calling::CallAddress;

/// The destinations, and which of them an instance has.
#[derive(Debug, Default)]
pub struct DeliverySettings {
    /// Each has a name of its own.
    pub destinations: Vec<DestinationSettings>,
    /// How destinations over TLS are called; `None`: there are none.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The destinations of an instance whose access rule says nothing of them, by name.
    pub default_to: Arc<[String]>,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationSettings {
    /// Its name.
    pub name: String,
    /// How instances get there.
    pub kind: DestinationKind,
    /// Limit of the sum of all its connections; `None`: no limit.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// When sending may begin; `None`: always.
    pub hours: Option<Hours>,
    /// The priority of its C-STOREs: above 0 high, below 0 low (PS3.7 §9.1.1.1.6).
    pub priority: i32,
    /// An instance is dead that could not be delivered for so long.
    pub retry_for: Duration,
    /// An instance is dead that has failed so often, at least 1.
    pub attempts: u32,
    /// Whether it is asked to commit what it was sent: an instance is delivered when it has.
    pub commits: bool,
}

/// How instances get to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationKind {
    /// C-STORE.
    Dicom(DicomDestination),
}

/// A peer that takes instances by C-STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DicomDestination {
    /// Its host: a name or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its AE title.
    pub called: String,
    /// The AE title of this node there.
    pub calling: String,
    /// Whether it is called over TLS.
    pub is_tls: bool,
    /// Limit of open associations, at least 1.
    pub connections: usize,
}

/// Minutes of the day, by local time, from the first to before the last. They wrap around midnight if the last is not behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// From this minute on, below 1440.
    pub from_minute: u16,
    /// Until this minute, below 1440; not the first.
    pub until_minute: u16,
}

impl DestinationSettings {
    /// Its AE title and address, for people.
    pub fn peer(&self) -> String {
        let DestinationKind::Dicom(DicomDestination { host, port, called, .. }) = &self.kind;
        format!("{called} at {}", CallAddress { host: host.clone(), port: *port })
    }
}

impl DeliverySettings {
    /// The destinations that may report their commitment from this AE title.
    pub(crate) fn committing<'a>(&'a self, ae_title: &'a str) -> impl Iterator<Item = &'a DestinationSettings> {
        self.destinations.iter().filter(move |destination| {
            let DestinationKind::Dicom(DicomDestination { called, .. }) = &destination.kind;
            destination.commits && called == ae_title
        })
    }

    /// The destination with this name.
    pub fn destination(&self, name: &str) -> Option<&DestinationSettings> {
        self.destinations.iter().find(|destination| destination.name == name)
    }
}
