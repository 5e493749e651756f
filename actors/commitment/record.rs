//! The open record of requests, and what is done about each of its errors.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_commitment::{Counts, DESIGN, Error, NotAccepted, Remedy, Requests};
use tidegate_protocol::ActionStatus;
use tracing::{error, info, warn};

use super::shared::{NotRecorded, Shared, Submission};
use crate::committed::clock_ms;
use crate::reopening::{Pauses, Reopening, remedy_of};

const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
    between_set_aside: Duration::from_secs(600),
};

/// The record.
pub(super) struct Record {
    shared: Arc<Shared>,
    requests: Option<Requests>,
    retry_for: Duration,
    reopening: Reopening,
}

/// The time of that many milliseconds since 1970.
pub(super) fn time_of(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())
}

impl Record {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, requests: None, retry_for: Duration::ZERO, reopening: Reopening::new(PAUSES) }
    }

    pub(super) fn is_open(&self) -> bool {
        self.requests.is_some()
    }

    /// When the file may be tried again after a failure.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.reopening.at()
    }

    /// Whether the file could not be written when that was last tried.
    pub(super) fn is_troubled(&self) -> bool {
        self.reopening.at().is_some()
    }

    /// Opens the file if it is closed, or was opened with another time to retry, and tries one that could not be written. Whether it can be used again.
    pub(super) fn open_if_due(&mut self) -> bool {
        let retry_for = self.shared.live.get().commitment.retry_for;
        let is_well = self.requests.is_some() && self.retry_for == retry_for && !self.is_troubled();
        if is_well || self.reopening.at().is_some_and(|at| at > Instant::now()) {
            return false;
        }
        if self.requests.is_some() && self.retry_for == retry_for {
            return self.attempt(Requests::probe).is_some();
        }
        let was_open = self.requests.take().is_some();
        match Requests::open(&self.shared.path, retry_for, clock_ms()) {
            Ok(requests) => {
                if !was_open {
                    let bytes = requests.bytes();
                    info!(path = %self.shared.path.display(), bytes, "record of commitment requests opened");
                }
                (self.requests, self.retry_for) = (Some(requests), retry_for);
                self.succeeded();
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    /// Calls the file, and acts on an error. Only a call that has written something proves that it can be written again.
    pub(super) fn attempt<T>(&mut self, call: impl FnOnce(&mut Requests) -> Result<T, Error>) -> Option<T> {
        let requests = self.requests.as_mut()?;
        let before = requests.changes();
        let result = call(requests);
        let has_written = requests.changes() != before;
        match result {
            Ok(value) => {
                if has_written {
                    self.succeeded();
                }
                Some(value)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// Makes a request durable.
    pub(super) fn accept(&mut self, submission: &Submission) -> Result<i64, NotRecorded> {
        let Some(requests) = &mut self.requests else {
            let cause = "the record of commitment requests cannot be used".to_owned();
            return Err(NotRecorded { status: ActionStatus::ProcessingFailure, cause });
        };
        let refused = match requests.accept(&submission.asked, submission.references.iter(), clock_ms()) {
            Ok(id) => {
                self.succeeded();
                return Ok(id);
            }
            Err(refused) => refused,
        };
        let status = match &refused {
            NotAccepted::Duplicate { .. } => ActionStatus::DuplicateTransactionUid,
            NotAccepted::Empty => ActionStatus::InvalidArgument,
            NotAccepted::TooManyReferences { .. }
            | NotAccepted::PeerIsFull { .. }
            | NotAccepted::AddressIsFull { .. }
            | NotAccepted::Full { .. } => ActionStatus::ResourceLimitation,
            NotAccepted::File(error) => {
                self.failed(error);
                ActionStatus::ProcessingFailure
            }
        };
        Err(NotRecorded { status, cause: refused.to_string() })
    }

    /// What the record has in all.
    pub(super) fn counts(&mut self) -> Option<Counts> {
        self.attempt(|requests| requests.counts())
    }

    /// Gives back the page cache.
    pub(super) fn rest(&self) {
        if let Some(requests) = &self.requests {
            requests.release_memory();
        }
    }

    fn succeeded(&mut self) {
        self.reopening.succeeded();
        if let Some((former_reason, _)) = self.shared.figures.seen.lock().trouble.take() {
            info!(path = %self.shared.path.display(), former_reason, "record of commitment requests works again");
        }
    }

    fn failed(&mut self, error: &Error) {
        let remedy = remedy_of(error, true);
        if remedy != Remedy::Retry {
            self.requests = None;
        }
        if remedy == Remedy::SetAside && self.reopening.may_set_aside() {
            match DESIGN.set_aside(&self.shared.path, clock_ms()) {
                Ok(aside) => return self.was_set_aside(&aside, error),
                Err(error) => self.tell(&error),
            }
        } else {
            self.tell(error);
        }
        self.reopening.failed(remedy);
    }

    fn was_set_aside(&mut self, aside: &std::path::Path, error: &Error) {
        warn!(
            path = %self.shared.path.display(), aside = %aside.display(), %error,
            "damaged record of commitment requests set aside: reports that were pending are lost, and modalities must ask again"
        );
        self.reopening.was_set_aside();
    }

    /// Logs a trouble, once for each reason.
    fn tell(&self, error: &Error) {
        let reason = error.to_string();
        let mut seen = self.shared.figures.seen.lock();
        if seen.trouble.as_ref().is_some_and(|(known, _)| *known == reason) {
            return;
        }
        let remedy = error.advice();
        seen.trouble = Some((reason.clone(), remedy.to_owned()));
        drop(seen);
        let path: PathBuf = self.shared.path.clone();
        error!(path = %path.display(), reason, remedy, "storage commitment requests cannot be recorded, and are refused");
    }
}
