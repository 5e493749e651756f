//! The routes of deliveries.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use tidegate_actors::gauges::audit::Operator;

use super::readers::OutboxError;
use super::search::{OutboxOrder, OutboxSearch};
use crate::admin::response::{complain, json};
use crate::admin::surface::Surface;

pub(in crate::admin) async fn destinations(surface: web::Data<Surface>) -> HttpResponse {
    answer(surface.deliveries.destinations())
}

pub(in crate::admin) async fn page(
    surface: web::Data<Surface>,
    search: web::Query<OutboxSearch>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer(surface.deliveries.page(search.into_inner(), &operator).await)
}

/// It is done when this is answered, or the node continues.
pub(in crate::admin) async fn order(
    surface: web::Data<Surface>,
    destination: web::Path<String>,
    order: web::Json<OutboxOrder>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer(surface.deliveries.order(destination.into_inner(), order.into_inner(), &operator).await)
}

fn answer(found: Result<impl Serialize, OutboxError>) -> HttpResponse {
    match found {
        Ok(found) => json(HttpResponse::Ok(), found),
        Err(error) => {
            let response = match error {
                OutboxError::Search(_) => HttpResponse::BadRequest(),
                OutboxError::Unknown => HttpResponse::NotFound(),
                _ => HttpResponse::ServiceUnavailable(),
            };
            complain(response, &error)
        }
    }
}
