//! The answers. `openapi.json` describes each field; `tests/tidy/openapi.rs` compares the two. Titles and texts are as peers wrote them: whoever
//! shows them escapes them.

use serde::{Deserialize, Serialize};
use tidegate_commitment::{Outcome, Referenced, Request};

use crate::admin::time::rfc3339;

/// A page of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commitments {
    /// Newest first.
    pub(crate) commitments: Vec<Commitment>,
    /// The value of `after` for the next page, if there is one.
    pub(crate) next: Option<i64>,
}

/// A request of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commitment {
    /// Its number, which no other request ever has.
    pub(crate) id: i64,
    pub(crate) transaction_uid: String,
    /// `received`, `evaluated`, `reported` or `failed`. The first two are pending.
    pub(crate) state: String,
    pub(crate) calling_ae_title: String,
    pub(crate) called_ae_title: String,
    /// Without port.
    pub(crate) address: String,
    /// The association that asked, by its number in the log.
    pub(crate) association: u32,
    pub(crate) received: String,
    /// Instances that it names.
    pub(crate) instances: u32,
    /// Of them, committed by the latest evaluation; 0 before the first.
    pub(crate) committed: u32,
    /// Of them, not committed by the latest evaluation.
    pub(crate) not_committed: u32,
    /// When that was; absent before the first.
    pub(crate) evaluated: Option<String>,
    /// Attempts to report it, since it was received or an operator retried it.
    pub(crate) attempts: u32,
    /// The peer's DIMSE status in answer to the latest of them, in four hexadecimal digits; absent if it gave none.
    pub(crate) last_status: Option<String>,
    /// Why the latest failed, or none could be made.
    pub(crate) last_error: Option<String>,
    /// When the next attempt is due; absent if there is none.
    pub(crate) next_attempt: Option<String>,
    /// When it was reported or given up; absent while it is pending.
    pub(crate) ended: Option<String>,
}

/// A request and what it was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitmentDetail {
    pub(crate) commitment: Commitment,
    /// The instances that are not committed by the latest evaluation, in the order of the request; the first thousand.
    pub(crate) not_committed: Vec<NotCommitted>,
}

/// An instance that is not committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotCommitted {
    /// As the request names it.
    pub(crate) sop_class_uid: String,
    pub(crate) sop_instance_uid: String,
    /// The failure reason (0008,1197) in four hexadecimal digits, such as `0112`.
    pub(crate) reason: String,
    /// It in words.
    pub(crate) text: String,
}

impl From<Request> for Commitment {
    fn from(request: Request) -> Self {
        let Request { asked, .. } = request;
        Self {
            id: request.id,
            transaction_uid: asked.transaction_uid,
            state: request.state.name().to_owned(),
            calling_ae_title: asked.peer.calling,
            called_ae_title: asked.called,
            address: asked.peer.address,
            association: asked.association,
            received: rfc3339(request.received_ms),
            instances: request.instances,
            committed: request.committed,
            not_committed: request.refused,
            evaluated: request.evaluated_ms.map(rfc3339),
            attempts: request.attempts,
            last_status: request.last_status.map(|status| format!("{status:04X}")),
            last_error: Some(request.last_comment).filter(|comment| !comment.is_empty()),
            next_attempt: request.next_ms.map(rfc3339),
            ended: request.ended_ms.map(rfc3339),
        }
    }
}

impl NotCommitted {
    /// `None`: the instance is committed, or nobody knows yet.
    pub(super) fn of(found: &Referenced) -> Option<Self> {
        let Some(Outcome::Failed(reason)) = found.outcome else { return None };
        Some(Self {
            sop_class_uid: found.reference.sop_class.to_string(),
            sop_instance_uid: found.reference.sop_instance.to_string(),
            reason: format!("{:04X}", reason.code()),
            text: reason.to_string(),
        })
    }
}
