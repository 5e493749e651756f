//! The open record of requests, and what is done about each of its errors.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_commitment::{Counts, DESIGN, Error, NotAccepted, Remedy, Requests};
use tidegate_protocol::ActionStatus;
use tracing::{error, info, warn};

use super::shared::{NotRecorded, Shared, Submission};
use crate::committed;

/// Pauses after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two files that are set aside.
const BETWEEN_SET_ASIDE: Duration = Duration::from_secs(600);

/// The record.
pub(super) struct Record {
    shared: Arc<Shared>,
    requests: Option<Requests>,
    retry_for: Duration,
    retry_at: Option<Instant>,
    pause: Duration,
    set_aside_at: Option<Instant>,
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    i64::try_from(committed::now_ms()).unwrap_or(i64::MAX)
}

/// The time of that many milliseconds since 1970.
pub(super) fn time_of(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())
}

impl Record {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (requests, retry_at, set_aside_at) = (None, None, None);
        Self { shared, requests, retry_for: Duration::ZERO, retry_at, pause: FIRST_PAUSE, set_aside_at }
    }

    pub(super) fn is_open(&self) -> bool {
        self.requests.is_some()
    }

    /// When the file may be tried again after a failure.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Opens the file if it is closed, or was opened with another time to retry. Whether that was just done.
    pub(super) fn open_if_due(&mut self) -> bool {
        let retry_for = self.shared.live.get().commitment.retry_for;
        if self.requests.is_some() && self.retry_for == retry_for {
            return false;
        }
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        let was_open = self.requests.take().is_some();
        match Requests::open(&self.shared.path, retry_for, now_ms()) {
            Ok(requests) => {
                if !was_open {
                    let bytes = requests.bytes();
                    info!(path = %self.shared.path.display(), bytes, "record of commitment requests opened");
                }
                (self.requests, self.retry_for) = (Some(requests), retry_for);
                self.succeeded();
            }
            Err(error) => self.failed(&error),
        }
        self.requests.is_some()
    }

    /// Calls the file, and acts on an error.
    pub(super) fn attempt<T>(&mut self, call: impl FnOnce(&mut Requests) -> Result<T, Error>) -> Option<T> {
        let result = call(self.requests.as_mut()?);
        match result {
            Ok(value) => {
                self.succeeded();
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
        let refused = match requests.accept(&submission.asked, submission.references.iter(), now_ms()) {
            Ok(id) => {
                self.succeeded();
                return Ok(id);
            }
            Err(refused) => refused,
        };
        let status = match &refused {
            NotAccepted::Duplicate { .. } => ActionStatus::DuplicateTransactionUid,
            NotAccepted::Empty => ActionStatus::InvalidArgument,
            NotAccepted::TooManyReferences { .. } | NotAccepted::PeerIsFull { .. } | NotAccepted::Full { .. } => {
                ActionStatus::ResourceLimitation
            }
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
        (self.retry_at, self.pause) = (None, FIRST_PAUSE);
        if let Some((former_reason, _)) = self.shared.figures.seen.lock().trouble.take() {
            info!(path = %self.shared.path.display(), former_reason, "record of commitment requests works again");
        }
    }

    fn failed(&mut self, error: &Error) {
        let remedy = match error {
            // At a path of the node's own, a file whose first page is damaged looks like another program's.
            Error::Foreign { .. } => Remedy::SetAside,
            error => error.remedy(),
        };
        if remedy != Remedy::Retry {
            self.requests = None;
        }
        let is_first = self.retry_at.is_none();
        if remedy == Remedy::SetAside && self.set_aside_at.is_none_or(|at| at.elapsed() >= BETWEEN_SET_ASIDE) {
            match DESIGN.set_aside(&self.shared.path, now_ms()) {
                Ok(aside) => return self.was_set_aside(&aside, error),
                Err(error) => self.tell(&error),
            }
        } else {
            self.tell(error);
        }
        // A file that was deleted is made again at once.
        let pause = if remedy == Remedy::Reopen && is_first { Duration::ZERO } else { self.pause };
        self.retry_at = Some(Instant::now() + pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn was_set_aside(&mut self, aside: &std::path::Path, error: &Error) {
        warn!(
            path = %self.shared.path.display(), aside = %aside.display(), %error,
            "damaged record of commitment requests set aside: reports that were pending are lost, and modalities must ask again"
        );
        (self.set_aside_at, self.retry_at) = (Some(Instant::now()), Some(Instant::now()));
    }

    /// Logs a trouble, once for each reason.
    fn tell(&self, error: &Error) {
        let reason = error.to_string();
        let mut seen = self.shared.figures.seen.lock();
        if seen.trouble.as_ref().is_some_and(|(known, _)| *known == reason) {
            return;
        }
        let remedy = remedy_of(error);
        seen.trouble = Some((reason.clone(), remedy.to_owned()));
        drop(seen);
        let path: PathBuf = self.shared.path.clone();
        error!(path = %path.display(), reason, remedy, "storage commitment requests cannot be recorded, and are refused");
    }
}

fn remedy_of(error: &Error) -> &'static str {
    match error {
        Error::ReadOnly { .. } => "make the file and its directory writable for the node",
        Error::Newer { .. } => "start a newer tidegate, or move the file away: modalities then have to ask again",
        Error::InUse { .. } => "stop one of the two nodes",
        Error::Foreign { .. } | Error::Corrupt { .. } => "move the file away: modalities then have to ask again",
        Error::Full { .. } => "free space on the filesystem of the file",
        Error::Locked { .. } | Error::TooSlow { .. } | Error::Older { .. } => "end the program that holds the file",
        _ => "look after the directory and the disk of the file",
    }
}
