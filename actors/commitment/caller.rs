//! A call: this node associates with a peer to report. It is an actor on an association thread, with leases of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tidegate_memory::{Holder, MemoryBudget, Stage};
use tidegate_protocol::commitment::Encoding;
use tidegate_protocol::requestor::{Event, Proposal, ProposedContext, Role};
use tidegate_protocol::syntaxes::STORAGE_COMMITMENT;
use tidegate_protocol::{Invocation, Requestor};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use super::report::{Dataset, REPORT_BYTES};
use super::routes::address_of;
use super::shared::{Begun, Ended, Ticket};
use crate::fixed;
use crate::gauges::counters::{ActorCount, Counters};
use crate::network::admission::FLOOR_LEASE_BYTES;
use crate::network::transport::{Port, TLS_LEASE_BYTES};
use crate::node::live::Live;
use crate::node::phase::Phase;
use crate::node::settings::PeerSettings;
use crate::supervision::threads::{Assignment, AssociationThreads};

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for each answer of the peer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the answer to a release.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two attempts to lease memory.
const LEASE_RETRY: Duration = Duration::from_millis(50);
/// The largest PDU that the peer may send: it sends responses only.
const MAX_PDU: u32 = 16 * 1024;
const READ_BYTES: usize = 4096;
const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// What a call is for.
pub(super) struct Order {
    pub(super) ticket: Ticket,
    pub(super) peer: PeerSettings,
    /// The AE title by which the peer has called this node.
    pub(super) calling_as: String,
}

/// What a call uses of the node.
pub(super) struct CallerEnv {
    pub(super) live: Arc<Live>,
    pub(super) budget: MemoryBudget,
    pub(super) threads: Arc<AssociationThreads>,
    pub(super) thread: usize,
    pub(super) phase: watch::Receiver<Phase>,
}

/// The actor of a call.
pub(super) struct Caller {
    call: Option<(Order, CallerEnv)>,
    _actor_count: ActorCount,
}

impl Caller {
    pub(super) fn new(order: Order, env: CallerEnv, counters: &Arc<Counters>) -> Self {
        Self { call: Some((order, env)), _actor_count: ActorCount::new(counters) }
    }
}

