//! The catalogue of the running node: its state, and the work that operators ask for.

use serde::{Deserialize, Serialize};
use tidegate_actors::Observer;
use tidegate_actors::gauges::audit::Operator;

use super::model::{CatalogueCondition, CatalogueState};

/// Work on the whole catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CatalogueWork {
    /// Compare all files with it, and tell the differences.
    Check,
    /// Make it anew from all files.
    Rebuild,
    /// Compare the directories that have changed, and enter what differs.
    CatchUp,
}

/// `None`: it is off.
pub(in crate::admin) fn of(observer: &Observer) -> Option<CatalogueState> {
    let path = observer.storage_root().join(".tidegate/catalogue.sqlite");
    Some(CatalogueState {
        path: path.to_string_lossy().into_owned(),
        condition: CatalogueCondition::Current,
        reason: None,
        remedy: None,
        waiting: 0,
        capacity: 0,
        entered_total: 0,
        missed_total: 0,
        gap: None,
        last_batch: None,
        work: None,
        last_check: None,
        bytes: 0,
    })
}

/// Starts that work, which the state then tells of. False: the catalogue is off.
pub(in crate::admin) fn start(_observer: &Observer, _work: CatalogueWork, _by: &Operator) -> bool {
    false
}
