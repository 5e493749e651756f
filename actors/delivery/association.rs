//! One association with a destination: it takes instances from the plan while there are any, keeps as many outstanding as the peer allows, and settles
//! each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_catalogue::Owed;
use tidegate_memory::{Holder, MemoryBudget, MemoryLease, Stage};
use tidegate_protocol::requestor::{ContextRefused, Event, Proposal, ProposedContext};
use tidegate_protocol::{Invocation, Response};
use tidegate_reencode::Reencoder;
use tidegate_storage::Store;
use tidegate_storage::survey::{NotSendable, Outgoing, Survey};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::warn;

use super::breaker::Failure;
use super::contexts::{Accepted, Way};
use super::hub::{Hub, Next};
use super::plan::Task;
use super::sending::{BUFFER_BYTES, SendError, Sending};
use super::settling::Attempt;
use crate::fixed;
use crate::gauges::incidents::{NO_PEER, Topic};
use crate::network::admission::FLOOR_LEASE_BYTES;
use crate::network::calling::{Call, CallAddress, CallError, CallStream};
use crate::network::transport::TLS_LEASE_BYTES;
use crate::node::settings::DicomDestination;

/// Time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// An association without anything to send is released after so long.
const IDLE: Duration = Duration::from_secs(5);
/// Time for what a peer has sent before its connection broke.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Pause between two attempts to lease memory.
const LEASE_RETRY: Duration = Duration::from_millis(50);
/// The largest PDU that the peer may send: it sends responses only.
const MAX_PDU: u32 = 16 * 1024;
/// Most operations to have outstanding.
const WINDOW: u16 = 16;
const AWAITED: &str = "response";

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
            hub.borrow_mut().established -= 1;
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
    // A destination that serves others of ours has a limit, whatever it says. It is no failure.
    if hub.established > 0 && (is_transient || hub.has_served_of_late()) {
        hub.figures.note_error(&error.to_string());
        return hub.has_room_for(hub.established, now);
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
    let accepted = Accepted::new(&contexts, &acceptance);
    log_refused(&env.hub.borrow(), &contexts, &accepted);
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
        survey,
        outstanding: VecDeque::new(),
        has_served: false,
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
            peer = hub.peer(),
            refused = refused.len(),
            proposed = contexts.len(),
            first,
            unlogged,
            remedy = "have the destination accept these; what it refuses `attempts` times is not tried again",
            "destination refuses presentation contexts"
        );
    }
}

/// An instance whose answer is awaited.
struct Outstanding {
    message_id: u16,
    task: Task,
    sent: Instant,
}

struct Association {
    hub: Rc<RefCell<Hub>>,
    store: Store,
    connection: usize,
    epoch: u64,
    aborting: watch::Receiver<bool>,
    /// Whether it may go on with more than one instance.
    has_probed: bool,
    call: Call,
    /// Operations that may be outstanding.
    window: usize,
    accepted: Accepted,
    survey: Survey,
    outstanding: VecDeque<Outstanding>,
    /// The peer has judged an instance on it.
    has_served: bool,
    is_mid_pdu: bool,
    buffer: Vec<u8>,
    _lease: MemoryLease,
    _holder: Holder,
}

/// How an association ended, which is no failure.
enum End {
    /// It is to be released.
    Release,
    /// The peer asked for the release.
    PeerReleased,
    /// A dataset under way cannot be ended.
    Unusable,
}

impl Association {
    async fn live(&mut self) {
        let mut aborting = self.aborting.clone();
        let ended = tokio::select! {
            ended = self.serve() => Some(ended),
            _ = aborting.wait_for(|aborting| *aborting) => None,
        };
        match ended {
            Some(Ok(End::Release)) => self.call.release().await,
            Some(Ok(End::PeerReleased)) => {
                self.call.answer_release().await;
                if !self.outstanding.is_empty() {
                    self.lost("the peer releases the association before its response");
                }
            }
            Some(Err(error)) => {
                self.hear_last_words(&error).await;
                self.lost(&error.to_string());
            }
            // Not in the middle of a PDU, where it would be taken for data. What is outstanding then is sent again by the next process.
            Some(Ok(End::Unusable)) | None if !self.is_mid_pdu => self.call.abort().await,
            Some(Ok(End::Unusable)) | None => {}
        }
    }

