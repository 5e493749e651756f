//! Surfaces for operators: HTTP with a dashboard, and a Unix socket. They are not for peers and not for the internet.
//!
//! | module | is |
//! |---|---|
//! | [`settings`] | its address, and the authentication of its clients |
//! | [`guard`] | authentication and authorisation over HTTP |
//! | [`api`] | the routes |
//! | [`model`] | the answers, over HTTP and over the socket |
//! | [`ready`], [`metrics`], [`events`], [`dashboard`] | `/ready`, `/metrics`, `/api/events`, `/` |
//! | [`storage`] | looks at the disk for all of these |
//! | [`surface`] | the state that all requests share |
//! | [`steering`] | configuration and log level |
//! | [`leases`] | the memory of requests and responses |
//! | [`socket`], [`socket_path`], [`wire`] | the socket that the command line connects to |

mod api;
mod dashboard;
mod events;
mod guard;
mod leases;
mod metrics;
pub(crate) mod model;
mod page;
mod ready;
mod settings;
pub(crate) mod socket;
mod socket_path;
mod steering;
mod storage;
mod surface;
mod system;
pub(crate) mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, middleware, web};
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_actors::Service;
use tokio::sync::watch;

use events::Events;
use guard::Access;
use leases::Leases;
use storage::StorageWatch;
use surface::Surface;

#[cfg(test)]
pub(crate) use ready::{Check, Readiness};
pub(crate) use settings::{AdminSettings, Door};
pub(crate) use socket_path::{MAX_BYTES as SOCKET_PATH_BYTES, SocketPath};
pub(crate) use steering::Steering;

/// Enough for probes, scrapers and a person; one who opens more connections waits.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent its request by then is cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A bound admin surface.
pub(crate) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    doors: watch::Sender<Door>,
    steering: Steering,
}

/// The handle that replaces the TLS configuration and authentication of the surface.
#[derive(Debug)]
pub(crate) struct DoorKeeper {
    listen: SocketAddr,
    doors: watch::Sender<Door>,
}

impl Admin {
    /// Binds the address.
    ///
    /// # Errors
    /// The error of the operating system.
    pub(crate) fn bind(settings: AdminSettings, steering: Steering) -> io::Result<(Self, DoorKeeper)> {
        let AdminSettings { listen, door } = settings;
        let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&listen.into())?;
        socket.listen(MAX_CONNECTIONS as i32)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let doors = watch::Sender::new(door);
        let keeper = DoorKeeper { listen, doors: doors.clone() };
        Ok((Self { listener, address, doors, steering }, keeper))
    }

    /// The address, with the port that the system chose for port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.doors.borrow().tls.is_some() { "https" } else { "http" }
    }

    /// The surface as a child of the node's supervisor.
    pub(crate) fn service(self) -> Service {
        Service::new("admin-http", move |observer| {
            let listener = self.listener.try_clone();
            let leases = Leases::new(observer.open_account("admin http"));
            let storage = StorageWatch::new(observer.clone());
            let events = Events::new(leases.clone());
            let surface = Surface { observer, storage, events, steering: self.steering.clone(), leases };
            let doors = self.doors.subscribe();
            Box::pin(async move {
                if let Err(error) = serve(listener, doors, surface).await {
                    tracing::error!(%error, "admin http surface failed");
                }
            })
        })
    }
}

impl DoorKeeper {
    /// Applies `settings` to the surface; connected clients are disconnected and have to connect again. Settings with another address are
    /// ignored: they were checked for that address, and the surface listens on another one.
    pub(crate) fn apply(&self, settings: Option<AdminSettings>) {
        let Some(AdminSettings { door, .. }) = settings.filter(|settings| settings.listen == self.listen) else {
            tracing::warn!(
                "admin.listen has changed: the admin surface keeps its token and certificates until the next start"
            );
            return;
        };
        self.doors.send_if_modified(|current| {
            let differs = !current.is_same_as(&door);
            *current = door;
            differs
        });
    }
}

/// Serves, and begins anew with each other door.
async fn serve(
    listener: io::Result<TcpListener>,
    mut doors: watch::Receiver<Door>,
    surface: Surface,
) -> io::Result<()> {
    let (listener, surface) = (listener?, web::Data::new(surface));
    loop {
        let door = doors.borrow_and_update().clone();
        let server = server(listener.try_clone()?, door, surface.clone())?;
        let handle = server.handle();
        tokio::pin!(server);
        tokio::select! {
            ended = &mut server => return ended,
            Ok(()) = doors.changed() => tokio::join!(handle.stop(true), &mut server).1?,
        }
    }
}

/// With one worker thread of its own, so that a busy node still answers and a busy scraper costs the node little.
fn server(listener: TcpListener, door: Door, surface: web::Data<Surface>) -> io::Result<Server> {
    let leases = surface.leases.clone();
    let access = web::Data::new(Access { token: door.token });
    let account = web::Data::new(leases.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(access.clone())
            .app_data(surface.clone())
            .app_data(account.clone())
            .wrap(middleware::from_fn(guard::guard))
            .wrap(middleware::from_fn(leases::lease))
            .configure(api::configure)
    })
    .on_connect(move |connection, extensions| leases.on_connect(connection, extensions))
    .workers(1)
    .max_connections(MAX_CONNECTIONS)
    .client_request_timeout(REQUEST_TIMEOUT)
    .client_disconnect_timeout(Duration::from_secs(1))
    .keep_alive(Duration::from_secs(5))
    .shutdown_timeout(1)
    .disable_signals();
    let server = match door.tls {
        Some(tls) => server.listen_rustls_0_23(listener, Arc::unwrap_or_clone(tls.server))?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}
