//! The routes, each with its method and path. A test compares this list with `openapi.json`.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, Resource, Route, web};
use serde::{Deserialize, Serialize};
use tidegate_actors::gauges::audit::{Operation, Operator};
use tidegate_actors::gauges::ended::KEPT;
use tidegate_actors::gauges::history::POINTS;
use tidegate_memory::profile::{ProfileError, Recording};
use tokio::time::sleep;

use super::catalogue::http as catalogue;
use super::commitment::http as commitment;
use super::dashboard;
use super::ended::EndedAssociation;
use super::guard::Trust;
use super::metrics;
use super::model::{Association, Drain, Second, Status};
use super::outbox::http as outbox;
use super::ready::Readiness;
use super::response::{complain, json};
use super::sinks::http as sinks;
use super::sinks::stream::stream;
use super::storage::{ANSWER_TIME, GLANCE};
use super::surface::Surface;
use super::transport::MAX_BODY_BYTES;
use super::wire::MAX_PROFILE_SECONDS;
use super::writers::Writers;

/// The OpenAPI document.
pub(super) const OPENAPI: &str = include_str!("openapi.json");
/// Greatest age of the disk's figures in a scrape.
const SCRAPE_MAX_AGE: Duration = Duration::from_secs(5);
/// Length of a heap profile that is asked for without one.
const DEFAULT_PROFILE_SECONDS: u64 = 10;

/// The association that is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Aborted {
    id: u64,
}

/// The least severity that is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    level: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    seconds: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Length {
    seconds: Option<u64>,
}

/// Every route.
pub(super) fn routes() -> Vec<(&'static str, Vec<(Method, Route)>)> {
    let mut routes: Vec<_> =
        dashboard::FILES.iter().map(|file| (file.path, vec![(Method::GET, file.route())])).collect();
    routes.extend([
        ("/live", vec![(Method::GET, web::get().to(live))]),
        ("/ready", vec![(Method::GET, web::get().to(ready))]),
        ("/metrics", vec![(Method::GET, web::get().to(scrape))]),
        ("/debug/pprof/heap", vec![(Method::GET, web::get().to(profile))]),
        ("/api/openapi.json", vec![(Method::GET, web::get().to(openapi))]),
        ("/api/status", vec![(Method::GET, web::get().to(status))]),
        ("/api/history", vec![(Method::GET, web::get().to(history))]),
        ("/api/events", vec![(Method::GET, web::get().to(events))]),
        ("/api/events/stream", vec![(Method::GET, web::get().to(stream))]),
        ("/api/associations", vec![(Method::GET, web::get().to(associations))]),
        ("/api/associations/ended", vec![(Method::GET, web::get().to(ended_associations))]),
        ("/api/associations/{id}", vec![(Method::DELETE, web::delete().to(abort))]),
        ("/api/writers", vec![(Method::GET, web::get().to(writers))]),
        ("/api/memory", vec![(Method::GET, web::get().to(memory))]),
        ("/api/studies", vec![(Method::GET, web::get().to(catalogue::studies))]),
        ("/api/studies/{uid}", vec![(Method::GET, web::get().to(catalogue::study))]),
        ("/api/instances/{uid}", vec![(Method::GET, web::get().to(catalogue::instances))]),
        ("/api/catalogue", vec![(Method::GET, web::get().to(catalogue::state))]),
        ("/api/catalogue/check", vec![(Method::POST, web::post().to(catalogue::check))]),
        ("/api/catalogue/rebuild", vec![(Method::POST, web::post().to(catalogue::rebuild))]),
        ("/api/catalogue/catch-up", vec![(Method::POST, web::post().to(catalogue::catch_up))]),
        ("/api/commitments", vec![(Method::GET, web::get().to(commitment::page))]),
        ("/api/commitments/{id}", vec![(Method::GET, web::get().to(commitment::one))]),
        ("/api/commitments/{id}/retry", vec![(Method::POST, web::post().to(commitment::retry))]),
        ("/api/destinations", vec![(Method::GET, web::get().to(outbox::destinations))]),
        ("/api/outbox", vec![(Method::GET, web::get().to(outbox::page))]),
        ("/api/outbox/{destination}", vec![(Method::POST, web::post().to(outbox::order))]),
        ("/api/sinks", vec![(Method::GET, web::get().to(sinks::sinks))]),
        ("/api/sinks/owed", vec![(Method::GET, web::get().to(sinks::owed))]),
        ("/api/sinks/events", vec![(Method::GET, web::get().to(sinks::past))]),
        ("/api/sinks/{sink}", vec![(Method::POST, web::post().to(sinks::order))]),
        ("/api/config", vec![(Method::GET, web::get().to(config))]),
        ("/api/loglevel", vec![(Method::GET, web::get().to(log_level)), (Method::PUT, web::put().to(set_log_level))]),
        (
            "/api/drain",
            vec![
                (Method::GET, web::get().to(draining)),
                (Method::POST, web::post().to(drain)),
                (Method::DELETE, web::delete().to(undrain)),
            ],
        ),
    ]);
    routes
}

