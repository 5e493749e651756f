//! The routes of sinks.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use tidegate_actors::gauges::audit::Operator;

use super::look::{OwedSearch, PastSearch};
use super::model::EventOrder;
use super::readers::SinkError;
use crate::admin::look_error;
use crate::admin::response::{complain, json};
use crate::admin::surface::Surface;

pub(in crate::admin) async fn sinks(surface: web::Data<Surface>) -> HttpResponse {
    answer(surface.sinks.sinks())
}

pub(in crate::admin) async fn owed(
    surface: web::Data<Surface>,
    search: web::Query<OwedSearch>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer(surface.sinks.owed(search.into_inner(), &operator).await)
}

pub(in crate::admin) async fn past(
    surface: web::Data<Surface>,
    search: web::Query<PastSearch>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer(surface.sinks.past(search.into_inner(), &operator).await)
}

/// It is done when this is answered, or the node continues.
pub(in crate::admin) async fn order(
    surface: web::Data<Surface>,
    sink: web::Path<String>,
    order: web::Json<EventOrder>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer(surface.sinks.order(sink.into_inner(), order.into_inner(), &operator).await)
}

fn answer(found: Result<impl Serialize, SinkError>) -> HttpResponse {
    match found {
        Ok(found) => json(HttpResponse::Ok(), found),
        Err(error) => refuse(&error),
    }
}

pub(super) fn refuse(error: &SinkError) -> HttpResponse {
    let response = match error {
        SinkError::Action | SinkError::Nothing => HttpResponse::BadRequest(),
        SinkError::Unknown => HttpResponse::NotFound(),
        SinkError::NotOrdered(_) => HttpResponse::ServiceUnavailable(),
        SinkError::Read(error) => return look_error::refuse(error),
    };
    complain(response, error)
}
