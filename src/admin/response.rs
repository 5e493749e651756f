//! Answers in JSON.

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use super::complaint::Complaint;
use crate::unprintable::harmless;

/// The answer with the reason of a failure.
pub(super) fn complain(response: HttpResponseBuilder, error: impl ToString) -> HttpResponse {
    json(response, Complaint::new(error))
}

/// The answer with `what` as JSON, made [`harmless`]: people read it in a terminal, and peers choose many of its strings.
pub(super) fn json(mut response: HttpResponseBuilder, what: impl Serialize) -> HttpResponse {
    match serde_json::to_string(&what) {
        Ok(text) => response.content_type("application/json").body(harmless(&text).into_owned()),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