/// Serves the routes, and answers 404 or 405 to everything else.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.app_data(web::JsonConfig::default().limit(MAX_BODY_BYTES).error_handler(|error, _| {
        let response = complain(HttpResponse::BadRequest(), &error);
        actix_web::error::InternalError::from_response(error, response).into()
    }));
    app.app_data(web::QueryConfig::default().error_handler(|error, _| {
        let response = complain(HttpResponse::BadRequest(), &error);
        actix_web::error::InternalError::from_response(error, response).into()
    }));
    app.app_data(web::PathConfig::default().error_handler(|error, _| {
        let response = complain(HttpResponse::NotFound(), "there is none of that number");
        actix_web::error::InternalError::from_response(error, response).into()
    }));
    for (path, methods) in routes() {
        let resource = methods.into_iter().fold(Resource::new(path), |resource, (_, route)| resource.route(route));
        app.service(resource.default_service(web::to(not_allowed)));
    }
    app.default_service(web::to(not_found));
}

async fn not_found() -> HttpResponse {
    complain(HttpResponse::NotFound(), "not found; the API is described in /api/openapi.json")
}

async fn not_allowed() -> HttpResponse {
    complain(HttpResponse::MethodNotAllowed(), "method not allowed; the API is described in /api/openapi.json")
}

/// 200 as long as the process serves HTTP at all.
async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"live"}"#)
}

/// 200 if the node is ready for associations, otherwise 503; the body names the failed check.
async fn ready(surface: web::Data<Surface>, trust: web::ReqData<Trust>) -> HttpResponse {
    let mut readiness = Readiness::of(&surface.observer, &surface.storage, ANSWER_TIME).await;
    if *trust == Trust::Stranger {
        readiness = readiness.without_details();
    }
    let response = if readiness.ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    json(response, readiness)
}

async fn scrape(surface: web::Data<Surface>) -> HttpResponse {
    let ready = Readiness::of(&surface.observer, &surface.storage, GLANCE).await.ready;
    let storage = surface.storage.look(SCRAPE_MAX_AGE, GLANCE).await;
    match metrics::text(surface.observer.clone(), storage, surface.steering.log_queue().clone(), ready) {
        Ok(text) => HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(text),
        Err(error) => complain(HttpResponse::InternalServerError(), error),
    }
}

/// Heap profile of the coming seconds in the format of pprof, by addresses: looking names up takes more memory than a node has to
/// spare, and profilers do it. A client that leaves ends the recording.
async fn profile(
    surface: web::Data<Surface>,
    operator: web::ReqData<Operator>,
    length: web::Query<Length>,
) -> HttpResponse {
    let seconds = length.seconds.unwrap_or(DEFAULT_PROFILE_SECONDS);
    if !(1..=MAX_PROFILE_SECONDS).contains(&seconds) {
        return complain(HttpResponse::BadRequest(), format!("seconds must be 1 to {MAX_PROFILE_SECONDS}"));
    }
    let length = Duration::from_secs(seconds);
    let recording = match Recording::start() {
        Ok(recording) => recording,
        Err(error @ ProfileError::Busy) => return complain(HttpResponse::Conflict(), error),
        Err(error) => return complain(HttpResponse::InternalServerError(), error),
    };
    surface.observer.record_operation(Operation::Profile, &operator);
    sleep(length).await;
    let profile = web::block(move || recording.stop()?.addresses(length)).await;
    match profile {
        Ok(Ok(profile)) => HttpResponse::Ok().content_type("application/octet-stream").body(profile),
        Ok(Err(error)) => complain(HttpResponse::InternalServerError(), error),
        Err(error) => complain(HttpResponse::InternalServerError(), error),
    }
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(OPENAPI)
}

