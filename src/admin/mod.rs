//! The HTTP surface for operators: `GET /live`, nothing else yet. It is not for peers and not for the internet.
//!
//! Who holds which memory is asked over a socket of its own: `socket` serves it, in the words of `wire`.

pub(crate) mod socket;
pub(crate) mod wire;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, web};

/// Enough for probes, scrapers and a person; one who opens more connections waits.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent its request by then is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A bound admin surface; it serves while `server` is polled.
pub(crate) struct Admin {
    /// The address in use, with the port that was picked when 0 was asked for.
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
}

/// Binds the admin surface: one worker thread of its own, so that a busy node still answers and a busy scraper costs the node little.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Admin> {
    let server = HttpServer::new(|| App::new().configure(routes))
        .workers(1)
        .max_connections(MAX_CONNECTIONS)
        .backlog(MAX_CONNECTIONS as u32)
        .client_request_timeout(REQUEST_TIMEOUT)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(Duration::from_secs(5))
        .disable_signals()
        .bind(address)?;
    let address = server.addrs().first().copied().unwrap_or(address);
    Ok(Admin { address, server: server.run() })
}

fn routes(app: &mut web::ServiceConfig) {
    app.service(web::resource("/live").route(web::get().to(live)).default_service(web::to(not_found)))
        .default_service(web::to(not_found));
}

/// 200 as long as the process serves HTTP at all.
async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"live"}"#)
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound().finish()
}
