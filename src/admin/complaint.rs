//! The answer to a request that failed.

use serde::{Deserialize, Serialize};

/// The reason of a failed request, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Complaint {
    pub(super) error: String,
}

impl Complaint {
    pub(super) fn new(error: impl ToString) -> Self {
        Self { error: error.to_string() }
    }
}
