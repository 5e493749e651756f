//! Surfaces for operators: HTTP with a dashboard, and a Unix socket. They are not for peers and not for the internet.
//!
//! | module | is |
//! |---|---|
//! | [`guard`] | who may ask what over HTTP |
//! | [`api`] | the routes |
//! | [`model`] | what is said, over HTTP and over the socket |
//! | [`ready`], [`metrics`], [`events`], [`dashboard`] | `/ready`, `/metrics`, `/api/events`, `/` |
//! | [`storage`] | looks at the disk for all of these |
//! | [`steering`] | configuration and log level |
//! | [`tls`] | for clients with a certificate |
//! | [`socket`], [`wire`] | the socket that the command line asks |

mod api;
mod dashboard;
mod events;
mod guard;
mod metrics;
pub(crate) mod model;
mod ready;
pub(crate) mod socket;
mod steering;
mod storage;
mod tls;
pub(crate) mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::{App, HttpServer, middleware, web};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_actors::{Guest, Observer};

use events::Events;
use storage::StorageWatch;

#[cfg(test)]
pub(crate) use ready::{Check, Readiness};
pub(crate) use steering::Steering;
pub(crate) use tls::{TlsError, TlsFiles};

/// Enough for probes, scrapers and a person; one who opens more connections waits.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent its request by then is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How old a look at the disk may be that a scraper reads of.
const SCRAPE_MAX_AGE: Duration = Duration::from_secs(5);

/// Where the surface listens and whom it serves.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AdminSettings {
    pub(crate) listen: SocketAddr,
    /// What clients must show; `None`: nothing.
    pub(crate) token: Option<String>,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<TlsFiles>,
}

impl std::fmt::Debug for AdminSettings {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "masked");
        f.debug_struct("AdminSettings")
            .field("listen", &self.listen)
            .field("token", &token)
            .field("tls", &self.tls)
            .finish()
    }
}

/// Why there is no surface.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("{0}; set admin.listen to another address, to port 0 for a free one, or to \"off\"")]
    Listen(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A bound admin surface.
pub(crate) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
    tls: Option<ServerConfig>,
    steering: Steering,
}

/// Whom the surface serves.
#[derive(Clone)]
struct Access {
    token: Option<String>,
}

/// What all requests share.
struct Surface {
    observer: Observer,
    storage: StorageWatch,
    events: Events,
    steering: Steering,
}

impl Admin {
    /// Binds the address.
    ///
    /// # Errors
    /// What the operating system says, or what is wrong with the certificates.
    pub(crate) fn bind(settings: AdminSettings, steering: Steering) -> Result<Self, AdminError> {
        let AdminSettings { listen, token, tls } = settings;
        let tls = tls.map(|files| files.load()).transpose()?;
        let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&listen.into())?;
        socket.listen(MAX_CONNECTIONS as i32)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        Ok(Self { listener, address, access: Access { token }, tls, steering })
    }

    /// Where it is reached, with the port that was picked when 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The surface as a child of the node's supervisor.
    pub(crate) fn guest(self) -> Guest {
        Guest::new("admin-http", move |observer| {
            let listener = self.listener.try_clone();
            let storage = StorageWatch::new(observer.clone());
            let surface = Surface { observer, storage, events: Events::default(), steering: self.steering.clone() };
            let (access, tls) = (self.access.clone(), self.tls.clone());
            Box::pin(async move {
                if let Err(error) = serve(listener, access, tls, surface).await {
                    tracing::error!(%error, "the admin surface has failed");
                }
            })
        })
    }
}

/// Serves with one worker thread of its own, so that a busy node still answers and a busy scraper costs the node little.
async fn serve(
    listener: io::Result<TcpListener>,
    access: Access,
    tls: Option<ServerConfig>,
    surface: Surface,
) -> io::Result<()> {
    let (access, surface) = (web::Data::new(access), web::Data::new(surface));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(access.clone())
            .app_data(surface.clone())
            .wrap(middleware::from_fn(guard::guard))
            .configure(api::configure)
    })
    .workers(1)
    .max_connections(MAX_CONNECTIONS)
    .client_request_timeout(REQUEST_TIMEOUT)
    .client_disconnect_timeout(Duration::from_secs(1))
    .keep_alive(Duration::from_secs(5))
    .shutdown_timeout(1)
    .disable_signals();
    let server = match tls {
        Some(tls) => server.listen_rustls_0_23(listener?, tls)?,
        None => server.listen(listener?)?,
    };
    server.run().await
}
