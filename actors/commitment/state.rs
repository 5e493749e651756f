//! What operators see of storage commitment. No text in it holds a value of a dataset.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

/// What operators see of a request that waits for a destination, with its name.
pub(crate) const WAITS_FOR: &str = "waits for ";

/// The comment of a request whose report has no way at the moment.
pub const NO_WAY: &str = "no [[peer]] names its address; it is reported when it associates again";

/// The state of storage commitment at one moment. Counts without another word are since the start of the node.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitmentState {
    /// The file of the requests.
    pub path: PathBuf,
    /// Whether requests are served.
    pub condition: CommitmentCondition,
    /// Requests that were accepted.
    pub received: u64,
    /// Requests that were refused, by the status of the response.
    pub refused: Vec<(&'static str, u64)>,
    /// Instances that were reported as committed.
    pub committed: u64,
    /// Instances that were reported as failed, by reason.
    pub failed: Vec<(&'static str, u64)>,
    /// Reports that their peers have taken.
    pub reported: u64,
    /// Attempts to report that failed.
    pub attempts_failed: u64,
    /// Requests whose report was given up.
    pub gave_up: u64,
    /// Requests that are to be evaluated or reported at the moment.
    pub pending: u64,
    /// Of them, those of which an attempt to report has failed.
    pub retrying: u64,
    /// Of them, those whose peer has no address and no open association.
    pub without_address: u64,
    /// Requests whose report was given up, as far as the file keeps them.
    pub kept_failed: u64,
    /// When the oldest pending request came in.
    pub oldest_pending: Option<SystemTime>,
    /// Associations of this node with peers, to report.
    pub calls: Vec<Call>,
    /// The last failed attempt of each peer of late, the latest first.
    pub last_failures: Vec<ReportFailure>,
}

/// Whether storage commitment is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitmentCondition {
    /// Requests are accepted and reported.
    Serving,
    /// It is off by configuration: requests are refused. Those that were accepted before are still reported.
    Off,
    /// The file of the requests cannot be used: requests are refused, and modalities keep their instances.
    Unavailable {
        /// What failed.
        reason: String,
        /// What an operator can do.
        remedy: String,
    },
}

impl CommitmentCondition {
    /// Every name, in the order of the metric.
    pub const NAMES: [&str; 3] = ["serving", "off", "unavailable"];

    /// The name in metrics, lists and the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Off => "off",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// An association of this node with a peer, to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The AE title of the peer.
    pub ae_title: String,
    /// Its address, as configured.
    pub address: String,
    /// The request that is reported.
    pub request: i64,
    /// When it began.
    pub began: SystemTime,
}

/// A failed attempt to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFailure {
    /// When.
    pub at: SystemTime,
    /// The AE title of the peer.
    pub ae_title: String,
    /// The address from which it had asked.
    pub address: Option<IpAddr>,
    /// The request.
    pub request: i64,
    /// What failed.
    pub cause: String,
}
