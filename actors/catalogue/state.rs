//! What operators see of the catalogue. No text in it holds a value of a dataset, but for the paths of differences.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tidegate_catalogue::catch_up::{Difference, Progress};

/// The state of the catalogue at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueState {
    /// The file.
    pub path: PathBuf,
    /// Whether its answers can be relied on.
    pub condition: Condition,
    /// Records that wait to be entered.
    pub waiting: u64,
    /// Records that may wait.
    pub capacity: u64,
    /// Records entered since the start, by batches of events.
    pub entered: u64,
    /// Instances that were stored and not queued or not entered since the start. Catch-up finds them.
    pub missed: u64,
    /// Why the file cannot be written at the moment.
    pub trouble: Option<String>,
    /// The gap that is open.
    pub gap: Option<OpenGap>,
    /// The last batch that was entered.
    pub last_batch: Option<LastBatch>,
    /// The catch-up, check or rebuild under way, or the last one.
    pub work: Option<WorkState>,
    /// The last check that came to its end.
    pub last_check: Option<WorkState>,
    /// Bytes of the file and its log.
    pub bytes: u64,
    /// What retention has done since the start.
    pub retention: RetentionState,
}

/// What retention has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionState {
    /// Files that it has deleted.
    pub deleted_files: u64,
    /// Bytes of them.
    pub deleted_bytes: u64,
    /// Files that it could not delete, each time.
    pub not_deleted: u64,
    /// There are more bytes than it allows, and no file may go.
    pub is_blocked: bool,
}

/// Whether the answers of the catalogue can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is being compared with the disk for the first time since the start: an instance stored by an earlier run may be missing, or one
    /// that people removed may be in it.
    CatchingUp,
    /// It has every instance that was stored more than a moment ago.
    Current,
    /// It misses instances, or cannot be written at the moment. It closes the gap by itself.
    Behind,
    /// It cannot be used.
    Unavailable {
        /// What failed.
        reason: String,
        /// What an operator can do.
        remedy: String,
    },
    /// It is being made from the files, and knows a part of them.
    Rebuilding,
}

impl CatalogueState {
    /// Why the condition is not as it should be at the moment, and what an operator can do about it.
    pub fn why(&self) -> (Option<&str>, Option<&str>) {
        match &self.condition {
            Condition::Unavailable { reason, remedy } => (Some(reason), Some(remedy)),
            // The gap has the reason that it began with.
            Condition::Behind => (self.trouble.as_deref().or(self.gap.as_ref().map(|gap| &*gap.reason)), None),
            Condition::CatchingUp | Condition::Current | Condition::Rebuilding => (None, None),
        }
    }
}

impl Condition {
    /// Every name, in the order of the metric.
    pub const NAMES: [&str; 5] = ["catching_up", "current", "behind", "unavailable", "rebuilding"];

    /// The name in metrics, lists and the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CatchingUp => "catching_up",
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Unavailable { .. } => "unavailable",
            Self::Rebuilding => "rebuilding",
        }
    }
}

/// A time in which instances are stored and not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGap {
    /// When it began.
    pub since: SystemTime,
    /// Why.
    pub reason: String,
    /// Instances known to be missed.
    pub missed: u64,
}

/// A batch that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// When it was durable.
    pub at: SystemTime,
    /// Its records.
    pub records: u64,
    /// The time of its transaction.
    pub took: Duration,
}

/// Work on the whole catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Compares the directories that have changed since they were last compared: at the start, and after a gap.
    Changes,
    /// Compares all directories, at the request of an operator.
    CatchUp,
    /// Compares all directories and changes nothing, at the request of an operator.
    Check,
    /// Reads every file, at the request of an operator.
    Rebuild,
}

impl Work {
    /// The name in logs and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::CatchUp => "catch_up",
            Self::Check => "check",
            Self::Rebuild => "rebuild",
        }
    }
}

/// How far a work has come.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkState {
    /// Rises with each work since the start of the node. A work that does others' as well has the highest of their numbers.
    pub number: u64,
    /// Its kind.
    pub work: Work,
    /// Whether it is under way.
    pub is_running: bool,
    /// When it began.
    pub began: SystemTime,
    /// How long it took, so far.
    pub took: Duration,
    /// What it has seen and done.
    pub progress: Progress,
    /// The first differences that a check has found, at most a hundred.
    pub named: Vec<Difference>,
    /// What a check found wrong within the file, at most 100 texts.
    pub problems: Vec<String>,
}

impl WorkState {
    /// Whether every file is being read at the request of an operator.
    pub(super) fn is_a_rebuild_under_way(&self) -> bool {
        self.is_running && self.work == Work::Rebuild
    }

    /// Files that were listed a second.
    pub fn files_per_s(&self) -> f64 {
        self.progress.files as f64 / self.took.as_secs_f64().max(0.001)
    }
}

/// What an operator may ask for. It is done in the running node, beside receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueRequest {
    /// Compare the catalogue with all directories, and change nothing.
    Check,
    /// Read every file, and correct what is known of it.
    Rebuild,
    /// Compare the catalogue with all directories, and correct it.
    CatchUp,
}

impl CatalogueRequest {
    /// The work that is done for it.
    pub fn work(self) -> Work {
        match self {
            Self::Check => Work::Check,
            Self::Rebuild => Work::Rebuild,
            Self::CatchUp => Work::CatchUp,
        }
    }
}

/// What was completed since the start of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompletedState {
    /// Completions of studies.
    pub studies: u64,
    /// Completions of series.
    pub series: u64,
    /// By how much the latest one was late, in milliseconds.
    pub latest_ms: u64,
}