async fn status(surface: web::Data<Surface>, trust: web::ReqData<Trust>) -> HttpResponse {
    match Status::of(&surface.observer, &surface.storage).await {
        Ok(status) if *trust < Trust::Reader => json(HttpResponse::Ok(), status.without_peers()),
        Ok(status) => json(HttpResponse::Ok(), status),
        Err(error) => complain(HttpResponse::InternalServerError(), error),
    }
}

/// The last `seconds`, ten minutes at most, oldest first.
async fn history(surface: web::Data<Surface>, span: web::Query<Span>) -> HttpResponse {
    let points = surface.observer.history(span.seconds.unwrap_or(POINTS));
    json(HttpResponse::Ok(), points.iter().map(Second::of).collect::<Vec<_>>())
}

async fn events(surface: web::Data<Surface>, trust: web::ReqData<Trust>) -> HttpResponse {
    let events = surface.events.listen(&surface.observer, &surface.storage, *trust);
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/event-stream")).streaming(events)
}

async fn associations(surface: web::Data<Surface>, trust: web::ReqData<Trust>) -> HttpResponse {
    let mut associations = Association::all(&surface.observer);
    if *trust < Trust::Reader {
        associations.iter_mut().for_each(Association::remove_peer);
    }
    json(HttpResponse::Ok(), associations)
}

/// Those that ended in the last hour, `limit` at most, the latest first.
async fn ended_associations(
    surface: web::Data<Surface>,
    trust: web::ReqData<Trust>,
    page: web::Query<Page>,
) -> HttpResponse {
    let mut ended = EndedAssociation::latest(&surface.observer, page.limit.unwrap_or(KEPT));
    if *trust < Trust::Reader {
        ended.iter_mut().for_each(EndedAssociation::remove_peer);
    }
    json(HttpResponse::Ok(), ended)
}

/// 202: the association is aborted at its next wait, which is soon.
async fn abort(surface: web::Data<Surface>, operator: web::ReqData<Operator>, id: web::Path<u64>) -> HttpResponse {
    let id = id.into_inner();
    if surface.observer.abort(id, &operator) {
        json(HttpResponse::Accepted(), Aborted { id })
    } else {
        complain(HttpResponse::NotFound(), "there is none of that number")
    }
}

async fn writers(surface: web::Data<Surface>) -> HttpResponse {
    json(HttpResponse::Ok(), Writers::of(&surface.observer))
}

async fn memory(surface: web::Data<Surface>) -> HttpResponse {
    match surface.observer.memory() {
        Ok(snapshot) => json(HttpResponse::Ok(), snapshot),
        Err(error) => complain(HttpResponse::InternalServerError(), error),
    }
}

async fn config(surface: web::Data<Surface>) -> HttpResponse {
    json(HttpResponse::Ok(), surface.steering.config())
}

async fn log_level(surface: web::Data<Surface>) -> HttpResponse {
    json(HttpResponse::Ok(), LogLevel { level: surface.steering.log_level() })
}

async fn set_log_level(
    surface: web::Data<Surface>,
    operator: web::ReqData<Operator>,
    wanted: web::Json<LogLevel>,
) -> HttpResponse {
    match surface.steering.set_log_level(&wanted.level, &operator) {
        Ok(()) => {
            surface.observer.record_operation(Operation::LogLevel(surface.steering.log_level()), &operator);
            json(HttpResponse::Ok(), LogLevel { level: surface.steering.log_level() })
        }
        Err(error) => complain(HttpResponse::BadRequest(), error),
    }
}

async fn draining(surface: web::Data<Surface>) -> HttpResponse {
    json(HttpResponse::Ok(), Drain::of(&surface.observer))
}

/// Drains the node: new associations are rejected, `/ready` fails, open associations continue.
async fn drain(surface: web::Data<Surface>, operator: web::ReqData<Operator>) -> HttpResponse {
    surface.observer.drain(&operator);
    json(HttpResponse::Accepted(), Drain::of(&surface.observer))
}

/// Ends the drain; 409 if the node is stopping.
async fn undrain(surface: web::Data<Surface>, operator: web::ReqData<Operator>) -> HttpResponse {
    if surface.observer.undrain(&operator) {
        json(HttpResponse::Ok(), Drain::of(&surface.observer))
    } else {
        complain(HttpResponse::Conflict(), "the node is stopping")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_tells_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut told = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                told.insert((path.clone(), method.to_uppercase()));
            }
        }
        let mut served = BTreeSet::new();
        for (path, methods) in routes() {
            for (method, _) in methods {
                served.insert((path.to_owned(), method.to_string()));
            }
        }
        assert_eq!(told, served);
    }
}