    /// Sends and settles, until there is nothing to send or the association fails.
    async fn serve(&mut self) -> Result<End, CallError> {
        let mut changed = self.hub.borrow().subscribe();
        let mut idle_since = Instant::now();
        // A repetition waits until nothing is outstanding.
        let mut drains = false;
        loop {
            changed.mark_unchanged();
            while let Some(event) = self.call.read_event().await? {
                if self.note(event)? {
                    return Ok(End::PeerReleased);
                }
            }
            drains &= !self.outstanding.is_empty();
            let has_room = !drains && self.outstanding.len() < self.window;
            let may_begin = has_room && self.may_begin();
            if may_begin {
                let next = self.hub.borrow_mut().next(self.connection, &self.accepted, self.outstanding.len());
                match next {
                    Next::Send(task, way) => {
                        if !self.send(task, way).await? {
                            return Ok(End::Unusable);
                        }
                        idle_since = Instant::now();
                        self.look_at_input()?;
                        continue;
                    }
                    Next::OtherContexts if self.outstanding.is_empty() => return Ok(End::Release),
                    Next::OtherContexts | Next::Alone => drains = true,
                    Next::Nothing => {}
                }
            }
            let Some(first) = self.outstanding.front() else {
                if !self.may_begin() {
                    return Ok(End::Release);
                }
                if !self.wait_idle(&mut changed, idle_since + IDLE).await? {
                    return Ok(End::Release);
                }
                continue;
            };
            let deadline = first.sent + fixed::answer_timeout();
            tokio::select! {
                read = self.call.read(AWAITED) => read?,
                _ = changed.changed(), if has_room && !drains => {}
                () = sleep_until(deadline) => {
                    self.call.abort().await;
                    return Err(CallError::Silent(AWAITED));
                }
            }
        }
    }

    /// Waits for something to send, or for the peer. False: for too long.
    async fn wait_idle(&mut self, changed: &mut watch::Receiver<u64>, until: Instant) -> Result<bool, CallError> {
        self.hub.borrow_mut().idle += 1;
        let waited = tokio::select! {
            read = self.call.read(AWAITED) => Some(read),
            _ = changed.changed() => Some(Ok(())),
            () = sleep_until(until) => None,
        };
        self.hub.borrow_mut().idle -= 1;
        match waited {
            // A peer may close an association that is idle.
            Some(Err(_)) => Ok(false),
            Some(Ok(())) => Ok(true),
            None => Ok(false),
        }
    }

    /// Reads what has come, without waiting.
    fn look_at_input(&mut self) -> Result<(), CallError> {
        if self.window > 1 { self.call.read(AWAITED).now_or_never().unwrap_or(Ok(())) } else { Ok(()) }
    }

    /// Whether another instance may be begun, apart from the window. Nothing is, beside a repetition.
    fn may_begin(&self) -> bool {
        !self.outstanding.front().is_some_and(|one| one.task.is_repetition)
            && self.hub.borrow().may_begin(self.epoch, self.has_probed)
    }

    /// Handles an event. True: the peer asks for release.
    fn note(&mut self, event: Event) -> Result<bool, CallError> {
        match event {
            Event::Responded(response) if response.is_pending() => {}
            Event::Responded(response) => self.responded(response),
            Event::OperationRefused(_) | Event::Fragment(_) | Event::DatasetComplete => {}
            Event::ReleaseRequested => return Ok(true),
            other => return Err(CallError::of(other)),
        }
        Ok(false)
    }

    fn responded(&mut self, response: Response) {
        let position = self.outstanding.iter().position(|one| one.message_id == response.message_id);
        let Some(Outstanding { task, .. }) = position.and_then(|position| self.outstanding.remove(position)) else {
            return;
        };
        self.has_served = true;
        self.hub.borrow_mut().settle(task, Attempt::Answered(response));
    }

    /// Sends an instance, or settles why it is not sent. False: the association is of no use any more.
    async fn send(&mut self, task: Task, way: Way) -> Result<bool, CallError> {
        let (context, reencoder) = match way {
            Way::Stored { context } => (context, None),
            Way::Reencoded { context, syntax } => match Reencoder::new(&task.owed.transfer_syntax_uid, &syntax) {
                Ok(reencoder) => (context, Some(reencoder)),
                Err(error) => return Ok(self.skip(task, Attempt::Impossible(error.to_string()))),
            },
            Way::Refused(why) => {
                let attempt = refused(&task, why);
                return Ok(self.skip(task, attempt));
            }
            Way::NotProposed => return Ok(true), // the hub gives none out
        };
        let (file, filled) = match self.open_file(&task) {
            Ok(opened) => opened,
            Err(attempt) => return Ok(self.skip(task, attempt)),
        };
        self.has_probed = true;
        let meta = file.meta();
        let invocation =
            Invocation::Store { sop_class: meta.sop_class_uid.as_str(), sop_instance: meta.sop_instance_uid.as_str() };
        let message_id = match self.call.requestor.begin(context, &invocation) {
            Ok(message_id) => message_id,
            Err(error) => {
                self.settle(task, Attempt::Lost { why: error.to_string(), counts: false });
                return Err(CallError::Unexpected);
            }
        };
        // Before the first byte is sent: whatever happens, it is settled.
        self.outstanding.push_back(Outstanding { message_id, task, sent: Instant::now() });
        let sending = Sending {
            call: &mut self.call,
            hub: &self.hub,
            file: &file,
            buffer: &mut self.buffer,
            filled,
            is_mid_pdu: &mut self.is_mid_pdu,
        };
        let sent = match reencoder {
            None => sending.stored().await,
            Some(reencoder) => sending.reencoded(reencoder).await,
        };
        if let Some(one) = self.outstanding.back_mut() {
            one.sent = Instant::now();
        }
        match sent {
            Ok(()) => Ok(true),
            Err(error) => self.not_sent(error).map(|()| false),
        }
    }

