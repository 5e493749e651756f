//! The life of one connection: read, parse, act, answer.
//!
//! At most one dataset is arriving at a time; up to the negotiated window of operations are with the writers. While the
//! window is full, or a dataset waits for a place in the mailbox, nothing is read, and TCP slows the sender down.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tidegate_memory::{Holder, MemoryLease, Stage};
use tidegate_protocol::state::State;
use tidegate_protocol::{AssociateRequest, Association, Event, Operation, Rejection};
use tidegate_storage::{StoreError, Stored};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::Arrival;
use super::incoming::Incoming;
use super::receive_buffer::ReceiveBuffer;
use crate::admission::Admitted;
use crate::mailbox::StoreInstance;
use crate::node::{Phase, Shared};

/// How long a peer has to close the connection after our last word (Sta13).
const LINGER: Duration = Duration::from_secs(2);
/// How long a leased segment is kept while nothing arrives.
const KEEP_SEGMENT: Duration = Duration::from_secs(1);

/// What an accepted presentation context takes, in bytes, its two UIDs included.
const CONTEXT_BYTES: u64 = 160;

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// A peer's string: escape it before printing.
    pub(crate) calling_ae_title: String,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer asked for release and got it.
    Released,
    /// The association was rejected.
    Rejected,
    /// The connection closed before it said anything.
    NothingSaid,
    /// The peer spoke something else.
    NotDicom,
    /// The peer aborted.
    PeerAborted,
    /// The peer closed or lost the connection without a word.
    ConnectionLost,
    /// The peer broke the protocol and was told so.
    Violation,
    /// The peer kept us waiting.
    TimedOut,
    /// The node is stopping.
    Stopping,
    /// A request so long that the memory budget did not hold it.
    OutOfMemory,
    /// It held most when memory was short.
    Evicted,
}

/// An operation that a writer has finished with, or lost.
pub(super) struct Done {
    pub(super) commit: Commit,
    pub(super) outcome: Option<Result<Stored, StoreError>>,
}

/// An instance that is to be stored, and answered for.
pub(super) struct Commit {
    pub(super) operation: Operation,
    pub(super) store: Arc<StoreInstance>,
    pub(super) handovers: u32,
}

/// See the module.
pub(crate) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) eviction: watch::Receiver<Option<u64>>,
    pub(super) peer: Peer,
    pub(super) socket: TcpStream,
    pub(super) protocol: Association,
    pub(super) incoming: Option<Incoming>,
    pub(super) pending: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    pub(super) lost_by_writer: Vec<Commit>,
    pub(super) window: usize,
    pub(super) is_established: bool,
    pub(super) releasing: bool,
    pub(super) opened: Instant,
    /// When the peer last sent something, or was last given something it waited for.
    pub(super) heard: Instant,
    /// When to look whether a leased segment can be given back.
    pub(super) give_back: Instant,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) buffer: ReceiveBuffer,
    pub(super) holder: Holder,
    pub(super) admitted: Admitted,
    pub(super) _floor: MemoryLease,
    /// Pays for the presentation contexts.
    pub(super) contexts: Option<MemoryLease>,
}

