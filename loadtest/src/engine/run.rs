//! The state that all associations of a run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::recorder::Recorder;
use super::schedule::Schedule;
use crate::association::AssociationError;
use crate::catalogue::Catalogue;
use crate::plan::Plan;
use crate::scenario::{Load, Pace, Sender};

/// Complaints of associations that are printed; the rest are only counted.
const MAX_COMPLAINTS: usize = 10;

/// The state that all associations of a run share.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) groups: Vec<Group>,
    pub(super) recorder: Recorder,
    pub(super) start: Instant,
    pub(super) keeps_ledger: bool,
    pub(super) complaints: AtomicUsize,
}

/// Senders that are alike, and their pace.
pub(super) struct Group {
    pub(super) sender: Sender,
    /// The number of its first association; the others follow.
    pub(super) first: u32,
    pub(super) schedule: Schedule,
}

/// The groups of a plan whose load starts at `start`.
pub(super) fn groups(plan: &Plan, start: Instant) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (sender, number) in plan.scenario.groups().into_iter().zip(0_u64..) {
        let load = Load { pace: sender.pace.clone(), ..plan.scenario.load.clone() };
        let seed = plan.seed ^ number.rotate_left(32);
        let mut schedule = Schedule::new(&load, seed, start, Arc::clone(&plan.stop));
        let mut first = 0;
        if let (Some(one), Some(last)) = (groups.first(), groups.last()) {
            schedule = schedule.sharing_with(&one.schedule);
            first = last.first + last.sender.associations;
        }
        // A group may override the settings of all associations.
        let associations =
            if plan.scenario.senders.is_empty() { plan.scenario.associations.count } else { sender.associations };
        groups.push(Group { sender: Sender { associations, ..sender }, first, schedule });
    }
    groups
}

impl Run<'_> {
    /// When figures begin.
    pub(super) fn measured_from(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.plan.scenario.load.warm_up_s)
    }

    /// Ends the load before its time.
    pub(super) fn end_now(&self) {
        self.groups.iter().for_each(|group| group.schedule.end_now());
    }

    /// About how many instances are due at `now` and not taken.
    pub(super) fn backlog(&self, now: Instant) -> u64 {
        self.groups.iter().map(|group| group.schedule.backlog(now)).sum()
    }

    /// How many were due and never taken when the load ended at `now`. A number of instances is shared by all groups.
    pub(super) fn never_taken(&self, now: Instant) -> u64 {
        let each = self.groups.iter().map(|group| group.schedule.never_taken(now));
        if self.plan.scenario.load.instances.is_some() { each.max().unwrap_or_default() } else { each.sum() }
    }

    /// Whether an answer at `now` to an instance due in `step` counts as kept up with.
    pub(super) fn in_time(&self, step: usize, now: Instant) -> bool {
        match &self.plan.scenario.load.pace {
            Pace::Steps { step_s, knee_p99_ms, .. } => {
                let until_s = (step + 1) as f64 * step_s + knee_p99_ms / 1000.0;
                now.saturating_duration_since(self.start).as_secs_f64() <= until_s
            }
            Pace::Closed { .. } | Pace::Open { .. } | Pace::Trace { .. } => true,
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
