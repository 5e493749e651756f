//! The HTTP surface for operators. It is not for peers and not for the internet.
//!
//! | module | serves |
//! |---|---|
//! | [`ready`] | `/ready`, from looks at the [`storage`] among others |
//! | [`metrics`] | `/metrics` |
//!
//! Who holds which memory is asked over a socket of its own: `socket` serves it, in the words of `wire`.

mod metrics;
mod ready;
pub(crate) mod socket;
mod storage;
pub(crate) mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_actors::{Guest, Observer};

use ready::Readiness;
use storage::StorageWatch;

/// Enough for probes, scrapers and a person; one who opens more connections waits.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent its request by then is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How old a look at the disk may be that a scraper reads of.
const SCRAPE_MAX_AGE: Duration = Duration::from_secs(5);

/// A bound admin surface.
pub(crate) struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Binds the address.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(MAX_CONNECTIONS as i32)?;
        Ok(Self { listener: socket.into() })
    }

    /// The address in use, with the port that was picked when 0 was asked for.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The surface as a child of the node's supervisor.
    pub(crate) fn guest(self) -> Guest {
        Guest::new("admin-http", move |observer| {
            let listener = self.listener.try_clone();
            Box::pin(async move {
                if let Err(error) = serve(listener, observer).await {
                    tracing::error!(%error, "the admin surface has failed");
                }
            })
        })
    }
}

/// Serves with one worker thread of its own, so that a busy node still answers and a busy scraper costs the node little.
async fn serve(listener: io::Result<TcpListener>, observer: Observer) -> io::Result<()> {
    let surface = web::Data::new(Surface { storage: StorageWatch::new(observer.clone()), observer });
    HttpServer::new(move || App::new().app_data(surface.clone()).configure(routes))
        .workers(1)
        .max_connections(MAX_CONNECTIONS)
        .client_request_timeout(REQUEST_TIMEOUT)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(Duration::from_secs(5))
        .disable_signals()
        .listen(listener?)?
        .run()
        .await
}

/// What all requests share.
struct Surface {
    observer: Observer,
    storage: StorageWatch,
}

fn routes(app: &mut web::ServiceConfig) {
    app.service(web::resource("/live").route(web::get().to(live)).default_service(web::to(not_found)))
        .service(web::resource("/ready").route(web::get().to(ready)).default_service(web::to(not_found)))
        .service(web::resource("/metrics").route(web::get().to(metrics)).default_service(web::to(not_found)))
        .default_service(web::to(not_found));
}

/// 200 as long as the process serves HTTP at all.
async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"live"}"#)
}

/// 200 if the node should be sent associations, 503 if not; the body says why.
async fn ready(surface: web::Data<Surface>) -> HttpResponse {
    let readiness = Readiness::of(&surface.observer, &surface.storage).await;
    let mut response = if readiness.ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(readiness)
}

async fn metrics(surface: web::Data<Surface>) -> HttpResponse {
    let ready = Readiness::of(&surface.observer, &surface.storage).await.ready;
    let storage = surface.storage.look(SCRAPE_MAX_AGE).await.ok();
    match metrics::text(surface.observer.clone(), storage, ready) {
        Ok(text) => HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound().finish()
}
