//! Why a run is not good: what was lost, refused or never sent, and which objectives were missed.

use crate::figures::{count, rate};
use crate::result::{RunResult, Totals};

/// The share of instances that may fail where no objective bounds failures: a few associations that break are the network's.
const TOLERATED_FAILURES: f64 = 0.01;

impl RunResult {
    /// Whether the run is good.
    pub(crate) fn passed(&self) -> bool {
        self.faults().is_empty()
    }

    /// Everything that makes the run a failed one, in words; empty for a good one.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(self.stopped.clone());
        if self.totals.acknowledged == 0 {
            faults.push("no instance was acknowledged".to_owned());
        }
        faults.extend(self.verification.as_ref().and_then(|found| found.problem()));
        faults.extend(self.too_many_failures());
        faults.extend(self.too_many_rejections());
        let missed = self.objectives.iter().filter(|objective| !objective.met).count();
        if missed > 0 {
            faults.push(format!("{missed} of {} objectives broken", self.objectives.len()));
        }
        faults
    }

    /// Instances of the load that were not stored, by all.
    pub(crate) fn failed_share(&self) -> f64 {
        let failed = self.totals.failed() as f64;
        failed / (failed + self.totals.acknowledged as f64).max(1.0)
    }

    /// Instances that were never due on an association that was rejected are in no count of instances: fewer senders than the load says
    /// were measured.
    fn too_many_rejections(&self) -> Option<String> {
        let Totals { associations_opened: opened, associations_rejected: rejected, .. } = self.totals;
        (self.steps.is_empty() && !self.bounds_failures() && rejected > opened).then(|| {
            format!(
                "{} associations were rejected and {} opened: the receiver had no room for the load",
                count(rejected),
                count(opened)
            )
        })
    }

    fn bounds_failures(&self) -> bool {
        self.objectives.iter().any(|objective| objective.text.trim_start().starts_with("failures"))
    }

    /// An objective takes the place of the share that is tolerated. A load in steps is meant to end with a rate that the receiver does
    /// not keep up with: there the knee counts.
    fn too_many_failures(&self) -> Option<String> {
        if !self.steps.is_empty() {
            let knee = self.steps.iter().any(|step| step.knee);
            return (!knee).then(|| "not even the first step was kept up with".to_owned());
        }
        let is_bounded = self.bounds_failures();
        let share = self.failed_share();
        (!is_bounded && share > TOLERATED_FAILURES).then(|| {
            format!(
                "{} % of the instances were not stored, and more than {} % fail a run without an objective for failures",
                rate(100.0 * share),
                rate(100.0 * TOLERATED_FAILURES)
            )
        })
    }
}

impl crate::result::Verification {
    /// Whether nothing was lost or broken. Extra files are told and forgiven: a storage root may have been in use before.
    pub(crate) fn passed(&self) -> bool {
        self.problem().is_none()
    }

    /// The lost or broken instances, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        let counted = [
            (self.lost.len(), "lost"),
            (self.corrupt.len(), "corrupt"),
            (self.mislabelled.len(), "under another SOP class, transfer syntax or name than was sent"),
            (self.duplicated.len(), "in more than one file"),
        ];
        let found: Vec<String> = counted
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number as u64)))
            .collect();
        let mut said = Vec::new();
        if !found.is_empty() {
            said.push(format!("of {} acknowledged instances {}", count(self.acknowledged), found.join(", ")));
        }
        if !self.partial.is_empty() {
            said.push(format!("{} partial files", count(self.partial.len() as u64)));
        }
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The files of others, in words: they are no fault.
    pub(crate) fn foreign(&self) -> Option<String> {
        let first = self.extra.first()?;
        // The last line has the number of those that are not listed.
        let unlisted =
            self.extra.last().and_then(|last| last.strip_prefix("and ")?.strip_suffix(" more")?.parse().ok());
        let number = unlisted.map_or(self.extra.len() as u64, |more: u64| self.extra.len() as u64 - 1 + more);
        Some(format!("{} files that are not of this run were left alone, such as {first}", count(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;
    use crate::result::Verification;

    fn run(acknowledged: u64, unsent: u64) -> RunResult {
        let mut run = fixture::run(1, 1.0);
        (run.verification, run.steps) = (None, Vec::new());
        run.objectives.clear();
        run.totals.refused.clear();
        (run.totals.acknowledged, run.totals.unanswered, run.totals.unsent) = (acknowledged, 0, unsent);
        run
    }

    #[test]
    fn one_in_a_hundred_may_fail_and_more_only_by_an_objective() {
        assert!(run(990, 10).passed());
        let mut many = run(980, 20);
        assert!(many.faults()[0].contains("2.00 % of the instances were not stored"), "{:?}", many.faults());
        many.objectives = fixture::objective("failures=5%", true);
        assert!(many.passed());
        many.objectives = fixture::objective("p99=1s", true);
        assert!(!many.passed());
    }

    #[test]
    fn more_rejected_associations_than_opened_ones_fail_a_run() {
        let mut rejected = run(1000, 0);
        (rejected.totals.associations_opened, rejected.totals.associations_rejected) = (2, 2);
        assert!(rejected.passed());
        rejected.totals.associations_rejected = 6;
        assert_eq!(
            rejected.faults(),
            ["6 associations were rejected and 2 opened: the receiver had no room for the load"]
        );
    }

    #[test]
    fn nothing_acknowledged_is_never_a_pass() {
        let mut nothing = run(0, 0);
        nothing.verification = Some(Verification::default());
        nothing.objectives = fixture::objective("failures=100%", true);
        assert_eq!(nothing.faults(), ["no instance was acknowledged"]);
    }

    #[test]
    fn a_load_in_steps_passes_with_a_knee_and_fails_without() {
        let mut steps = run(100, 900);
        steps.steps = fixture::run(1, 1.0).steps;
        assert!(steps.passed());
        steps.steps.iter_mut().for_each(|step| step.knee = false);
        assert_eq!(steps.faults(), ["not even the first step was kept up with"]);
    }
}
