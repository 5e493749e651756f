//! Which requests, as people ask for them: parameters of a request, and flags of a command.

use serde::{Deserialize, Serialize};
use tidegate_commitment::{Filter, Page};

/// Requests of a page that is asked for without a number.
pub(crate) const DEFAULT_LIMIT: u32 = 50;
/// Requests of a page at most.
pub(crate) const MAX_LIMIT: u32 = 500;

/// A page of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CommitmentSearch {
    /// `pending` or `given_up`, which is called `failed`, too; absent or empty: all.
    pub(crate) state: Option<String>,
    pub(crate) limit: Option<u32>,
    /// The AE title of the peer that asked; absent or empty: any.
    pub(crate) calling: Option<String>,
    /// The `next` of the page before.
    pub(crate) after: Option<i64>,
}

/// A condition that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchError {
    #[error("state must be pending or given_up")]
    State,
    #[error("limit must be 1 to {MAX_LIMIT}")]
    Limit,
}

impl CommitmentSearch {
    /// Its conditions for the audit, as a query string has them.
    pub(super) fn conditions(&self) -> String {
        let state = self.state.as_deref().filter(|state| ["pending", "given_up", "failed"].contains(state));
        let calling = self.calling().map(|calling| format!("calling={calling}"));
        let conditions = [state.map(|state| format!("state={state}")), calling];
        conditions.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    fn calling(&self) -> Option<&str> {
        self.calling.as_deref().map(str::trim).filter(|calling| !calling.is_empty())
    }

    pub(super) fn read(&self) -> Result<Page<'_>, SearchError> {
        let filter = match self.state.as_deref().unwrap_or_default() {
            "" => Filter::All,
            "pending" => Filter::Pending,
            "given_up" | "failed" => Filter::GivenUp,
            _ => return Err(SearchError::State),
        };
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(SearchError::Limit);
        }
        Ok(Page { filter, calling: self.calling(), before: self.after, limit })
    }
}