impl Connection {
    pub(crate) fn open(arrival: Arrival, shared: Arc<Shared>) -> std::io::Result<Self> {
        let socket = TcpStream::from_std(arrival.socket)?;
        socket.set_nodelay(true)?;
        let now = Instant::now();
        Ok(Self {
            phase: shared.phase.clone(),
            eviction: shared.eviction.subscribe(),
            peer: Peer { address: arrival.peer, calling_ae_title: String::new() },
            socket,
            protocol: Association::new(shared.policy.clone()),
            incoming: None,
            pending: FuturesUnordered::new(),
            lost_by_writer: Vec::new(),
            window: 1,
            is_established: false,
            releasing: false,
            opened: now,
            heard: now,
            give_back: now,
            acknowledged: 0,
            refused: 0,
            buffer: ReceiveBuffer::new(),
            holder: arrival.holder,
            admitted: arrival.admitted,
            _floor: arrival.floor,
            contexts: None,
            shared,
        })
    }

    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self) {
        let end = self.run().await;
        self.incoming = None;
        let statistics = &self.shared.statistics;
        match end {
            End::Released | End::Stopping => {}
            End::Rejected => statistics.associations_rejected.increment(),
            End::NothingSaid | End::NotDicom => statistics.connections_not_dicom.increment(),
            End::PeerAborted | End::ConnectionLost => statistics.associations_lost.increment(),
            End::Violation | End::TimedOut | End::OutOfMemory | End::Evicted => {
                statistics.associations_aborted.increment();
            }
        }
        if self.is_established {
            info!(
                peer = %self.peer.address,
                calling_ae = ?self.peer.calling_ae_title,
                ?end,
                acknowledged = self.acknowledged,
                refused = self.refused,
                "association ended"
            );
        } else {
            debug!(peer = %self.peer.address, ?end, "connection ended");
        }
        let _ = self.flush().await;
        match end {
            // Closing with bytes unread would reset the connection and could take our last word with it.
            End::Released
            | End::Rejected
            | End::Violation
            | End::TimedOut
            | End::Stopping
            | End::OutOfMemory
            | End::Evicted => self.linger().await,
            End::NothingSaid | End::NotDicom | End::PeerAborted | End::ConnectionLost => {}
        }
    }

    async fn run(&mut self) -> End {
        loop {
            while let Some(commit) = self.lost_by_writer.pop() {
                self.commit(commit).await;
            }
            if self.may_read()
                && let Some(event) = self.protocol.poll(self.buffer.bytes())
            {
                if let Some(end) = self.on_event(event).await {
                    return end;
                }
                if self.flush().await.is_err() {
                    return End::ConnectionLost;
                }
                continue;
            }
            if self.releasing && self.pending.is_empty() {
                self.protocol.answer_release();
                return End::Released;
            }
            let idle = self.incoming.is_none() && self.pending.is_empty();
            let phase = *self.phase.borrow();
            if phase == Phase::Aborting || (phase == Phase::Draining && idle) {
                self.protocol.abort();
                return End::Stopping;
            }
            if let Some(end) = self.wait().await {
                return end;
            }
        }
    }

    /// Nothing can be parsed now: waits for bytes, for a writer, for the clock, or for the node.
    async fn wait(&mut self) -> Option<End> {
        let reading = self.may_read();
        if reading && let Some(end) = self.make_room().await {
            return Some(end);
        }
        let wake = self.next_wake();
        let room = self.buffer.room();
        tokio::select! {
            Some(done) = self.pending.next(), if !self.pending.is_empty() => {
                self.settle(done);
                if self.flush().await.is_err() {
                    return Some(End::ConnectionLost);
                }
            }
            read = self.socket.read_buf(self.buffer.bytes()), if reading => match read {
                Ok(0) if !self.is_requested() => return Some(End::NothingSaid),
                Ok(0) | Err(_) => return Some(End::ConnectionLost),
                Ok(bytes) => {
                    if bytes < room {
                        self.acknowledge_at_once();
                    }
                    self.heard = Instant::now();
                    self.give_back = self.heard + KEEP_SEGMENT;
                }
            },
            () = sleep_until(wake), if reading => return self.on_clock(),
            Ok(()) = self.phase.changed() => {}
            Ok(()) = self.eviction.changed() => {
                if *self.eviction.borrow() == Some(self.holder.id()) {
                    self.protocol.abort();
                    return Some(End::Evicted);
                }
            }
        }
        None
    }

    /// A sender that leaves Nagle's algorithm on (DCMTK does) keeps the end of a dataset back until all before it is
    /// acknowledged, and the kernel would delay that by 40 ms for an answer of ours that cannot come before the end. Linux
    /// forgets the option as it goes, so it is set whenever all there was has been read.
    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&self.socket).set_tcp_quickack(true); // a hint: without it we are only slower
    }

    fn may_read(&self) -> bool {
        !self.releasing && self.pending.len() < self.window
    }

    /// Waits for `future`, answering meanwhile for what the writers finish.
    pub(super) async fn attend<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return output,
                Some(done) = self.pending.next(), if !self.pending.is_empty() => {
                    self.settle(done);
                    // A peer that does not take its answer is found out at the next flush.
                    let _ = self.flush().await;
                }
            }
        }
    }

    async fn on_event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::AssociateRequested(request) => return self.on_request(request),
            Event::Rejected(rejection) => {
                info!(peer = %self.peer.address, ?rejection, "association rejected");
                return Some(End::Rejected);
            }
            Event::NotDicom(stranger) => {
                debug!(peer = %self.peer.address, ?stranger, "connection is not dicom");
                return Some(End::NotDicom);
            }
            Event::StoreRequested(request) => {
                let has_data_set = request.has_data_set;
                self.incoming = Some(Incoming::new(request, &self.peer, &self.shared));
                if !has_data_set {
                    self.complete().await;
                }
            }
            Event::Fragment(fragment) => self.on_fragment(fragment).await,
            Event::DatasetComplete => self.complete().await,
            Event::Echoed => debug!(peer = %self.peer.address, "c-echo"),
            Event::OperationRefused(command_field) => {
                let command_field = format_args!("{command_field:#06x}");
                info!(peer = %self.peer.address, %command_field, "dimse request refused with 0211");
            }
            Event::ReleaseRequested => {
                self.incoming = None;
                self.releasing = true;
            }
            Event::PeerAborted(abort) => {
                info!(peer = %self.peer.address, source = abort.source, reason = abort.reason, "peer aborted");
                return Some(End::PeerAborted);
            }
            Event::Violated(violation) => {
                warn!(peer = %self.peer.address, calling_ae = ?self.peer.calling_ae_title, %violation, "association aborted");
                return Some(End::Violation);
            }
        }
        None
    }

    fn on_request(&mut self, request: AssociateRequest) -> Option<End> {
        self.peer.calling_ae_title = request.calling_ae_title;
        let rejection = if *self.phase.borrow() != Phase::Serving {
            Some(Rejection::TemporaryCongestion)
        } else if !self.admitted.call_as(&self.peer.calling_ae_title) {
            Some(Rejection::LocalLimitExceeded)
        } else {
            let contexts = request.contexts_accepted as u64 * CONTEXT_BYTES;
            self.contexts = self.holder.lease(Stage::Floor, contexts).ok();
            self.contexts.is_none().then_some(Rejection::LocalLimitExceeded)
        };
        if let Some(rejection) = rejection {
            warn!(peer = %self.peer.address, calling_ae = ?self.peer.calling_ae_title, ?rejection, "association rejected");
            self.protocol.reject(rejection);
            return Some(End::Rejected);
        }
        self.protocol.accept();
        self.is_established = true;
        self.window = usize::from(request.async_operations);
        self.shared.statistics.associations_accepted.increment();
        self.holder.set_label(format!("{:?} from {}", self.peer.calling_ae_title, self.peer.address));
        info!(
            peer = %self.peer.address,
            calling_ae = ?self.peer.calling_ae_title,
            called_ae = ?request.called_ae_title,
            contexts_accepted = request.contexts_accepted,
            contexts_proposed = request.contexts_proposed,
            async_operations = request.async_operations,
            implementation = ?request.implementation,
            "association accepted"
        );
        None
    }

    fn next_wake(&self) -> Instant {
        let deadline = self.deadline();
        match self.buffer.lease() {
            Some(_) if self.incoming.is_none() => deadline.min(self.give_back),
            _ => deadline,
        }
    }

    fn is_requested(&self) -> bool {
        self.protocol.state() != State::Sta2
    }

    fn deadline(&self) -> Instant {
        let settings = &self.shared.associations;
        if self.is_requested() {
            self.heard + settings.idle_timeout
        } else {
            self.opened + settings.request_timeout // absolute: not renewed by each byte
        }
    }

    fn on_clock(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.incoming.is_none() && now >= self.give_back {
            let needed = self.protocol.needed();
            if !self.buffer.shrink(needed) {
                self.give_back = now + KEEP_SEGMENT; // still in use
            }
        }
        if now < self.deadline() {
            return None;
        }
        if !self.is_requested() {
            return Some(End::NothingSaid); // AA-2: no word to who said none
        }
        warn!(peer = %self.peer.address, calling_ae = ?self.peer.calling_ae_title, "association idle too long, aborted");
        self.protocol.abort();
        Some(End::TimedOut)
    }

    /// Sends what there is to send.
    pub(super) async fn flush(&mut self) -> std::io::Result<()> {
        if !self.protocol.has_output() {
            return Ok(());
        }
        let output = self.protocol.take_output();
        timeout(self.shared.associations.send_timeout, self.socket.write_all(&output)).await?
    }

    /// Sta13: nothing is awaited but the end of the connection.
    async fn linger(&mut self) {
        let rest = async {
            let mut rest = bytes::BytesMut::with_capacity(2048);
            let _ = self.protocol.poll(self.buffer.bytes());
            rest.extend_from_slice(self.buffer.bytes());
            loop {
                match self.protocol.poll(&mut rest) {
                    Some(Event::PeerAborted(_)) => return,
                    Some(_) => continue,
                    None => {}
                }
                if self.flush().await.is_err() {
                    return;
                }
                rest.reserve(1024);
                match self.socket.read_buf(&mut rest).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        let _ = timeout(LINGER, rest).await;
    }
}
