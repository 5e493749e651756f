//! A call: this node associates with a peer to report. It is an actor on an association thread, with leases of its own.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use tidegate_memory::{Holder, MemoryBudget, Stage};
use tidegate_protocol::Invocation;
use tidegate_protocol::commitment::Encoding;
use tidegate_protocol::requestor::{Event, Proposal, ProposedContext, Role};
use tidegate_protocol::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::report::{Dataset, REPORT_BYTES};
use super::routes::address_of;
use super::shared::{Begun, Ended, Ticket};
use crate::fixed;
use crate::gauges::counters::{ActorCount, Counters};
use crate::network::admission::FLOOR_LEASE_BYTES;
use crate::network::calling::{Call, CallError, CallStream};
use crate::network::transport::{Port, TLS_LEASE_BYTES};
use crate::node::live::Live;
use crate::node::phase::Phase;
use crate::node::settings::PeerSettings;
use crate::supervision::threads::{Assignment, AssociationThreads};

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for each answer of the peer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two attempts to lease memory.
const LEASE_RETRY: Duration = Duration::from_millis(50);
/// The largest PDU that the peer may send: it sends responses only.
const MAX_PDU: u32 = 16 * 1024;

/// What a call is for.
pub(super) struct Order {
    pub(super) ticket: Ticket,
    pub(super) peer: PeerSettings,
    /// The AE title by which the peer has called this node.
    pub(super) calling_as: String,
    /// The catalogue may lack something of it.
    pub(super) is_doubtful: bool,
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
    let _lease = timeout_at(deadline, lease).await.map_err(|_| Ended::hindered("memory.budget is exhausted"))?;
    // The peer is not called for nothing.
    if order.is_doubtful {
        order.ticket.begin().await.map_err(Ended::hindered)?;
    }
    let (stream, _assignment) = connect(order, env, holder, deadline).await?;
    let mut call = Call::new(stream, proposal(order))?;
    let context = establish(&mut call).await?;
    // Of this moment, and not of that before the peer could be reached.
    let begun = order.ticket.begin().await.map_err(Ended::hindered)?;
    let title = &env.live.get().associations.policy.ae_title;
    let ended = send_report(&mut call, &order.ticket, begun, context, title).await?;
    call.release().await;
    Ok(ended)
}

async fn connect(
    order: &Order,
    env: &CallerEnv,
    holder: &Holder,
    deadline: Instant,
) -> Result<(CallStream, Assignment), Ended> {
    let peer = &order.peer;
    let tls = env.live.get().commitment.tls.clone();
    if peer.is_tls && tls.is_none() {
        return Err(Ended::because("peers over TLS are no longer configured"));
    }
    let stream = CallStream::connect(&address_of(peer), tls.filter(|_| peer.is_tls), deadline).await?;
    let port = if peer.is_tls { Port::Tls } else { Port::Plain };
    let assigned = env.threads.assign(holder.id(), env.thread, port, stream.socket());
    let assignment = assigned.map_err(|error| Ended::hindered(format!("no descriptor is left: {error}")))?;
    Ok((stream, assignment))
}

fn proposal(order: &Order) -> Proposal {
    let context = ProposedContext {
        abstract_syntax: STORAGE_COMMITMENT.into(),
        transfer_syntaxes: vec![EXPLICIT_VR_LITTLE_ENDIAN.into(), IMPLICIT_VR_LITTLE_ENDIAN.into()],
        role: Role::Scp,
    };
    Proposal {
        calling_ae_title: order.calling_as.clone(),
        called_ae_title: order.peer.ae_title.clone(),
        contexts: vec![context],
        max_pdu_length: MAX_PDU,
        max_command_set: fixed::MAX_COMMAND_SET_BYTES,
        async_operations: 1,
    }
}

/// Associates. Returns the context of the report, and its encoding.
async fn establish(call: &mut Call) -> Result<(u8, Encoding), Ended> {
    let acceptance = call.establish(Instant::now() + ANSWER_TIMEOUT).await?;
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
    call.release().await;
    Err(failed)
}

async fn send_report(
    call: &mut Call,
    ticket: &Ticket,
    begun: Begun,
    (context, encoding): (u8, Encoding),
    retrieve_ae_title: &str,
) -> Result<Ended, Ended> {
    let mut dataset = Dataset::new(ticket, begun, encoding, retrieve_ae_title);
    let invocation = Invocation::ReportCommitment { event_type: begun.event_type() };
    call.requestor.begin(context, &invocation).map_err(|error| Ended::because(error.to_string()))?;
    loop {
        match dataset.next(ticket).await {
            Ok(Some(bytes)) => {
                call.requestor.push_dataset(&bytes);
                call.flush().await?;
            }
            Ok(None) => break,
            Err(_) => {
                call.abort().await;
                return Err(Ended::hindered("the record of commitment requests cannot be read"));
            }
        }
    }
    call.requestor.end_dataset();
    call.flush().await?;
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match call.event(deadline, "response to the report").await? {
            Event::Responded(response) => return Ok(ended_by(response.status, response.comment.as_str())),
            Event::OperationRefused(_) | Event::Fragment(_) | Event::DatasetComplete => {}
            other => return Err(CallError::of(other).into()),
        }
    }
}

impl From<CallError> for Ended {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(..) => Self::Unreachable { why: error.to_string() },
            error => Self::because(error.to_string()),
        }
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
