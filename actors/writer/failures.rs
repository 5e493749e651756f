//! Tells a failure of the storage from a failure of single paths.

use tidegate_storage::StoreError;

use crate::supervision::exit::Exit;

/// Consecutive storage errors after which a writer tests the storage.
const MAX_STORAGE_FAILURES: u32 = 16;

/// Consecutive storage errors of one writer.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_a_row: u32,
    last: Option<StoreError>,
}

impl Failures {
    /// Records the outcome of a job. A success ends the run of errors; so does an error of the instance, or one that passes by itself.
    pub(crate) fn note(&mut self, error: Option<StoreError>) {
        self.last = error.filter(StoreError::is_storage_failure);
        self.in_a_row = if self.last.is_some() { self.in_a_row + 1 } else { 0 };
    }

    /// Whether the run is long enough for a test.
    pub(crate) fn should_try_storage(&self) -> bool {
        self.in_a_row >= MAX_STORAGE_FAILURES
    }

    /// `Some` if the test failed too, so that the storage fails and not only a path. A directory of another owner fails for every
    /// instance of its study, and must not end the writers. Ends the run: the next test is `MAX_STORAGE_FAILURES` errors away.
    pub(crate) fn verdict(&mut self, trial: &Result<(), StoreError>) -> Option<Exit> {
        let Self { in_a_row: failures, last } = std::mem::take(self);
        // An error that passes by itself, such as a full disk, needs no restart of the writer.
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
        // The next test is as many failures away.
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
