//! The health of the catalogue, as `tidegate status` tells it. The whole state is at `/api/catalogue`.

use serde::{Deserialize, Serialize};
use tidegate_actors::CatalogueState;

/// The health of the catalogue. It names no patient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogueHealth {
    /// `catching_up`, `current`, `behind`, `unavailable` or `rebuilding`.
    pub(crate) condition: String,
    /// Why it is behind or unavailable; absent if it is neither.
    pub(crate) reason: Option<String>,
    /// What an operator can do; absent if it heals by itself.
    pub(crate) remedy: Option<String>,
    /// Records that wait to be entered.
    pub(crate) waiting: u64,
    pub(crate) entered_total: u64,
    /// Instances that were stored and not entered. Catch-up finds them.
    pub(crate) missed_total: u64,
    /// Files that the catch-up, check or rebuild under way has listed; absent if there is none.
    pub(crate) files: Option<u64>,
    pub(crate) bytes: u64,
}

impl CatalogueHealth {
    pub(super) fn of(state: CatalogueState) -> Self {
        let condition = state.condition.name().to_owned();
        let (reason, remedy) = state.why();
        let (reason, remedy) = (reason.map(str::to_owned), remedy.map(str::to_owned));
        let running = state.work.filter(|work| work.is_running);
        Self {
            condition,
            reason,
            remedy,
            waiting: state.waiting,
            entered_total: state.entered,
            missed_total: state.missed,
            files: running.map(|work| work.progress.files),
            bytes: state.bytes,
        }
    }
}
