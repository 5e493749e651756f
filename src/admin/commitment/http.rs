//! The routes of the requests of storage commitment.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use tidegate_actors::gauges::audit::Operator;

use super::search::CommitmentSearch;
use crate::admin::look_error::{ReadError, refuse};
use crate::admin::response::{complain, json};
use crate::admin::surface::Surface;

pub(in crate::admin) async fn page(
    surface: web::Data<Surface>,
    search: web::Query<CommitmentSearch>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    match surface.requests.page(search.into_inner(), &operator).await {
        Ok(page) => json(HttpResponse::Ok(), page),
        Err(error) => refuse(&error),
    }
}

pub(in crate::admin) async fn one(
    surface: web::Data<Surface>,
    id: web::Path<i64>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    if_known(surface.requests.one(id.into_inner(), &operator).await)
}

/// It is reported as soon as its turn comes.
pub(in crate::admin) async fn retry(
    surface: web::Data<Surface>,
    id: web::Path<i64>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    if_known(surface.requests.retry(id.into_inner(), &operator).await)
}

fn if_known(found: Result<Option<impl Serialize>, ReadError>) -> HttpResponse {
    match found {
        Ok(Some(found)) => json(HttpResponse::Ok(), found),
        Ok(None) => complain(HttpResponse::NotFound(), "there is no request of that number"),
        Err(error) => refuse(&error),
    }
}
