//! What all associations of a run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::recorder::Recorder;
use super::schedule::Schedule;
use crate::association::AssociationError;
use crate::catalogue::Catalogue;
use crate::plan::Plan;
use crate::scenario::Pace;

/// Complaints of associations that are printed; the rest are only counted.
const MAX_COMPLAINTS: usize = 10;

/// What all associations of a run share.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) schedule: Schedule,
    pub(super) recorder: Recorder,
    pub(super) start: Instant,
    pub(super) keeps_ledger: bool,
    pub(super) complaints: AtomicUsize,
}

impl Run<'_> {
    /// Whether an answer at `now` to an instance due in `step` counts as kept up with.
    pub(super) fn in_time(&self, step: usize, now: Instant) -> bool {
        match &self.plan.scenario.load.pace {
            Pace::Steps { step_s, knee_p99_ms, .. } => {
                let until_s = (step + 1) as f64 * step_s + knee_p99_ms / 1000.0;
                now.saturating_duration_since(self.start).as_secs_f64() <= until_s
            }
            Pace::Closed { .. } | Pace::Open { .. } => true,
        }
    }

    /// Says why an association failed, unless so many have been said.
    pub(super) fn complain(&self, number: u32, error: &AssociationError) {
        let said = self.complaints.fetch_add(1, Ordering::Relaxed);
        if said < MAX_COMPLAINTS && !self.plan.quiet {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let more = if said + 1 == MAX_COMPLAINTS { " (further failures are only counted)" } else { "" };
            eprintln!("association {number}: {error}{cause}{more}");
        }
    }
}
