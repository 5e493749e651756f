//! Why a question to a database of the node, the catalogue or the record of commitment requests, has no answer.

use actix_web::HttpResponse;
use tidegate_catalogue::{Error, Remedy};

use super::queries::QueryError;
use super::response::complain;

/// A condition that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchError {
    #[error("completeness must be open or complete")]
    Completeness,
    #[error(
        "{0} must be a time in UTC such as 2026-11-29T10:00:00Z, a day such as 2026-11-29, or how long ago, such as 2h"
    )]
    Moment(&'static str),
    #[error("{0} must be a day such as 2026-11-29 or 20261129")]
    Day(&'static str),
    #[error("state must be pending or given_up")]
    State,
    #[error("limit must be 1 to {0}")]
    Limit(u32),
    #[error("after must be the next of an earlier answer")]
    Cursor,
    #[error("after must be the id of an event, its number, or so many of the last ones, such as -10")]
    Event,
    #[error("type must be one of {}", tidegate_catalogue::EventKind::ALL.map(tidegate_catalogue::EventKind::name).join(", "))]
    EventType,
}

/// Why a reader has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    File(#[from] Error),
}

/// Why a running node has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::admin) enum ReadError {
    #[error("{what}: set [catalogue] path = \"auto\" and start the node again")]
    Off { what: &'static str },
    #[error("the {name} is unavailable: {reason}; {remedy}")]
    Unavailable { name: &'static str, reason: String, remedy: String },
    #[error("the request is not retried: {0}")]
    NotRetried(String),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("{source}{}", advice(.source))]
    Look {
        #[from]
        source: LookError,
    },
}

/// What the reader of an error can do, where its text does not say it.
fn advice(error: &LookError) -> String {
    let LookError::File(error) = error else { return String::new() };
    match error.remedy() {
        Remedy::Retry => ": try again, or search for less".to_owned(),
        Remedy::Reopen | Remedy::SetAside => {
            ": the node opens it again or sets it aside, and its log tells what it does".to_owned()
        }
        Remedy::Operator => format!(": {}", error.advice()),
    }
}

/// The response of a request that has no answer.
pub(in crate::admin) fn refuse(error: &ReadError) -> HttpResponse {
    let response = match error {
        ReadError::Look { source: LookError::Search(_) } => HttpResponse::BadRequest(),
        _ => HttpResponse::ServiceUnavailable(),
    };
    complain(response, error)
}
