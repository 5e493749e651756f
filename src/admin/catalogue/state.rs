//! The catalogue of the running node: its state, and the work that operators ask for.

use serde::{Deserialize, Serialize};
use tidegate_actors::gauges::audit::Operator;
use tidegate_actors::{self as actors, CatalogueRequest, Condition, LastBatch, Observer, OpenGap, WorkState};
use tidegate_catalogue::catch_up::Difference;
use tracing::field::display;

use super::model::{
    CatalogueBatch, CatalogueCondition, CatalogueGap, CatalogueState, NamedDifference, WorkAsked, WorkProgress,
};
use crate::admin::time::at;

/// Work on the whole catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CatalogueWork {
    /// Compare it with all stored files, and change nothing.
    Check,
    /// Read all stored files, and correct it.
    Rebuild,
    /// Compare it with all directories, and correct it.
    CatchUp,
}

impl CatalogueWork {
    pub(crate) fn request(self) -> CatalogueRequest {
        match self {
            Self::Check => CatalogueRequest::Check,
            Self::Rebuild => CatalogueRequest::Rebuild,
            Self::CatchUp => CatalogueRequest::CatchUp,
        }
    }

    /// As [`WorkProgress::work`] has it.
    pub(crate) fn name(self) -> &'static str {
        self.request().work().name()
    }
}

/// `None`: it is off.
pub(in crate::admin) fn of(observer: &Observer) -> Option<CatalogueState> {
    observer.catalogue().map(CatalogueState::from)
}

/// Starts that work, which the state then tells of. `None`: the catalogue is off.
pub(in crate::admin) fn start(observer: &Observer, work: CatalogueWork, by: &Operator) -> Option<WorkAsked> {
    let number = observer.ask_catalogue(work.request())?;
    let (work, address) = (work.name(), by.address.map(display));
    tracing::info!(number, work, operator = by.identity.as_str(), address, "catalogue work asked for by an operator");
    Some(WorkAsked { number, work: work.to_owned(), catalogue: of(observer)? })
}

impl From<actors::CatalogueState> for CatalogueState {
    fn from(state: actors::CatalogueState) -> Self {
        let condition = match &state.condition {
            Condition::CatchingUp => CatalogueCondition::CatchingUp,
            Condition::Current => CatalogueCondition::Current,
            Condition::Behind => CatalogueCondition::Behind,
            Condition::Unavailable { .. } => CatalogueCondition::Unavailable,
            Condition::Rebuilding => CatalogueCondition::Rebuilding,
        };
        let (reason, remedy) = state.why();
        let (reason, remedy) = (reason.map(str::to_owned), remedy.map(str::to_owned));
        Self {
            path: state.path.to_string_lossy().into_owned(),
            condition,
            reason,
            remedy,
            waiting: state.waiting,
            capacity: state.capacity,
            entered_total: state.entered,
            missed_total: state.missed,
            gap: state.gap.map(CatalogueGap::from),
            last_batch: state.last_batch.map(CatalogueBatch::from),
            work: state.work.map(WorkProgress::from),
            last_check: state.last_check.map(WorkProgress::from),
            bytes: state.bytes,
        }
    }
}

impl From<OpenGap> for CatalogueGap {
    fn from(gap: OpenGap) -> Self {
        Self { since: at(gap.since), reason: gap.reason, missed: gap.missed }
    }
}

impl From<LastBatch> for CatalogueBatch {
    fn from(batch: LastBatch) -> Self {
        Self { at: at(batch.at), records: batch.records, took_ms: batch.took.as_millis() as u64 }
    }
}

impl From<Difference> for NamedDifference {
    fn from(found: Difference) -> Self {
        Self {
            kind: found.kind.name().to_owned(),
            path: found.path.to_string_lossy().into_owned(),
            sop_instance_uid: found.sop_instance_uid.map(|uid| uid.to_string()),
            text: found.kind.to_string(),
        }
    }
}

impl From<WorkState> for WorkProgress {
    fn from(state: WorkState) -> Self {
        let progress = state.progress;
        Self {
            number: state.number,
            work: state.work.name().to_owned(),
            is_running: state.is_running,
            began: at(state.began),
            took_ms: state.took.as_millis() as u64,
            directories: progress.directories,
            skipped: progress.skipped,
            files: progress.files,
            files_per_s: state.files_per_s() as u64,
            read: progress.read,
            new: progress.new,
            changed: progress.changed,
            other: progress.other,
            gone: progress.gone,
            unreadable: progress.unreadable,
            named: state.named.into_iter().map(NamedDifference::from).collect(),
            problems: state.problems,
        }
    }
}
