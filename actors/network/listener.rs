//! The listener: accepts connections, and admits or rejects them.
//!
//! Invariant: a connection is served only with its floor lease. An admitted connection goes to an association actor. A connection without
//! room is answered with A-ASSOCIATE-RJ (transient) at once.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use actix_rt::ArbiterHandle;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_memory::pressure::Level;
use tidegate_memory::{MemoryBudget, Stage};
use tidegate_protocol::Rejection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tracing::{error, warn};

use super::admission::{Admission, FLOOR_LEASE_BYTES};
use super::descriptors::{self, descriptors_of_writers};
use super::overload;
use super::transport::{Port, TLS_LEASE_BYTES};
use crate::association::{self, Arrival, Association};
use crate::fault;
use crate::gauges::Gauges;
use crate::gauges::incidents::Class;
use crate::node::live::Live;
use crate::supervision::child::ChildActor;
use crate::supervision::exit::Exit;
use crate::supervision::liveness::{Liveness, MessageKind};
use crate::supervision::threads::AssociationThreads;

/// Backlog of the listening socket: room for a burst of modalities at shift change.
const BACKLOG: i32 = 4096;
/// Pause after `accept` failed, most likely for lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The environment of a listener.
pub(crate) struct Env {
    pub(crate) live: Arc<Live>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) budget: MemoryBudget,
    pub(crate) admission: Arc<Admission>,
    pub(crate) threads: Arc<AssociationThreads>,
    pub(crate) pressure: watch::Receiver<Level>,
    /// How many there are.
    pub(crate) writers: usize,
    /// For each association.
    pub(crate) associations: Arc<association::Env>,
}

/// The listening sockets of a node.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) plain: Option<std::net::TcpListener>,
    pub(crate) tls: Option<std::net::TcpListener>,
}

impl Env {
    /// File descriptors that associations do not get.
    fn descriptor_reserve(&self) -> u64 {
        descriptors_of_writers(self.writers, self.live.get().writers.batch)
    }
}

/// Opens a listening socket, and returns its actual address.
///
/// # Errors
/// The error of the operating system.
pub fn bind(address: SocketAddr) -> std::io::Result<(std::net::TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = std::net::TcpListener::from(socket);
    let local_address = socket.local_addr()?;
    Ok((socket, local_address))
}

/// The child of the supervisor that accepts on `socket`. The supervisor keeps a duplicate of the socket, so that waiting connections
/// survive a restart of the listener.
pub(crate) fn child(socket: std::net::TcpListener, port: Port, env: Env, liveness: Liveness) -> ChildActor {
    let counters = env.gauges.counters.clone();
    ChildActor::new(&counters, move || run(socket, port, env, liveness))
}

async fn run(socket: std::net::TcpListener, port: Port, env: Env, liveness: Liveness) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return liveness.exit(Exit::NotStarted { why: error.to_string() }),
    };
    liveness.ready();
    liveness.during(accept_all(socket, port, &env, &liveness)).await;
}

async fn accept_all(socket: TcpListener, port: Port, env: &Env, liveness: &Liveness) {
    let mut pressure = env.pressure.clone();
    let rejecting = Arc::new(Semaphore::new(overload::max_concurrent(port)));
    let mut refused_by_system = false;
    let mut turn = 0_usize;
    while !liveness.is_fenced() {
        let accepted = tokio::select! {
            accepted = socket.accept(), if *pressure.borrow() < Level::PauseAccept => accepted,
            Ok(()) = pressure.changed() => continue,
        };
        fault::point("listener");
        match accepted {
            Ok((stream, peer)) => {
                refused_by_system = false;
                let thread = env.threads.thread(turn).await;
                let admitted = admit(stream, peer, port, thread, env, &rejecting);
                liveness.note(if admitted { MessageKind::Admitted } else { MessageKind::TurnedAway });
                turn = turn.wrapping_add(1);
            }
            Err(error) => {
                liveness.note(MessageKind::AcceptFailed);
                if !std::mem::replace(&mut refused_by_system, true) {
                    error!(%error, "cannot accept connections; retrying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Hands a connection to an association on this thread, or rejects it.
fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    port: Port,
    (thread, handle): (usize, ArbiterHandle),
    env: &Env,
    rejecting: &Arc<Semaphore>,
) -> bool {
    let open = env.admission.open();
    if descriptors::are_short(stream.as_fd(), open, env.descriptor_reserve()) {
        // Closed without a rejection, which would hold the descriptor for seconds.
        if let Some(unlogged) = env.gauges.incidents.note(Class::Limit, "descriptors", peer.ip()) {
            error!(%peer, associations = open, unlogged, "too few file descriptors (LimitNOFILE), connection closed");
        }
        return false;
    }
    let holder = env.budget.open_account(format!("connection from {peer}"));
    // A connection from a balancer counts for the address behind it.
    let address = (!env.live.get().access.is_proxy(peer.ip())).then(|| peer.ip());
    let admitted = env.admission.admit(address);
    let floor = holder.lease(Stage::Floor, FLOOR_LEASE_BYTES);
    let (Some(admitted), Ok(floor)) = (admitted, floor) else {
        env.gauges.count_rejected(Rejection::LocalLimitExceeded, peer, "");
        if let Some(unlogged) =
            env.gauges.incidents.worth_a_line(Class::Rejection, Rejection::LocalLimitExceeded.name(), peer.ip())
        {
            warn!(%peer, associations = open, unlogged, "connection rejected: no room for another association");
        }
        if let Ok(permit) = rejecting.clone().try_acquire_owned() {
            let (tls, lease) = match port {
                Port::Plain => (None, None),
                Port::Tls => match (env.live.get().tls.clone(), holder.lease(Stage::Tls, TLS_LEASE_BYTES)) {
                    (Some(config), Ok(lease)) => (Some(config), Some(lease)),
                    _ => return false,
                },
            };
            actix_rt::spawn(async move {
                overload::reject(stream, tls).await;
                drop((permit, lease, holder));
            });
        }
        return false;
    };
    let assignment = stream.into_std().and_then(|socket| {
        let assignment = env.threads.assign(holder.id(), thread, port, &socket)?;
        Ok((socket, assignment))
    });
    let arrival = match assignment {
        Ok((socket, assignment)) => Arrival { socket, peer, port, admitted, assignment, holder, floor },
        Err(error) => {
            if let Some(unlogged) = env.gauges.incidents.note(Class::Limit, "descriptors", peer.ip()) {
                error!(%peer, %error, unlogged, "cannot hand the connection to an association thread, closed");
            }
            return false;
        }
    };
    let env = env.associations.clone();
    Association::start_in_arbiter(&handle, move |_| Association::new(arrival, env));
    true
}
