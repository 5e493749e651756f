//! Surfaces for operators: HTTP with a dashboard, and a Unix socket. They are not for peers and not for the internet.
//!
//! | module | is |
//! |---|---|
//! | [`settings`] | its address, and the authentication of its clients |
//! | [`guard`] | authentication and authorisation over HTTP |
//! | [`api`], [`response`] | the routes, and answers in JSON |
//! | [`catalogue`] | which studies and instances are stored |
//! | [`commitment`] | the requests of storage commitment |
//! | [`outbox`] | the deliveries to destinations |
//! | [`sinks`] | the sinks of events |
//! | [`queries`] | questions to the files of both: how many, and what they lease |
//! | [`model`], [`guest`] | the answers, over HTTP and over the socket; what of them a client without a token may see |
//! | [`ready`], [`metrics`], [`events`], [`dashboard`] | `/ready`, `/metrics`, `/api/events`, `/` |
//! | [`health`], [`catalogue_figures`] | the health of the catalogue, and its metrics |
//! | [`outgoing`] | the health of deliveries and of events |
//! | [`storage`] | looks at the disk for all of these |
//! | [`surface`] | the state that all requests share |
//! | [`steering`] | configuration and log level |
//! | [`server`], [`transport`], [`places`] | connections: their thread, their bounds, and the choice of one to be cut off |
//! | [`operators`], [`own_token`] | the role of a certificate; the token that the node makes |
//! | [`time`] | times in answers |
//! | [`leases`] | the memory of requests and responses |
//! | [`socket`], [`socket_path`], [`wire`] | the socket that the command line connects to |

mod allocation;
mod api;
pub(crate) mod catalogue;
mod catalogue_figures;
pub(crate) mod commitment;
mod complaint;
mod dashboard;
pub(crate) mod ended;
mod events;
mod guard;
mod guest;
mod health;
mod leases;
pub(crate) mod look_error;
mod metrics;
pub(crate) mod model;
mod operators;
pub(crate) mod outbox;
pub(crate) mod outgoing;
mod own_token;
mod page;
mod places;
mod queries;
mod ready;
mod response;
mod server;
mod settings;
pub(crate) mod sinks;
pub(crate) mod socket;
mod socket_path;
mod steering;
mod storage;
mod surface;
mod system;
pub(crate) mod time;
mod transport;
pub(crate) mod wire;
pub(crate) mod writers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_actors::Service;
use tokio::sync::watch;

use catalogue::readers::Readers;
use commitment::readers::Requests;
use events::{Events, Listeners};
use leases::Leases;
use outbox::readers::Deliveries;
use own_token::OwnToken;
use queries::Queries;
use sinks::readers::EventSinks;
use storage::StorageWatch;
use surface::Surface;

#[cfg(test)]
pub(crate) use commitment::health::{CommitmentFailure, CommitmentHealth};
#[cfg(test)]
pub(crate) use health::CatalogueHealth;
pub(crate) use operators::{OperatorName, dns_names};
#[cfg(test)]
pub(crate) use ready::{Check, Readiness};
pub(crate) use settings::{AdminSettings, Door};
pub(crate) use socket_path::{MAX_BYTES as SOCKET_PATH_BYTES, SocketPath, addressable};
pub(crate) use steering::Steering;

/// Connections that wait to be accepted: a flood does not fill it at once.
const BACKLOG: i32 = 1024;
/// Buffers of the kernel for a connection, in bytes. The kernel doubles them.
const SEND_BUFFER_BYTES: usize = 64 << 10;
const RECEIVE_BUFFER_BYTES: usize = 16 << 10;

/// A bound admin surface.
pub(crate) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    doors: watch::Sender<Door>,
    steering: Steering,
    storage_root: PathBuf,
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
        let AdminSettings { listen, door, storage_root } = settings;
        let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // The sockets of clients inherit these.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        // A closed connection is reset and leaves no bytes in the kernel; one that ends in order is closed by its client first.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&listen.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let doors = watch::Sender::new(door);
        let keeper = DoorKeeper { listen, doors: doors.clone() };
        Ok((Self { listener, address, doors, steering, storage_root }, keeper))
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
        let own_token = OwnToken::new(self.storage_root);
        Service::new("admin-http", move |observer| {
            let listener = self.listener.try_clone();
            let account = Arc::new(observer.open_account("admin http"));
            let leases = Leases::new(account.clone());
            let queries = Queries::new(account);
            let readers = Readers::new(observer.clone(), queries.clone());
            let requests = Requests::new(observer.clone(), queries);
            let deliveries = Deliveries::new(observer.clone(), readers.clone());
            let sinks = EventSinks::new(observer.clone(), readers.clone());
            let storage = StorageWatch::new(observer.clone());
            let events = Events::new(leases.clone());
            let steering = self.steering.clone();
            let surface = Surface {
                observer,
                storage,
                events,
                streams: Listeners::default(),
                steering,
                leases,
                readers,
                requests,
                deliveries,
                sinks,
            };
            let doors = self.doors.subscribe();
            let own_token = own_token.clone();
            Box::pin(async move {
                if let Err(error) = server::serve(listener, doors, own_token, surface).await {
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