impl Actor for Caller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((order, env)) = self.call.take() else { return ctx.stop() };
        ctx.spawn(Box::pin(run(order, env)).into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

/// A socket, or TLS over it.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

async fn run(order: Order, env: CallerEnv) {
    let mut phase = env.phase.clone();
    let holder = env.budget.open_account(format!("report to {:?} at {}", order.peer.ae_title, address_of(&order.peer)));
    let ended = tokio::select! {
        ended = report(&order, &env, &holder) => ended.unwrap_or_else(|failed| failed),
        () = aborting(&mut phase) => Ended::Stopped,
    };
    order.ticket.end(ended);
}

async fn aborting(phase: &mut watch::Receiver<Phase>) {
    if phase.wait_for(|phase| *phase == Phase::Aborting).await.is_err() {
        std::future::pending::<()>().await; // the node has ended
    }
}

/// Reports, and returns how that ended; an error is an end as well.
async fn report(order: &Order, env: &CallerEnv, holder: &Holder) -> Result<Ended, Ended> {
    let tls_bytes = if order.peer.is_tls { TLS_LEASE_BYTES } else { 0 };
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let lease = async {
        loop {
            match holder.lease(Stage::Commitment, FLOOR_LEASE_BYTES + REPORT_BYTES + tls_bytes) {
                Ok(lease) => return lease,
                Err(_) => sleep(LEASE_RETRY).await,
            }
        }
    };
    let _lease = timeout_at(deadline, lease).await.map_err(|_| Ended::because("memory.budget is exhausted"))?;
    let (stream, _assignment) = connect(order, env, holder, deadline).await?;
    let mut wire = Wire { stream, input: BytesMut::with_capacity(READ_BYTES), requestor: associate(order)? };
    let context = wire.establish().await?;
    // Of this moment, and not of that before the peer could be reached.
    let begun = order.ticket.begin().await.map_err(Ended::because)?;
    let ended = wire.report(&order.ticket, begun, context, &order.calling_as).await?;
    wire.release().await;
    Ok(ended)
}

async fn connect(
    order: &Order,
    env: &CallerEnv,
    holder: &Holder,
    deadline: Instant,
) -> Result<(Box<dyn Duplex>, Assignment), Ended> {
    let peer = &order.peer;
    let failed = |error: io::Error| Ended::because(format!("cannot connect to {}: {error}", address_of(peer)));
    let late = |_| Ended::because(format!("cannot connect to {}: no answer in time", address_of(peer)));
    let socket = TcpStream::connect((peer.host.as_str(), peer.port));
    let socket = timeout_at(deadline, socket).await.map_err(late)?.map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    let socket = socket.into_std().map_err(failed)?;
    let port = if peer.is_tls { Port::Tls } else { Port::Plain };
    let assignment = env.threads.assign(holder.id(), env.thread, port, &socket).map_err(failed)?;
    let socket = TcpStream::from_std(socket).map_err(failed)?;
    if !peer.is_tls {
        return Ok((Box::new(socket), assignment));
    }
    let config = env.live.get().commitment.tls.clone();
    let config = config.ok_or_else(|| Ended::because("peers over TLS are no longer configured"))?;
    let name = ServerName::try_from(peer.host.clone()).map_err(|error| Ended::because(error.to_string()))?;
    let stream = timeout_at(deadline, TlsConnector::from(config).connect(name, socket)).await.map_err(late)?;
    let stream = stream.map_err(|error| Ended::because(format!("tls with {}: {error}", address_of(peer))))?;
    Ok((Box::new(stream), assignment))
}

fn associate(order: &Order) -> Result<Requestor, Ended> {
    let context = ProposedContext {
        abstract_syntax: STORAGE_COMMITMENT.into(),
        transfer_syntaxes: vec![EXPLICIT.into(), IMPLICIT.into()],
        role: Role::Scp,
    };
    let proposal = Proposal {
        calling_ae_title: order.calling_as.clone(),
        called_ae_title: order.peer.ae_title.clone(),
        contexts: vec![context],
        max_pdu_length: MAX_PDU,
        max_command_set: fixed::MAX_COMMAND_SET_BYTES,
        async_operations: 1,
    };
    Requestor::new(proposal).map_err(|fault| Ended::because(fault.to_string()))
}

/// An association from this node's side.
struct Wire {
    stream: Box<dyn Duplex>,
    input: BytesMut,
    requestor: Requestor,
}

impl Wire {
    async fn flush(&mut self) -> Result<(), Ended> {
        let output = self.requestor.take_output();
        if output.is_empty() {
            return Ok(());
        }
        let sent = async {
            self.stream.write_all(&output).await?;
            self.stream.flush().await
        };
        let lost = |error: io::Error| Ended::because(format!("the connection was lost: {error}"));
        let deadline = Instant::now() + fixed::send_timeout();
        let late = |_| Ended::because("the peer does not read what it is sent");
        timeout_at(deadline, sent).await.map_err(late)?.map_err(lost)
    }

    /// The next event of the peer.
    async fn event(&mut self, deadline: Instant, awaited: &str) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.requestor.poll(&mut self.input) {
                self.flush().await?;
                return Ok(event);
            }
            self.input.reserve(self.requestor.needed().max(READ_BYTES));
            let read = timeout_at(deadline, self.stream.read_buf(&mut self.input)).await;
            match read {
                Err(_) => {
                    self.abort().await;
                    return Err(Ended::because(format!("the peer gave no {awaited} in time")));
                }
                Ok(Ok(0)) => {
                    return Err(Ended::because(format!("the peer closed the connection before its {awaited}")));
                }
                Ok(Err(error)) => return Err(Ended::because(format!("the connection was lost: {error}"))),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Associates. Returns the context of the report, and its encoding.
    async fn establish(&mut self) -> Result<(u8, Encoding), Ended> {
        self.flush().await?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let acceptance = match self.event(deadline, "answer to the association request").await? {
            Event::Accepted(acceptance) => acceptance,
            other => return Err(unexpected(&other)),
        };
        let answer = acceptance.contexts.into_iter().next();
        let context = answer.map(|answer| (answer.id, answer.outcome));
        let failed = match context {
            Some((id, Ok(accepted))) if accepted.is_scp => match Encoding::of(&accepted.transfer_syntax) {
                Some(encoding) => return Ok((id, encoding)),
                None => Ended::because("the peer chose a transfer syntax that was not proposed"),
            },
            Some((_, Ok(_))) => Ended::because("the peer does not accept this node as scp of storage commitment"),
            Some((_, Err(refused))) => Ended::because(format!("the peer refuses storage commitment: {refused}")),
            None => Ended::because("the peer accepts no presentation context"),
        };
        self.release().await;
        Err(failed)
    }

    async fn report(
        &mut self,
        ticket: &Ticket,
        begun: Begun,
        (context, encoding): (u8, Encoding),
        retrieve_ae_title: &str,
    ) -> Result<Ended, Ended> {
        let mut dataset = Dataset::new(ticket, begun, encoding, retrieve_ae_title);
        let invocation = Invocation::ReportCommitment { event_type: begun.event_type() };
        self.requestor.begin(context, &invocation).map_err(|error| Ended::because(error.to_string()))?;
        loop {
            match dataset.next(ticket).await {
                Ok(Some(bytes)) => {
                    self.requestor.push_dataset(&bytes);
                    self.flush().await?;
                }
                Ok(None) => break,
                Err(_) => {
                    self.abort().await;
                    return Err(Ended::because("the record of commitment requests cannot be read"));
                }
            }
        }
        self.requestor.end_dataset();
        self.flush().await?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match self.event(deadline, "response to the report").await? {
                Event::Responded(response) => return Ok(ended_by(response.status, response.comment.as_str())),
                Event::OperationRefused(_) | Event::Fragment(_) | Event::DatasetComplete => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn release(&mut self) {
        if self.requestor.release().is_err() || self.flush().await.is_err() {
            return;
        }
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        loop {
            match self.event(deadline, "answer to the release").await {
                Ok(Event::ReleaseRequested) => self.requestor.answer_release(),
                Ok(Event::Fragment(_) | Event::DatasetComplete | Event::OperationRefused(_)) => {}
                Ok(_) | Err(_) => break,
            }
        }
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await; // the peer may have closed it
    }

    async fn abort(&mut self) {
        self.requestor.abort();
        let _ = self.flush().await;
    }
}

/// How a response ends a report.
pub(crate) fn ended_by(status: u16, comment: &str) -> Ended {
    match status {
        0 => Ended::Reported,
        status if comment.is_empty() => {
            Ended::Failed { status: Some(status), why: format!("the peer answers with status {status:04X}") }
        }
        status => {
            Ended::Failed { status: Some(status), why: format!("the peer answers with status {status:04X}: {comment}") }
        }
    }
}

fn unexpected(event: &Event) -> Ended {
    Ended::because(match event {
        Event::Rejected(rejection) => format!("the peer rejects the association: {rejection}"),
        Event::PeerAborted(abort) => {
            format!("the peer aborts ({})", abort.reason_name().unwrap_or(abort.source_name()))
        }
        Event::ReleaseRequested => "the peer releases the association before its response".to_owned(),
        Event::Violated(violation) => format!("the peer breaks the protocol: {violation}"),
        _ => "the peer sends what was not asked for".to_owned(),
    })
}
