//! The state of storage commitment, as `tidegate status` and the dashboard tell it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidegate_actors::{CommitmentCondition, CommitmentState};

use crate::admin::time::{ms, unix_ms};

/// The state of storage commitment. Fields that end in `_total` count since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitmentHealth {
    /// `serving`, `off` or `unavailable`.
    pub(crate) condition: String,
    /// Why it is unavailable; absent if it is not.
    pub(crate) reason: Option<String>,
    /// What an operator can do about it.
    pub(crate) remedy: Option<String>,
    /// Requests that are not reported, and not given up.
    pub(crate) pending: u64,
    /// Of them, those of which an attempt to report has failed.
    pub(crate) retrying: u64,
    /// Of them, those whose peer has no address and no open association.
    pub(crate) without_address: u64,
    /// The age of the oldest; absent if there is none.
    pub(crate) oldest_pending_ms: Option<u64>,
    /// Requests whose report was given up, of the last 30 days.
    pub(crate) given_up: u64,
    pub(crate) received_total: u64,
    pub(crate) reported_total: u64,
    pub(crate) gave_up_total: u64,
    /// Instances that were reported as committed.
    pub(crate) committed_total: u64,
    /// Instances that were reported as not committed.
    pub(crate) not_committed_total: u64,
    /// The latest attempt to report that failed, of a peer whose reports are pending; absent if there is none.
    pub(crate) last_failure: Option<CommitmentFailure>,
}

/// An attempt to report that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitmentFailure {
    pub(crate) at_unix_ms: u64,
    /// The request.
    pub(crate) id: i64,
    /// As the peer wrote it: escape it before showing it.
    pub(crate) calling_ae_title: String,
    pub(crate) error: String,
}

impl CommitmentHealth {
    pub(in crate::admin) fn of(state: CommitmentState) -> Self {
        let (reason, remedy) = match &state.condition {
            CommitmentCondition::Serving | CommitmentCondition::Off => (None, None),
            CommitmentCondition::Unavailable { reason, remedy } => (Some(reason.clone()), Some(remedy.clone())),
        };
        let age = |since: SystemTime| ms(SystemTime::now().duration_since(since).unwrap_or_default());
        let failure = state.last_failures.into_iter().next().filter(|_| state.retrying > 0);
        Self {
            condition: state.condition.name().to_owned(),
            reason,
            remedy,
            pending: state.pending,
            retrying: state.retrying,
            without_address: state.without_address,
            oldest_pending_ms: state.oldest_pending.map(age),
            given_up: state.kept_failed,
            received_total: state.received,
            reported_total: state.reported,
            gave_up_total: state.gave_up,
            committed_total: state.committed,
            not_committed_total: state.failed.iter().map(|(_, count)| count).sum(),
            last_failure: failure.map(|failure| CommitmentFailure {
                at_unix_ms: unix_ms(failure.at),
                id: failure.request,
                calling_ae_title: failure.ae_title,
                error: failure.cause,
            }),
        }
    }

    /// Removes what names files and peers.
    pub(in crate::admin) fn remove_peers(&mut self) {
        (self.reason, self.remedy, self.last_failure) = (None, None, None);
    }
}