    /// Settles an instance that is not sent. The association is none the worse.
    fn skip(&mut self, task: Task, attempt: Attempt) -> bool {
        self.settle(task, attempt);
        true
    }

    /// The dataset under way cannot be ended: the association ends, and what else is outstanding is sent again.
    fn not_sent(&mut self, error: SendError) -> Result<(), CallError> {
        let attempt = match error {
            SendError::Call(error) => return Err(error),
            SendError::File(errno) => Attempt::Unreadable(format!("the file cannot be read: {errno}")),
            SendError::Short => Attempt::NoFile("the file is not what was stored: it is cut short".to_owned()),
            SendError::Fault(fault) => {
                Attempt::Impossible(format!("it cannot be written in another transfer syntax: {fault}"))
            }
        };
        if let Some(Outstanding { task, .. }) = self.outstanding.pop_back() {
            self.settle(task, attempt);
        }
        for Outstanding { task, .. } in std::mem::take(&mut self.outstanding) {
            let why = "the association was ended for another instance, which could not be sent".to_owned();
            self.settle(task, Attempt::Lost { why, counts: false });
        }
        Ok(())
    }

    /// The file of an instance, and how much of it is in the buffer.
    fn open_file(&mut self, task: &Task) -> Result<(Outgoing, usize), Attempt> {
        let owed = &task.owed;
        let mut opened = self.survey.outgoing(&owed.path, &mut self.buffer);
        if opened.as_ref().is_err_and(|error| *error == NotSendable::Gone) {
            // Perhaps the root is, for a while: then nothing is concluded.
            self.survey = self.store.survey().map_err(|error| Attempt::Unreadable(error.to_string()))?;
            opened = self.survey.outgoing(&owed.path, &mut self.buffer);
        }
        let (file, filled) = opened.map_err(|error| match error {
            NotSendable::Gone => Attempt::NoFile(tidegate_catalogue::FILE_IS_GONE.to_owned()),
            NotSendable::NotAnInstance => Attempt::NoFile(error.to_string()),
            NotSendable::Unreadable(_) => Attempt::Unreadable(error.to_string()),
        })?;
        let meta = file.meta();
        let is_same = owed.sop_instance_uid.is(meta.sop_instance_uid.as_str().as_bytes())
            && *owed.transfer_syntax_uid == *meta.transfer_syntax_uid
            && file.bytes() == owed.bytes;
        if !is_same {
            return Err(Attempt::NoFile("the file is not what was stored".to_owned()));
        }
        Ok((file, filled))
    }

    fn settle(&mut self, task: Task, attempt: Attempt) {
        self.hub.borrow_mut().settle(task, attempt);
    }

    /// Reads what the peer has sent before its connection broke: answers, and why it aborts.
    async fn hear_last_words(&mut self, error: &CallError) {
        if !matches!(error, CallError::Lost(_) | CallError::NotRead) || self.outstanding.is_empty() {
            return;
        }
        let deadline = Instant::now() + LAST_WORDS;
        loop {
            while let Some(event) = self.call.read_event().now_or_never().and_then(Result::ok).flatten() {
                if self.note(event).is_err() {
                    return;
                }
            }
            match timeout_at(deadline, self.call.read(AWAITED)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// The association has ended, and these have no answer. It counts as an attempt of one that was outstanding alone, where the peer has served others of
    /// late: so a dead peer kills no instance, and one that kills associations comes to its end.
    fn lost(&mut self, why: &str) {
        let lost = std::mem::take(&mut self.outstanding);
        let is_idle_end = lost.is_empty() && self.has_served;
        let mut hub = self.hub.borrow_mut();
        for Outstanding { task, .. } in lost {
            let counts = task.is_repetition && (self.has_served || hub.has_served_of_late());
            hub.settle(task, Attempt::Lost { why: why.to_owned(), counts });
        }
        hub.figures.note_error(why);
        if !is_idle_end {
            hub.stumbled(why.to_owned(), Instant::now());
        }
    }
}

fn refused(task: &Task, why: ContextRefused) -> Attempt {
    let Owed { sop_class_uid, transfer_syntax_uid, .. } = &task.owed;
    Attempt::Impossible(format!("the destination does not accept {sop_class_uid} in {transfer_syntax_uid}: {why}"))
}
