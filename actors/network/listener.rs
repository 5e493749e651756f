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
use tidegate_memory::{Holder, MemoryBudget, MemoryLease, Stage};
use tidegate_protocol::Rejection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::admission::{Admission, Arrived, FLOOR_LEASE_BYTES, Limit, Place};
use super::descriptors::{self, descriptors_of_writers};
use super::overload;
use super::transport::{Port, TLS_LEASE_BYTES};
use crate::association::{self, Arrival, Association};
use crate::fault;
use crate::gauges::Gauges;
use crate::gauges::incidents::Class;
use crate::gauges::recent::Sender;
use crate::node::live::Live;
use crate::supervision::child::ChildActor;
use crate::supervision::exit::Exit;
use crate::supervision::liveness::{Liveness, MessageKind};
use crate::supervision::threads::AssociationThreads;

/// Backlog of the listening socket: room for a burst of modalities at shift change.
const BACKLOG: i32 = 4096;
/// Send buffer of a connection, which the kernel doubles. Responses have about 150 bytes, so a peer that does not read them costs the kernel
/// no more than this. Accepted sockets inherit it.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
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
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
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
    let mut refused_by_system = None;
    let mut turn = 0_usize;
    let mut grace = Grace::new();
    while !liveness.is_fenced() {
        let accepted = tokio::select! {
            accepted = socket.accept(), if *pressure.borrow() < Level::PauseAccept => accepted,
            Ok(()) = pressure.changed() => continue,
        };
        fault::point("listener");
        match accepted {
            Ok((stream, peer)) => {
                refused_by_system = None;
                // A socket of [::] reports IPv4 peers as ::ffff:a.b.c.d.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let thread = env.threads.thread(turn).await;
                let admitted = admit(stream, peer, port, thread, env, &rejecting, &mut grace).await;
                liveness.note(if admitted { MessageKind::Admitted } else { MessageKind::TurnedAway });
                turn = turn.wrapping_add(1);
            }
            Err(error) => {
                liveness.note(MessageKind::AcceptFailed);
                // Once for each cause: descriptors may be short of the process first, and then of the machine.
                let cause = error.raw_os_error();
                if refused_by_system.replace(cause) != Some(cause) {
                    error!(%error, "cannot accept connections; retrying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// The time that the listener may wait for startup places: a burst of modalities waits, a flood makes nobody wait for long.
#[derive(Debug)]
struct Grace {
    left: Duration,
    since: Instant,
}

impl Grace {
    /// The most of it.
    const MOST: Duration = Duration::from_millis(500);
    /// The time in which it comes back.
    const PERIOD: Duration = Duration::from_secs(10);
    /// One wait.
    const STEP: Duration = Duration::from_millis(5);

    fn new() -> Self {
        Self { left: Self::MOST, since: Instant::now() }
    }

    fn is_left(&mut self) -> bool {
        if self.since.elapsed() >= Self::PERIOD {
            *self = Self::new();
        }
        !self.left.is_zero()
    }

    async fn wait(&mut self) {
        sleep(Self::STEP).await;
        self.left = self.left.saturating_sub(Self::STEP);
    }
}

/// A startup place, and the floor lease of the connection that holds it.
async fn place_of(
    peer: SocketAddr,
    holder: &Holder,
    env: &Env,
    grace: &mut Grace,
) -> Result<(Place, MemoryLease), Limit> {
    let floor = holder.lease(Stage::Floor, FLOOR_LEASE_BYTES).map_err(|_| Limit::MemoryBudget)?;
    loop {
        match env.admission.arrive(holder.id(), peer.ip(), grace.is_left()) {
            Arrived::Admitted(place) => return Ok((place, floor)),
            Arrived::Wait => grace.wait().await,
            Arrived::Refused(limit) => return Err(limit),
        }
    }
}

/// Hands a connection to an association on this thread, or rejects it.
async fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    port: Port,
    (thread, handle): (usize, ArbiterHandle),
    env: &Env,
    rejecting: &Arc<Semaphore>,
    grace: &mut Grace,
) -> bool {
    // Its peer has reset it while it waited to be accepted: it would hold a startup place until an association reads of that.
    if stream.take_error().map_or(true, |error| error.is_some()) {
        return false;
    }
    let open = env.admission.open();
    if descriptors::are_short(stream.as_fd(), open, env.descriptor_reserve()) {
        // Closed without a rejection, which would hold the descriptor for seconds.
        if let Some(unlogged) = env.gauges.incidents.note(Class::Limit, "descriptors", peer.ip(), ()) {
            error!(%peer, associations = open, unlogged, "too few file descriptors (LimitNOFILE), connection closed");
        }
        return false;
    }
    let holder = env.budget.open_account(format!("connection from {peer}"));
    let (place, floor) = match place_of(peer, &holder, env, grace).await {
        Ok(placed) => placed,
        Err(limit) => {
            reject(stream, peer, port, limit, holder, env, rejecting);
            return false;
        }
    };
    let assignment = stream.into_std().and_then(|socket| {
        let assignment = env.threads.assign(holder.id(), thread, port, &socket)?;
        Ok((socket, assignment))
    });
    let arrival = match assignment {
        Ok((socket, assignment)) => Arrival { socket, peer, port, place, assignment, holder, floor },
        Err(error) => {
            if let Some(unlogged) = env.gauges.incidents.note(Class::Limit, "descriptors", peer.ip(), ()) {
                error!(%peer, %error, unlogged, "cannot hand the connection to an association thread, closed");
            }
            return false;
        }
    };
    let env = env.associations.clone();
    Association::start_in_arbiter(&handle, move |_| Association::new(arrival, env));
    true
}

/// Rejects a connection at a limit, beside the loop of the listener.
fn reject(
    stream: TcpStream,
    peer: SocketAddr,
    port: Port,
    limit: Limit,
    holder: Holder,
    env: &Env,
    rejecting: &Arc<Semaphore>,
) {
    let sender = Sender { peer, calling_ae_title: String::new(), called_ae_title: String::new() };
    let cause = format!("no room for another connection: the limit is {}", limit.name());
    env.gauges.count_rejected(Rejection::LocalLimitExceeded, Some(limit.name()), sender, cause);
    if let Some(unlogged) = env.gauges.incidents.worth_a_line(Class::Rejection, limit.name(), peer.ip(), ()) {
        let (open, limit) = (env.admission.open(), limit.name());
        warn!(%peer, connections = open, limit, unlogged, "connection rejected: no room for another connection");
    }
    let Ok(permit) = rejecting.clone().try_acquire_owned() else { return };
    let (tls, lease) = match port {
        Port::Plain => (None, None),
        Port::Tls => match (env.live.get().tls.clone(), holder.lease(Stage::Tls, TLS_LEASE_BYTES)) {
            (Some(config), Ok(lease)) => (Some(config), Some(lease)),
            _ => return,
        },
    };
    let is_proxied = env.live.get().access.is_proxy(peer.ip());
    actix_rt::spawn(async move {
        overload::reject(stream, is_proxied, tls).await;
        drop((permit, lease, holder));
    });
}
