//! The loop of one connection: read, parse, act, respond.
//!
//! Invariants: at most one dataset arrives at a time, and at most the negotiated window of operations is at the writers. While the window
//! is full, or a dataset waits for a mailbox slot, the socket is not read, so TCP slows the sender down (back-pressure).

use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;

use tidegate_protocol::command::request_name;
use tidegate_protocol::{Event, NotDicom, Operation, Rejection, StoreRequest, Violation};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::arrival::Arrival;
use super::clock::Clock;
use super::commitment::Commitment;
use super::end::End;
use super::env::Env;
use super::io::Io;
use super::leases::Leases;
use super::node::Node;
use super::peer::Peer;
use super::record::Record;
use super::session::Session;
use crate::fault::{self, Injected};
use crate::fixed::AUDIT_PATIENCE;
use crate::gauges::incidents::{Class, Topic};
use crate::ingest::{Handoffs, Inbound};
use crate::network::admission::Limit;
use crate::network::transport::Port;
use crate::node::phase::Phase;
use crate::supervision::liveness::MessageKind;

/// The part of a C-STORE-RQ that its response needs, kept while the instance is at the writers.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    /// The arrival of the last byte of its dataset.
    pub(super) complete: Instant,
}

/// The loop of one connection, composed of its parts.
pub(crate) struct Connection {
    pub(super) node: Node,
    pub(super) peer: Peer,
    pub(super) io: Io,
    pub(super) session: Session,
    pub(super) inbound: Inbound<StoreRequest>,
    pub(super) handoffs: Handoffs<Request>,
    pub(super) commitment: Commitment,
    pub(super) clock: Clock,
    pub(super) record: Record,
    pub(super) leases: Leases,
}

impl Connection {
    pub(crate) fn open(arrival: Arrival, env: Arc<Env>) -> std::io::Result<Self> {
        let io = Io::new(arrival.socket, arrival.port)?;
        let activity = env.gauges.open.register(arrival.holder.id(), arrival.peer);
        let node = Node::new(env);
        let ingest = Arc::new(node.env.ingest(&node.live));
        Ok(Self {
            peer: Peer::new(arrival.holder.id(), arrival.peer),
            io,
            session: Session::new(node.live.associations.policy.clone()),
            inbound: Inbound::new(ingest.clone()),
            handoffs: Handoffs::new(ingest),
            commitment: Commitment::new(),
            clock: Clock::new(&node.live.associations, Instant::now()),
            record: Record::new(activity),
            leases: Leases::new(arrival.holder, arrival.place, arrival.assignment, arrival.floor),
            node,
        })
    }

    /// Serves the connection until its association is accepted. `Some`: it ends before that. It gives way if its startup place is needed.
    pub(super) async fn establish(&mut self) -> Option<End> {
        let give_way = self.leases.give_way();
        let established = async {
            if let Some(end) = self.open_up().await {
                return Some(end);
            }
            while !self.session.is_established() {
                if let Some(end) = self.step().await {
                    return Some(end);
                }
            }
            None
        };
        tokio::select! {
            biased;
            end = established => end,
            () = give_way.notified() => Some(self.on_crowd()),
        }
    }

    /// Ends a connection that gives way. A peer that has sent its request gets an A-ASSOCIATE-RJ; before a request, none is due.
    fn on_crowd(&mut self) -> End {
        if let Some(unlogged) = self.incident(Class::Limit, Limit::Startup.name(), ()) {
            let limit = Limit::Startup.name();
            let (calling, called) = (self.peer.calling(), self.peer.called());
            warn!(peer = %self.peer.address, calling, called, limit, unlogged, "connection gave way: too many without an association");
        }
        self.session.reject(Rejection::LocalLimitExceeded);
        End::GaveWay
    }

    pub(super) async fn run(&mut self) -> End {
        loop {
            if let Some(end) = self.step().await {
                return end;
            }
        }
    }

    /// Handles one event, or waits for one.
    async fn step(&mut self) -> Option<End> {
        if self.io.is_cut() || self.retry_lost().await.is_err() {
            return Some(End::ConnectionLost);
        }
        if self.may_read()
            && let Some(event) = self.session.poll(self.io.unparsed())
        {
            if let Some(end) = self.on_event(event).await {
                return Some(end);
            }
            return self.flush().await.is_err().then_some(End::ConnectionLost);
        }
        if self.session.is_releasing() && self.handoffs.is_empty() && self.commitment.recording() == 0 {
            self.session.answer_release();
            return Some(End::Released);
        }
        let idle = !self.inbound.is_receiving() && self.handoffs.is_empty() && !self.commitment.is_busy();
        let phase = self.node.phase();
        if phase == Phase::Aborting || (phase == Phase::Draining && idle) {
            self.session.abort();
            return Some(End::Stopping);
        }
        if self.session.is_established()
            && let Some(end) = self.review_if_due().await
        {
            return Some(end);
        }
        self.wait().await
    }

