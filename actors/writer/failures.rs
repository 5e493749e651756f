//! Whether a writer's storage fails, or only some of the paths that instances ask for.

use tidegate_storage::StoreError;

use crate::supervision::exit::Exit;

/// Storage errors in a row after which a writer makes a trial of the storage itself.
const MAX_STORAGE_FAILURES: u32 = 16;

/// Storage errors of one writer, without a success in between.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_a_row: u32,
    last: Option<StoreError>,
}

impl Failures {
    /// The outcome of a job. Errors that speak of the instance, or that pass by themselves, end a run as a success does.
    pub(crate) fn note(&mut self, error: Option<StoreError>) {
        self.last = error.filter(StoreError::is_storage_failure);
        self.in_a_row = if self.last.is_some() { self.in_a_row + 1 } else { 0 };
    }

    /// Whether the run is long enough for a trial.
    pub(crate) fn should_try_storage(&self) -> bool {
        self.in_a_row >= MAX_STORAGE_FAILURES
    }

    /// Tells a failing storage from a failing path: a directory of another owner fails for every instance of its study, however often
    /// these are sent, and must not take the writers down. Ends the run, so that a trial is made once in so many failures and not for each.
    pub(crate) fn verdict(&mut self, trial: &Result<(), StoreError>) -> Option<Exit> {
        let Self { in_a_row: failures, last } = std::mem::take(self);
        // A trial may also end in what passes by itself: for a disk that is full no writer has to start afresh.
        trial.as_ref().err().filter(|error| error.is_storage_failure())?;
        Some(Exit::StorageFailing { failures, last: last?.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Option<StoreError> {
        Some(StoreError::PermissionDenied { path: "1.2.3".into(), owner: None })
    }

    fn after(errors: u32) -> Failures {
        let mut failures = Failures::default();
        (0..errors).for_each(|_| failures.note(denied()));
        failures
    }

    #[test]
    fn a_path_that_fails_is_not_a_storage_that_fails() {
        let mut failures = after(MAX_STORAGE_FAILURES);
        assert!(failures.should_try_storage());
        assert_eq!(failures.verdict(&Ok(())), None);
        // And the next trial is as many failures away.
        (1..MAX_STORAGE_FAILURES).for_each(|_| failures.note(denied()));
        assert!(!failures.should_try_storage());
        failures.note(denied());
        assert!(failures.should_try_storage());
    }

    #[test]
    fn a_storage_that_fails_its_trial_fails() {
        let mut failures = after(MAX_STORAGE_FAILURES + 3);
        let exit = failures.verdict(&Err(StoreError::ReadOnly));
        assert!(matches!(exit, Some(Exit::StorageFailing { failures: 19, .. })), "{exit:?}");
        assert_eq!(after(MAX_STORAGE_FAILURES).verdict(&Err(StoreError::DiskFull)), None, "which passes by itself");
    }

    #[test]
    fn whatever_does_not_speak_of_the_storage_ends_the_run() {
        for other in [None, Some(StoreError::DiskFull), Some(StoreError::Cancelled)] {
            let mut failures = after(MAX_STORAGE_FAILURES - 1);
            failures.note(other);
            failures.note(denied());
            assert!(!failures.should_try_storage());
        }
    }
}
