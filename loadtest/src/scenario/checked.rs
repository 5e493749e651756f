//! A scenario that is wrong in none of its values.

use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;

use super::raw::{Arrival, BadPeerKind, Lifetime, Range};
use super::trace::Visit;
use crate::generate::{Encoding, Modality, Shape};

/// A checked scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) mix: Vec<StudyKind>,
    pub(crate) associations: Associations,
    pub(crate) load: Load,
    pub(crate) tls: Option<TlsSettings>,
    /// The sender; empty when all associations are alike.
    pub(crate) senders: Vec<Sender>,
    pub(crate) bad_peers: Vec<BadPeer>,
}

/// Devices of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) name: String,
    /// Of all devices at a time.
    pub(crate) associations: u32,
    /// Of all devices together; never in steps.
    pub(crate) pace: Pace,
    /// The kinds that they send, by index in the mix.
    pub(crate) kinds: Vec<usize>,
    pub(crate) lifetime: Lifetime,
    /// An association ends after so many, where its lifetime has not ended it before.
    pub(crate) instances_per_association: Option<Range>,
    pub(crate) calling_ae: String,
}

impl Scenario {
    /// The senders, or a single one with the settings of all associations.
    pub(crate) fn groups(&self) -> Vec<Sender> {
        if !self.senders.is_empty() {
            return self.senders.clone();
        }
        let Associations { count, lifetime, calling_ae, .. } = &self.associations;
        vec![Sender {
            name: "all".to_owned(),
            associations: *count,
            pace: self.load.pace.clone(),
            kinds: (0..self.mix.len()).collect(),
            lifetime: if matches!(self.load.pace, Pace::Trace { .. }) { Lifetime::Run } else { *lifetime },
            instances_per_association: None,
            calling_ae: calling_ae.clone(),
        }]
    }
}

/// One kind of study in the mix.
#[derive(Clone, Debug)]
pub(crate) struct StudyKind {
    pub(crate) name: String,
    /// Share among the studies, as a part of the sum of all weights.
    pub(crate) weight: u32,
    pub(crate) source: Source,
}

/// Where the instances of a kind of study come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Generated {
        modality: Modality,
        encoding: Encoding,
        /// The shapes that its instances take in turn; empty for what has no pixels.
        shapes: Vec<Shape>,
        series: Range,
        /// Of each series.
        instances: Range,
    },
    /// Whole studies out of a directory, of at most so many bytes, with other patients unless they are to be kept.
    Files { directory: PathBuf, limit: ByteSize, keep_patient: bool },
}

/// The associations of the load.
#[derive(Clone, Debug)]
pub(crate) struct Associations {
    pub(crate) count: u32,
    /// They begin one after the other over so long.
    pub(crate) spread_s: f64,
    pub(crate) lifetime: Lifetime,
    /// Offered; what is sent keeps to the receiver's.
    pub(crate) max_pdu_bytes: u32,
    /// Messages outstanding at a time, if the receiver grants it; 0 is as many as it grants.
    pub(crate) async_window: u16,
    pub(crate) calling_ae: String,
    pub(crate) called_ae: String,
    pub(crate) timeout_s: u64,
    /// Whether an association that failed is opened again.
    pub(crate) reconnect: bool,
}

/// How much is sent and at what pace.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) pace: Pace,
    /// Ends the load; at least one of this and `instances` is there, except with steps.
    pub(crate) duration_s: Option<f64>,
    pub(crate) instances: Option<u64>,
    /// Instances due before this are sent and verified, and are in no figure.
    pub(crate) warm_up_s: f64,
}

/// At what pace.
#[derive(Clone, Debug)]
pub(crate) enum Pace {
    /// The next as soon as one is answered, and after a pause of so many milliseconds.
    Closed { think_time_ms: Range },
    /// So many a second, whatever the receiver does.
    Open { rate_per_s: f64, arrival: Arrival },
    /// One rate after the other, until the receiver does not keep up.
    Steps { rates_per_s: Vec<f64>, step_s: f64, arrival: Arrival, knee_p99_ms: f64 },
    /// The associations of a recorded log, when they were.
    Trace { visits: Arc<Vec<Visit>> },
}

/// The load's TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsSettings {
    /// PEM file of whom to trust; without it the receiver's certificate is not to be trusted, unless `insecure`.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) insecure: bool,
    /// PEM files of the client's certificate chain and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// The name in the receiver's certificate, where it is not the host that is connected to.
    pub(crate) server_name: Option<String>,
}

/// Peers that behave badly beside the load.
#[derive(Clone, Debug)]
pub(crate) struct BadPeer {
    pub(crate) kind: BadPeerKind,
    /// So many of them at a time.
    pub(crate) count: u32,
    /// Each begins anew so often; 0 is at once.
    pub(crate) every_s: f64,
    /// Of the dataset, where there is one.
    pub(crate) size: ByteSize,
}