    /// Counts an incident of the peer. `Some`: it is to be logged, with the number of its kind that were not logged since the last line.
    /// `cause` tells it from others of its kind and of these AE titles.
    pub(super) fn incident(&self, class: Class, kind: &'static str, cause: impl Hash) -> Option<u64> {
        self.node.env.gauges.incidents.count(class, kind);
        self.worth_a_line(class, kind, cause)
    }

    /// Like [`Self::incident`], for an event that is counted elsewhere.
    pub(super) fn worth_a_line(&self, class: Class, kind: &'static str, cause: impl Hash) -> Option<u64> {
        self.line_about(Topic::Amiss(class), kind, cause)
    }

    /// Whether a line about a topic is to be logged, with the number of its kind that were not.
    pub(super) fn line_about(&self, topic: Topic, kind: &'static str, cause: impl Hash) -> Option<u64> {
        // Many devices may share the address of a router or a gateway.
        let cause = (&self.peer.calling_ae_title, &self.peer.called_ae_title, cause);
        self.node.env.gauges.incidents.worth_a_line_about(topic, kind, self.peer.address.ip(), cause)
    }

    /// Waits for `future`, and meanwhile answers the instances that the writers return.
    pub(super) async fn attend<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return output,
                Some(returned) = self.handoffs.next(), if !self.handoffs.is_empty() => {
                    self.settle(returned);
                    // The future is waited for all the same. The next step sees the failure, and ends the association.
                    let _ = self.flush().await;
                }
            }
        }
    }

    /// Records a message, for the log line about the end of this association.
    pub(super) fn note(&mut self, kind: MessageKind) {
        self.record.note(kind);
        self.commitment.note();
        if let Some(Injected::Hold(bytes)) = fault::point("association") {
            self.leases.hold_for_test(bytes);
        }
    }

    async fn on_event(&mut self, event: Event) -> Option<End> {
        self.note(kind_of(&event));
        match event {
            // Rare or long futures are boxed: otherwise every waiting association would hold room for them.
            Event::AssociateRequested(request) => return Box::pin(self.on_request(request)).await,
            Event::Rejected(rejection) => return Some(self.on_rejected(rejection)),
            Event::NotDicom(stranger) => {
                self.note_stranger(stranger);
                return Some(End::NotDicom);
            }
            Event::StoreRequested(request) => {
                if let Some(end) = self.on_store_request() {
                    return Some(end);
                }
                if let Some(end) = self.review_if_due().await {
                    return Some(end);
                }
                let has_data_set = request.has_data_set;
                self.begin_dataset(request);
                if !has_data_set {
                    return Box::pin(self.complete()).await;
                }
            }
            Event::ActionRequested(request) => self.on_action_request(request),
            Event::ReportRequested(request) => self.on_report_request(request),
            Event::Fragment(fragment) if self.commitment.is_reported() => self.on_report_fragment(&fragment),
            Event::DatasetComplete if self.commitment.is_reported() => self.complete_report(),
            Event::Fragment(fragment) if self.commitment.is_arriving() => self.on_action_fragment(&fragment),
            Event::Fragment(fragment) => return self.on_fragment(fragment).await,
            Event::DatasetComplete if self.commitment.is_arriving() => self.complete_action(),
            Event::EventReported(response) => self.on_report_response(&response),
            Event::DatasetComplete => return Box::pin(self.complete()).await,
            Event::Echoed => {
                debug!(peer = %self.peer.address, "c-echo");
                self.clock.progress();
            }
            Event::OperationRefused(command_field) => {
                if let Some(unlogged) = self.worth_a_line(Class::Refusal, "unrecognized_operation", command_field) {
                    let (calling, called, request) =
                        (self.peer.calling(), self.peer.called(), request_name(command_field));
                    let command_field = format_args!("{command_field:#06x}");
                    info!(peer = %self.peer.address, calling, called, request, %command_field, status = "0211", unlogged, "dimse request refused: this node does not serve it");
                }
            }
            Event::ReleaseRequested => {
                self.inbound.discard();
                self.commitment.end();
                self.session.begin_release();
            }
            Event::PeerAborted(abort) => {
                if let Some(unlogged) = self.line_about(Topic::Association, "peer_aborted", ()) {
                    let (calling, called) = (self.peer.calling(), self.peer.called());
                    let (source, reason) = (abort.source_name(), abort.reason_name());
                    info!(peer = %self.peer.address, calling, called, source, reason, unlogged, "peer aborted");
                }
                return Some(End::PeerAborted);
            }
            Event::Violated(violation) => {
                self.learn_refused_titles();
                if let Some(unlogged) = self.incident(Class::Violation, violation.name(), ()) {
                    let (calling, called, reason) = (self.peer.calling(), self.peer.called(), violation.name());
                    let limit = limit_of(&violation);
                    warn!(peer = %self.peer.address, calling, called, reason, limit, cause = %violation, unlogged, "association aborted: protocol violation");
                }
                return Some(End::Violation);
            }
        }
        None
    }

    /// Counts a peer that does not speak DICOM. Its line has the remedy for a wrong port.
    fn note_stranger(&self, stranger: NotDicom) {
        let Some(unlogged) = self.incident(Class::Stranger, stranger.name(), ()) else { return };
        let peer = self.peer.address;
        match stranger {
            NotDicom::Tls if self.io.port() == Port::Plain && self.node.live.tls.is_some() => {
                warn!(%peer, unlogged, "tls on the plain port: let the peer call the port of tls.listen, or switch tls off there");
            }
            NotDicom::Tls => {
                warn!(%peer, unlogged, "tls, and this node serves none: switch tls off at the peer, or set tls.listen");
            }
            NotDicom::Http => {
                info!(%peer, unlogged, "http on the dicom port: probes and browsers belong to admin.listen")
            }
            NotDicom::Proxy => {
                warn!(%peer, unlogged, "proxy header from an address that node.proxy_protocol_from does not name");
            }
        }
    }

    /// Learns the titles of a request that was malformed or rejected.
    pub(super) fn learn_refused_titles(&mut self) {
        let Some(titles) = self.session.refused_titles() else { return };
        let tidegate_protocol::AeTitles { calling, called, .. } = titles.clone();
        (self.peer.calling_ae_title, self.peer.called_ae_title) = (calling, called);
    }

    /// Sends the pending output, once the audit has written the evidence of what the output acknowledges: the first instance of a study, and
    /// the summary before a release.
    pub(super) async fn flush(&mut self) -> std::io::Result<()> {
        let Some(output) = self.session.take_output() else {
            return Ok(());
        };
        if let (Some(trail), Some(ticket)) = (&self.node.env.gauges.audit, self.record.take_ticket()) {
            Box::pin(trail.wait_until_written(ticket, AUDIT_PATIENCE)).await;
        }
        let sent = self.io.send(&output, self.node.live.associations.send_timeout).await;
        if sent.is_err()
            && let Some(unlogged) = self.incident(Class::Limit, "send_timeout", ())
        {
            let (calling, called) = (self.peer.calling(), self.peer.called());
            warn!(peer = %self.peer.address, calling, called, unlogged, "peer does not read its responses, connection closed");
        }
        sent?
    }
}

/// The type of a P-DATA-TF PDU (PS3.8 §9.3.5).
const P_DATA_TF: u8 = 4;

/// The key of `[associations]` whose limit the peer has gone beyond.
fn limit_of(violation: &Violation) -> Option<&'static str> {
    match violation {
        Violation::RequestLength { .. } => Some("max_request_length"),
        Violation::PduLength { pdu_type: P_DATA_TF, .. } => Some("max_pdu_length"),
        _ => None,
    }
}

fn kind_of(event: &Event) -> MessageKind {
    match event {
        Event::AssociateRequested(_) => MessageKind::AssociateRequest,
        Event::StoreRequested(_) => MessageKind::StoreRequest,
        Event::Fragment(_) => MessageKind::Fragment,
        Event::DatasetComplete => MessageKind::DatasetEnd,
        Event::Rejected(_)
        | Event::ActionRequested(_)
        | Event::ReportRequested(_)
        | Event::EventReported(_)
        | Event::NotDicom(_)
        | Event::Echoed
        | Event::OperationRefused(_)
        | Event::ReleaseRequested
        | Event::PeerAborted(_)
        | Event::Violated(_) => MessageKind::OtherEvent,
    }
}
