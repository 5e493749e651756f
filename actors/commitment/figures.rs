//! The figures of storage commitment, for operators.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::SystemTime;

use parking_lot::Mutex;
use tidegate_commitment::FailureReason;
use tidegate_protocol::ActionStatus;

use super::state::{Call, CommitmentCondition, CommitmentState, ReportFailure};
use crate::gauges::counters::Counter;
use crate::gauges::latency::Histogram;

/// Peers whose last failure is kept.
pub(super) const MAX_FAILURES: usize = 32;

/// The figures for operators.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) received: Counter,
    refused: [Counter; ActionStatus::ALL.len()],
    pub(super) committed: Counter,
    pub(super) failed: [Counter; FailureReason::ALL.len()],
    pub(super) reported: Counter,
    pub(super) attempts_failed: Counter,
    pub(super) gave_up: Counter,
    /// From the request to the report that its peer has taken.
    pub(super) delays: Histogram,
    pub(super) seen: Mutex<Seen>,
}

/// The state as the child last saw it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) trouble: Option<(String, String)>,
    pub(super) pending: u64,
    pub(super) retrying: u64,
    pub(super) without_address: u64,
    pub(super) kept_failed: u64,
    pub(super) oldest_pending: Option<SystemTime>,
    pub(super) last_failures: VecDeque<ReportFailure>,
}

impl Figures {
    /// Notes a response other than success.
    pub(super) fn count_refused(&self, status: ActionStatus) {
        if let Some(at) = ActionStatus::ALL.iter().position(|other| *other == status) {
            self.refused[at].increment();
        }
    }

    /// The state for operators.
    pub(super) fn state(&self, path: PathBuf, is_enabled: bool, calls: Vec<Call>) -> CommitmentState {
        let refused = ActionStatus::ALL.iter().zip(&self.refused).skip(1);
        let failed = FailureReason::ALL.iter().zip(&self.failed);
        let seen = self.seen.lock();
        let condition = match &seen.trouble {
            None if is_enabled => CommitmentCondition::Serving,
            None => CommitmentCondition::Off,
            Some((reason, remedy)) => {
                CommitmentCondition::Unavailable { reason: reason.clone(), remedy: remedy.clone() }
            }
        };
        CommitmentState {
            path,
            condition,
            received: self.received.get(),
            refused: refused.map(|(status, count)| (status_name(*status), count.get())).collect(),
            committed: self.committed.get(),
            failed: failed.map(|(reason, count)| (reason.name(), count.get())).collect(),
            reported: self.reported.get(),
            attempts_failed: self.attempts_failed.get(),
            gave_up: self.gave_up.get(),
            pending: seen.pending,
            retrying: seen.retrying,
            without_address: seen.without_address,
            kept_failed: seen.kept_failed,
            oldest_pending: seen.oldest_pending,
            calls,
            last_failures: seen.last_failures.iter().cloned().collect(),
        }
    }
}

/// The name of a status in metrics and the API.
fn status_name(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::Success => "success",
        ActionStatus::ProcessingFailure => "processing_failure",
        ActionStatus::NoSuchSopInstance => "no_such_sop_instance",
        ActionStatus::InvalidArgument => "invalid_argument",
        ActionStatus::NoSuchSopClass => "no_such_sop_class",
        ActionStatus::ClassInstanceConflict => "class_instance_conflict",
        ActionStatus::MissingAttribute => "missing_attribute",
        ActionStatus::NoSuchAction => "no_such_action",
        ActionStatus::NotAuthorized => "not_authorized",
        ActionStatus::DuplicateTransactionUid => "duplicate_transaction_uid",
        ActionStatus::ResourceLimitation => "resource_limitation",
    }
}
