//! How an association with a destination comes about, and what it means for the destination if it does not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_memory::{Holder, MemoryBudget, MemoryLease, Stage};
use tidegate_protocol::requestor::{Proposal, ProposedContext};
use tidegate_storage::Store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::asking::Asking;
use super::association::Association;
use super::breaker::Failure;
use super::contexts::Accepted;
use super::echo::Echo;
use super::export::Exports;
use super::hub::Hub;
use super::sending::BUFFER_BYTES;
use crate::fixed;
use crate::gauges::audit::AuditPeer;
use crate::gauges::incidents::{NO_PEER, Topic};
use crate::network::admission::FLOOR_LEASE_BYTES;
use crate::network::calling::{Call, CallAddress, CallError, CallStream};
use crate::network::transport::TLS_LEASE_BYTES;
use crate::node::settings::DicomDestination;

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause between two attempts to lease memory.
const LEASE_RETRY: Duration = Duration::from_millis(50);
/// The largest PDU that the peer may send: it sends responses only.
const MAX_PDU: u32 = 16 * 1024;
/// Most operations to have outstanding.
const WINDOW: u16 = 16;

/// What an association uses of the node and of its destination.
pub(super) struct Env {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) store: Store,
    pub(super) budget: MemoryBudget,
    pub(super) peer: DicomDestination,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) connection: usize,
    pub(super) epoch: u64,
    /// It asks whether a destination that was down is back.
    pub(super) is_probe: bool,
    /// The node gives associations no more time.
    pub(super) aborting: watch::Receiver<bool>,
}

/// Opens an association, and serves it to its end. Returns the number of its connection.
pub(super) async fn run(env: Env) -> usize {
    let (hub, connection, is_probe) = (env.hub.clone(), env.connection, env.is_probe);
    let opened = open(&env).await;
    hub.borrow_mut().opening -= 1;
    match opened {
        Ok(mut association) => {
            hub.borrow_mut().established += 1;
            association.live().await;
            let mut hub = hub.borrow_mut();
            hub.established -= 1;
            hub.late.retain(|late| late.connection != connection);
        }
        Err(error) => not_opened(&mut hub.borrow_mut(), error),
    }
    let mut hub = hub.borrow_mut();
    hub.plan.leave(connection);
    if is_probe {
        hub.breaker.end_probe();
    }
    connection
}

/// Why an association did not come about.
enum NotOpened {
    /// The peer.
    Call(CallError),
    /// This node.
    Own(String),
}

impl From<CallError> for NotOpened {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

fn not_opened(hub: &mut Hub, error: NotOpened) {
    let now = Instant::now();
    let error = match error {
        NotOpened::Own(why) => return hub.broke(Failure::Unreachable, why, now),
        NotOpened::Call(error) => error,
    };
    let is_transient = matches!(&error, CallError::Rejected(rejection) if rejection.is_transient());
    // A destination that serves others of ours, or has yet to answer them, has a limit. It is no failure.
    let others = hub.established + if is_transient { hub.opening } else { 0 };
    if others > 0 && (is_transient || hub.has_served_of_late()) {
        hub.figures.note_error(&error.to_string());
        return hub.has_room_for(others, now);
    }
    let failure = match &error {
        CallError::Unreachable(..) | CallError::Lost(_) | CallError::Closed(_) | CallError::Silent(_) => {
            Failure::Unreachable
        }
        // Congestion and limits (PS3.8 table 9-21) pass by themselves.
        CallError::Rejected(_) if is_transient => Failure::Unreachable,
        _ => Failure::Failing,
    };
    hub.broke(failure, error.to_string(), now);
}

async fn open(env: &Env) -> Result<Association, NotOpened> {
    let address = CallAddress { host: env.peer.host.clone(), port: env.peer.port };
    let label = format!("delivery to {:?} at {address}", env.peer.called);
    let holder = env.budget.open_account(label);
    let lease = lease(&holder, env.peer.is_tls).await?;
    let survey = env.store.survey().map_err(|error| NotOpened::Own(error.to_string()))?;
    if env.peer.is_tls && env.tls.is_none() {
        return Err(NotOpened::Own("destinations over TLS are not configured".to_owned()));
    }
    let tls = env.tls.clone().filter(|_| env.peer.is_tls);
    let stream = CallStream::connect(&address, tls, Instant::now() + CONNECT_TIMEOUT).await?;
    let contexts = env.hub.borrow_mut().propose();
    let proposal = Proposal {
        calling_ae_title: env.peer.calling.clone(),
        called_ae_title: env.peer.called.clone(),
        contexts: contexts.clone(),
        max_pdu_length: MAX_PDU,
        max_command_set: fixed::MAX_COMMAND_SET_BYTES,
        async_operations: WINDOW,
    };
    let mut call = Call::new(stream, proposal)?;
    let acceptance = call.establish(Instant::now() + fixed::answer_timeout()).await?;
    let (asking, echo) = (Asking::new(&acceptance), Echo::new(&acceptance));
    let accepted = Accepted::new(&contexts, &acceptance);
    log_refused(&env.hub.borrow(), &contexts, &accepted);
    let peer = AuditPeer {
        address: call.stream.socket().peer_addr().map_err(CallError::Lost)?,
        ae_title: env.peer.called.clone(),
        certificate: String::new(),
    };
    let exports = Exports::new(env.hub.borrow().gauges.audit.clone(), peer);
    Ok(Association {
        hub: env.hub.clone(),
        store: env.store.clone(),
        connection: env.connection,
        epoch: env.epoch,
        aborting: env.aborting.clone(),
        has_probed: !env.is_probe,
        call,
        window: usize::from(acceptance.async_operations),
        accepted,
        asking,
        echo,
        survey,
        outstanding: VecDeque::new(),
        exports,
        has_served: false,
        is_late: false,
        is_mid_pdu: false,
        buffer: vec![0; BUFFER_BYTES],
        _lease: lease,
        _holder: holder,
    })
}

async fn lease(holder: &Holder, is_tls: bool) -> Result<MemoryLease, NotOpened> {
    let bytes = FLOOR_LEASE_BYTES + BUFFER_BYTES as u64 + if is_tls { TLS_LEASE_BYTES } else { 0 };
    let lease = async {
        loop {
            match holder.lease(Stage::Delivery, bytes) {
                Ok(lease) => return lease,
                Err(_) => sleep(LEASE_RETRY).await,
            }
        }
    };
    let leased = timeout_at(Instant::now() + CONNECT_TIMEOUT, lease).await;
    leased.map_err(|_| NotOpened::Own("memory.budget is exhausted".to_owned()))
}

/// Logs what the peer takes in no way.
fn log_refused(hub: &Hub, contexts: &[ProposedContext], accepted: &Accepted) {
    let refused: Vec<String> =
        accepted.refused().map(|(pair, why)| format!("{} in {}: {why}", pair.class, pair.syntax)).collect();
    let Some(first) = refused.first() else { return };
    let worth =
        hub.gauges.incidents.worth_a_line_about(Topic::Contexts, "delivery_contexts", NO_PEER, (&hub.name, first));
    if let Some(unlogged) = worth {
        warn!(
            destination = hub.name,
            peer = hub.settings.peer(),
            refused = refused.len(),
            proposed = contexts.len(),
            first,
            unlogged,
            remedy = "have the destination accept these; what it refuses `attempts` times is not tried again",
            "destination refuses presentation contexts"
        );
    }
}
