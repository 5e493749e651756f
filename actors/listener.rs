//! The listener accepts connections. One that is admitted goes to an association actor, with its floor lease; one that is not
//! is told so (A-ASSOCIATE-RJ, transient) instead of being left to wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_rt::ArbiterHandle;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_memory::Stage;
use tidegate_memory::pressure::Level;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::association::{Arrival, Association, FLOOR_LEASE_BYTES};
use crate::node::{Phase, Shared};
use crate::turn_away::turn_away;

/// Connections the kernel may complete before we accept them: a burst of modalities at shift change.
const BACKLOG: i32 = 4096;
/// Pause after the operating system refused a connection, for want of file descriptors most likely.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Connections that are being turned away at one time; beyond, they are closed without a word.
const MAX_TURNING_AWAY: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct Listener {
    socket: Option<std::net::TcpListener>,
    arbiters: Vec<ArbiterHandle>,
    shared: Arc<Shared>,
}

/// Opens the listening socket; the address tells the port if any free one was asked for.
///
/// # Errors
/// What the operating system says.
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

impl Listener {
    /// A listener on `socket` whose associations are served by `arbiters` in turn.
    pub(crate) fn new(socket: std::net::TcpListener, arbiters: Vec<ArbiterHandle>, shared: Arc<Shared>) -> Self {
        Self { socket: Some(socket), arbiters, shared }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(socket) = self.socket.take() else {
            return ctx.stop();
        };
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                ctx.spawn(
                    accept_all(socket, std::mem::take(&mut self.arbiters), self.shared.clone())
                        .into_actor(self)
                        .map(|(), _, ctx| ctx.stop()),
                );
            }
            Err(error) => {
                error!(%error, "listening socket cannot be used");
                ctx.stop();
            }
        }
    }
}

async fn accept_all(socket: TcpListener, arbiters: Vec<ArbiterHandle>, shared: Arc<Shared>) {
    let mut phase = shared.phase.clone();
    let mut pressure = shared.pressure.subscribe();
    let turning_away = Arc::new(Semaphore::new(MAX_TURNING_AWAY));
    let mut refused_by_system = false;
    for arbiter in arbiters.iter().cycle() {
        if *phase.borrow() != Phase::Serving {
            break;
        }
        let accepted = tokio::select! {
            accepted = socket.accept(), if *pressure.borrow() < Level::PauseAccept => accepted,
            Ok(()) = pressure.changed() => continue,
            _ = phase.changed() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                refused_by_system = false;
                admit(stream, peer, arbiter, &shared, &turning_away);
            }
            Err(error) => {
                if !std::mem::replace(&mut refused_by_system, true) {
                    error!(%error, "connections cannot be accepted; will go on trying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    arbiter: &ArbiterHandle,
    shared: &Arc<Shared>,
    turning_away: &Arc<Semaphore>,
) {
    let holder = shared.budget.open_account(format!("connection from {peer}"));
    let admitted = shared.admission.admit(peer.ip());
    let floor = holder.lease(Stage::Floor, FLOOR_LEASE_BYTES);
    let (Some(admitted), Ok(floor)) = (admitted, floor) else {
        shared.statistics.associations_rejected.increment();
        if let Ok(permit) = turning_away.clone().try_acquire_owned() {
            actix_rt::spawn(async move {
                turn_away(stream).await;
                drop(permit);
            });
        }
        return;
    };
    let arrival = match stream.into_std() {
        Ok(socket) => Arrival { socket, peer, admitted, holder, floor },
        Err(error) => {
            warn!(%peer, %error, "connection could not be handed on");
            return;
        }
    };
    let shared = shared.clone();
    Association::start_in_arbiter(arbiter, move |_| Association::new(arrival, shared));
}
