//! The routes of what is stored.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use tidegate_actors::gauges::audit::Operator;

use super::model::CatalogueState;
use super::search::StudySearch;
use super::state::CatalogueWork;
use crate::admin::guard::Trust;
use crate::admin::look_error::{ReadError, refuse};
use crate::admin::response::{complain, json};
use crate::admin::surface::Surface;

pub(in crate::admin) async fn studies(
    surface: web::Data<Surface>,
    search: web::Query<StudySearch>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer(surface.readers.studies(search.into_inner(), &operator).await)
}

pub(in crate::admin) async fn study(
    surface: web::Data<Surface>,
    uid: web::Path<String>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer_if_known(&surface, surface.readers.study(uid.into_inner(), &operator).await, "study")
}

pub(in crate::admin) async fn instances(
    surface: web::Data<Surface>,
    uid: web::Path<String>,
    operator: web::ReqData<Operator>,
) -> HttpResponse {
    answer_if_known(&surface, surface.readers.instances(uid.into_inner(), &operator).await, "instance")
}

/// Paths of differences may name patients, as the layout makes them.
pub(in crate::admin) async fn state(surface: web::Data<Surface>, trust: web::ReqData<Trust>) -> HttpResponse {
    let state = surface.readers.state();
    answer(if *trust < Trust::Operator { state.map(CatalogueState::without_names) } else { state })
}

pub(in crate::admin) async fn check(surface: web::Data<Surface>, operator: web::ReqData<Operator>) -> HttpResponse {
    start(&surface, CatalogueWork::Check, &operator)
}

pub(in crate::admin) async fn rebuild(surface: web::Data<Surface>, operator: web::ReqData<Operator>) -> HttpResponse {
    start(&surface, CatalogueWork::Rebuild, &operator)
}

pub(in crate::admin) async fn catch_up(surface: web::Data<Surface>, operator: web::ReqData<Operator>) -> HttpResponse {
    start(&surface, CatalogueWork::CatchUp, &operator)
}

/// 202: the work has begun, and the state tells how far it is.
fn start(surface: &Surface, work: CatalogueWork, by: &Operator) -> HttpResponse {
    match surface.readers.start(work, by) {
        Ok(asked) => json(HttpResponse::Accepted(), asked),
        Err(error) => refuse(&error),
    }
}

fn answer(found: Result<impl Serialize, ReadError>) -> HttpResponse {
    match found {
        Ok(found) => json(HttpResponse::Ok(), found),
        Err(error) => refuse(&error),
    }
}

fn answer_if_known(surface: &Surface, found: Result<Option<impl Serialize>, ReadError>, what: &str) -> HttpResponse {
    match found {
        Ok(None) => {
            let caveat = surface.readers.state().ok().and_then(|state| state.caveat());
            let caveat = caveat.map(|caveat| format!(": {caveat}")).unwrap_or_default();
            complain(HttpResponse::NotFound(), format!("no {what} with that UID is known{caveat}"))
        }
        found => answer(found),
    }
}
