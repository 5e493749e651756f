//! What operators see of a child.

use super::spec::Group;

/// The status of a child at one moment.
#[derive(Clone, Debug)]
pub struct ChildStatus {
    /// Name in the log, such as `writer-3`.
    pub name: String,
    /// Its group.
    pub group: Group,
    /// Its state.
    pub state: ChildState,
    /// Time since its start, in milliseconds; 0 if it does not run.
    pub uptime_ms: u64,
    /// Time with work and without progress.
    pub quiet_ms: u64,
    /// Number of restarts.
    pub restarts: u64,
    /// Its last end.
    pub last_exit: Option<String>,
}

/// The state of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Ended, waits for its restart.
    Restarting,
    /// Asked to stop.
    Stopping,
    /// Ended for good.
    Down,
}

impl ChildState {
    /// Name in lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Down => "down",
        }
    }
}
