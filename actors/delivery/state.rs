//! What operators see of a destination. No text in it holds a value of a dataset.

use std::time::SystemTime;

/// The state of a destination at one moment. Counts are since the start of the node.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationState {
    /// Its name in the configuration.
    pub name: String,
    /// Its AE title and address, as configured.
    pub peer: String,
    /// What it is doing.
    pub phase: DestinationPhase,
    /// Open associations.
    pub connections: u64,
    /// Studies that they are at.
    pub studies: u64,
    /// Instances that it has taken, warnings included.
    pub delivered: u64,
    /// Of them, those that it took with a warning.
    pub warned: u64,
    /// Attempts after which an instance is tried again.
    pub retried: u64,
    /// Instances that were given up.
    pub dead: u64,
    /// Since when, and why, it is not asked for commitment with success, or does not report in time; `None`: it commits, or is not asked to.
    pub not_committing: Option<(SystemTime, String)>,
    /// Bytes of the instances that it has taken.
    pub bytes: u64,
    /// Bytes of them a second, over the last minute.
    pub bytes_per_s: u64,
    /// Instances of them a second, over the last minute.
    pub instances_per_s: f64,
    /// The last failure, and when.
    pub last_error: Option<(SystemTime, String)>,
    /// When it took an instance last.
    pub last_success: Option<SystemTime>,
}

/// What a destination is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DestinationPhase {
    /// Nothing is to be sent.
    #[default]
    Idle,
    /// Instances are sent.
    Sending,
    /// It fails as a whole; one association at a time asks whether it is back.
    Down {
        /// Since when.
        since: SystemTime,
        /// The last failure.
        why: String,
        /// When the next association is requested.
        next_probe: SystemTime,
    },
    /// An operator has paused it.
    Paused,
    /// It is outside of its hours.
    OutsideHours,
    /// Its queue or its files cannot be read at the moment.
    Unavailable {
        /// Why.
        why: String,
    },
    /// The node stops.
    Stopping,
}

impl DestinationPhase {
    /// Every name, in the order of the metric.
    pub const NAMES: [&str; 7] = ["idle", "sending", "down", "paused", "outside_hours", "unavailable", "stopping"];

    /// The name in metrics, lists and the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Sending => "sending",
            Self::Down { .. } => "down",
            Self::Paused => "paused",
            Self::OutsideHours => "outside_hours",
            Self::Unavailable { .. } => "unavailable",
            Self::Stopping => "stopping",
        }
    }
}
