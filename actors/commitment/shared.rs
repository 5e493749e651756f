//! What the child, the associations, the calls and the observers share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidegate_commitment::{Asked, PackedUid, Peer, Reader, Referenced, Retried, Sent, Summary};
use tidegate_protocol::ActionStatus;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use super::figures::Figures;
use super::references::References;
use super::sent::SentNotes;
use super::state::{Call, CommitmentState};
use crate::gauges::latency::Histogram;
use crate::node::live::Live;

/// Requests that may wait to be recorded. Each association has one at most.
const MAX_SUBMISSIONS: usize = 256;
/// Orders of operators that may wait.
const MAX_ORDERS: usize = 64;
/// Time for an order to be carried out.
const ORDER_TIMEOUT: Duration = Duration::from_secs(20);
/// Peers that are remembered until the child looks. Another is reported to when its next attempt is due.
const MAX_ARRIVED: usize = 1024;

/// A request that is to be recorded.
pub(crate) struct Submission {
    pub(crate) asked: Asked,
    pub(crate) references: References,
    pub(crate) reply: oneshot::Sender<Result<Recorded, NotRecorded>>,
}

/// A request that is durable, and whose response is not on the socket yet. Until this is dropped, no report of it is sent.
pub(crate) struct Recorded {
    pub(crate) request: i64,
    shared: Arc<Shared>,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        waiting.unanswered.remove(&self.request);
        waiting.has_news = true;
        drop(waiting);
        self.shared.woken.notify_one();
    }
}

/// Why a request was not recorded.
#[derive(Clone, Debug)]
pub(crate) struct NotRecorded {
    pub(crate) status: ActionStatus,
    /// For the response and the log.
    pub(crate) cause: String,
}

/// What an operator wants of a request.
pub(super) struct Order {
    pub(super) request: i64,
    pub(super) reply: oneshot::Sender<Result<Retried, String>>,
}

/// A report that is being sent.
pub(super) struct Sending {
    /// The association on which it is sent; `None`: a call.
    pub(super) line: Option<u64>,
    pub(super) question: Option<Question>,
    pub(super) ended: Option<Ended>,
    pub(super) call: Option<Call>,
    /// An attempt has failed before.
    pub(super) is_retry: bool,
    /// What is reported, once that is known.
    pub(super) summary: Option<Summary>,
}

/// How a report ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer has taken it.
    Reported,
    /// It has not.
    Failed {
        /// The status that it answered with.
        status: Option<u16>,
        /// Why.
        why: String,
    },
    /// It could not be called.
    Unreachable {
        /// Why.
        why: String,
    },
    /// This node could not make it at the moment.
    Hindered {
        /// Why.
        why: String,
    },
    /// The association on which it was to be sent has ended.
    Lost,
    /// The node stops.
    Stopped,
}

impl Ended {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self::Failed { status: None, why: why.into() }
    }

    pub(crate) fn hindered(why: impl Into<String>) -> Self {
        Self::Hindered { why: why.into() }
    }
}

/// What the child is asked for by the sender of a report.
pub(super) enum Question {
    /// The outcome at this moment.
    Begin(oneshot::Sender<Result<Begun, String>>),
    /// References from a position on.
    Chunk(u32, oneshot::Sender<Vec<Referenced>>),
}

/// The outcome of a request when its report begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begun {
    pub(crate) committed: u32,
    pub(crate) refused: u32,
}

impl Begun {
    /// Event Type ID (PS3.4 §J.3.3.1): 1 all committed, 2 some failed.
    pub(crate) fn event_type(self) -> u16 {
        if self.refused == 0 { 1 } else { 2 }
    }
}

/// The right to report a request. If it is dropped, the report is lost.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    pub(crate) request: i64,
    pub(crate) transaction_uid: String,
    has_ended: bool,
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, request: i64, transaction_uid: String) -> Self {
        Self { shared, request, transaction_uid, has_ended: false }
    }

    pub(crate) fn end(mut self, ended: Ended) {
        self.has_ended = true;
        self.shared.report_ended(self.request, ended);
    }

    /// Has the child look at the files, and returns the outcome.
    ///
    /// # Errors
    /// Why there is none at the moment.
    pub(crate) async fn begin(&self) -> Result<Begun, String> {
        let (reply, begun) = oneshot::channel();
        self.shared.ask_of_report(self.request, Question::Begin(reply));
        begun.await.unwrap_or_else(|_| Err("the outcome could not be looked at".to_owned()))
    }

    pub(super) async fn chunk(&self, from: u32) -> Option<Vec<Referenced>> {
        let (reply, chunk) = oneshot::channel();
        self.shared.ask_of_report(self.request, Question::Chunk(from, reply));
        chunk.await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.report_ended(self.request, Ended::Lost);
        }
    }
}

/// The end of the child.
pub(super) struct Line {
    pub(super) peer: Peer,
    pub(super) wanted: Arc<Wanted>,
    pub(super) reports: mpsc::Sender<Ticket>,
    /// The association has been idle since a report was wanted.
    pub(super) is_ready: bool,
}

/// Whether a report waits for the association to be idle.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    is_set: AtomicBool,
    changed: Notify,
}

impl Wanted {
    pub(super) fn set(&self) {
        if !self.is_set.swap(true, Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }
}

/// The end of an association. When it is dropped, no report comes by it any more.
pub(crate) struct LineEnd {
    shared: Arc<Shared>,
    association: u64,
    wanted: Arc<Wanted>,
    reports: mpsc::Receiver<Ticket>,
}

impl LineEnd {
    pub(crate) fn open(shared: Arc<Shared>, association: u64, peer: Peer) -> Self {
        let (sender, reports) = mpsc::channel(1);
        let wanted = Arc::new(Wanted::default());
        let line = Line { peer, wanted: wanted.clone(), reports: sender, is_ready: false };
        shared.open_line(association, line);
        Self { shared, association, wanted, reports }
    }

    /// Whether a report waits until this association is idle.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.is_set.load(Ordering::Relaxed)
    }

    /// Says that the association is idle.
    pub(crate) fn ready(&self) {
        self.wanted.is_set.store(false, Ordering::Relaxed);
        self.shared.line_ready(self.association);
    }

    /// Waits for a report; `None`: one is wanted that was not before.
    pub(crate) async fn next(&mut self) -> Option<Ticket> {
        tokio::select! {
            ticket = self.reports.recv() => ticket,
            () = self.wanted.changed.notified() => None,
        }
    }
}

impl Drop for LineEnd {
    fn drop(&mut self) {
        self.shared.close_line(self.association);
    }
}

/// What waits for the child.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) submissions: VecDeque<Submission>,
    pub(super) sent: SentNotes,
    pub(super) orders: Vec<Order>,
    pub(super) sending: HashMap<i64, Sending>,
    pub(super) lines: HashMap<u64, Line>,
    /// Since when the report of a request has been ready, and has waited for the association that asked to be idle.
    pub(super) patient: HashMap<i64, Instant>,
    /// Requests whose responses are not on the socket yet.
    pub(super) unanswered: HashSet<i64>,
    /// A report that had no way may have one now.
    pub(super) has_news: bool,
    /// Peers that have opened an association since the child looked.
    pub(super) arrived: Vec<Peer>,
    /// Probes that have ended: AE titles, and whether the peer is back.
    pub(super) probed: Vec<(String, bool)>,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) live: Arc<Live>,
    pub(super) waiting: Mutex<Waiting>,
    /// The record may have refusals of instances, which their later storage ends.
    pub(super) has_refusals: AtomicBool,
    woken: Notify,
    pub(super) figures: Figures,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, live: Arc<Live>) -> Arc<Self> {
        let (waiting, has_refusals, woken) = (Mutex::default(), AtomicBool::new(true), Notify::new());
        Arc::new(Self { path, live, waiting, has_refusals, woken, figures: Figures::default() })
    }

    /// Which of these instances a request names with something still to be done.
    ///
    /// # Errors
    /// If nobody can tell.
    pub(crate) fn are_awaited(&self, uids: &[PackedUid]) -> Result<Vec<bool>, String> {
        let awaited = Reader::open(&self.path).and_then(|mut reader| reader.are_awaited(uids));
        awaited.map_err(|error| error.to_string())
    }

    /// Has a request recorded.
    ///
    /// # Errors
    /// Too many wait.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), NotRecorded> {
        let mut waiting = self.waiting.lock();
        waiting.submissions.retain(|submission| !submission.reply.is_closed());
        if waiting.submissions.len() >= MAX_SUBMISSIONS {
            let cause = "too many requests wait to be recorded".to_owned();
            return Err(NotRecorded { status: ActionStatus::ResourceLimitation, cause });
        }
        waiting.submissions.push_back(submission);
        drop(waiting);
        self.woken.notify_one();
        Ok(())
    }

    /// Notes how a C-STORE ended. An instance that was refused, since other bytes are stored under its UID, is not committed to that AE title until
    /// it has sent it again and it was stored: a request names UIDs only, and the peer means the bytes that it has.
    pub(crate) fn note_sent(&self, calling: &str, sop_instance: &str, is_refused: bool) {
        if !is_refused && !self.has_refusals.load(Ordering::Relaxed) {
            return;
        }
        let Ok(sop_instance) = sop_instance.parse() else { return };
        let mut waiting = self.waiting.lock();
        self.has_refusals.fetch_or(is_refused, Ordering::Relaxed);
        waiting.sent.note(Sent { calling: calling.to_owned(), sop_instance, is_refused });
        drop(waiting);
        self.woken.notify_one();
    }

    /// Has a request evaluated and reported again.
    ///
    /// # Errors
    /// Why that is not possible now.
    pub(crate) async fn retry(&self, request: i64) -> Result<Retried, String> {
        let (reply, retried) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            waiting.orders.retain(|order| !order.reply.is_closed());
            if waiting.orders.len() >= MAX_ORDERS {
                return Err("too many orders wait; try again".to_owned());
            }
            waiting.orders.push(Order { request, reply });
        }
        self.woken.notify_one();
        let retried = timeout(ORDER_TIMEOUT, retried).await.ok().and_then(Result::ok);
        retried.unwrap_or_else(|| Err("storage commitment has ended, or does not answer".to_owned()))
    }

    /// Notes a response other than success.
    pub(crate) fn count_refused(&self, status: ActionStatus) {
        self.figures.count_refused(status);
    }

    /// Says that a request is durable.
    pub(super) fn recorded(self: &Arc<Self>, request: i64) -> Recorded {
        self.waiting.lock().unanswered.insert(request);
        Recorded { request, shared: self.clone() }
    }

    pub(super) fn open_line(&self, association: u64, line: Line) {
        let mut waiting = self.waiting.lock();
        if waiting.arrived.len() < MAX_ARRIVED {
            waiting.arrived.push(line.peer.clone());
        }
        waiting.lines.insert(association, line);
        drop(waiting);
        self.woken.notify_one();
    }

    pub(super) fn line_ready(&self, association: u64) {
        let mut waiting = self.waiting.lock();
        if let Some(line) = waiting.lines.get_mut(&association) {
            line.is_ready = true;
        }
        waiting.has_news = true;
        drop(waiting);
        self.woken.notify_one();
    }

    pub(super) fn close_line(&self, association: u64) {
        let mut waiting = self.waiting.lock();
        waiting.lines.remove(&association);
        waiting.has_news = true;
        drop(waiting);
        self.woken.notify_one();
    }

    /// Gives out the right to report a request.
    pub(super) fn ticket(self: &Arc<Self>, request: i64, transaction_uid: &str, sending: Sending) -> Ticket {
        let mut waiting = self.waiting.lock();
        waiting.patient.remove(&request);
        waiting.sending.insert(request, sending);
        drop(waiting);
        Ticket::new(self.clone(), request, transaction_uid.to_owned())
    }

    pub(super) fn report_ended(&self, request: i64, ended: Ended) {
        if let Some(sending) = self.waiting.lock().sending.get_mut(&request) {
            (sending.ended, sending.question) = (Some(ended), None);
        }
        self.woken.notify_one();
    }

    pub(super) fn ask_of_report(&self, request: i64, question: Question) {
        if let Some(sending) = self.waiting.lock().sending.get_mut(&request) {
            sending.question = Some(question);
        }
        self.woken.notify_one();
    }

    /// A probe has ended.
    pub(super) fn probed(&self, ae_title: String, is_back: bool) {
        self.waiting.lock().probed.push((ae_title, is_back));
        self.woken.notify_one();
    }

    /// Waits until something may be there for the child.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Reports that are being sent on calls.
    pub(crate) fn calls(&self) -> usize {
        self.waiting.lock().sending.values().filter(|sending| sending.call.is_some() && sending.ended.is_none()).count()
    }

    /// Drops what waits, at the end of the node.
    pub(crate) fn clear(&self) {
        let mut waiting = self.waiting.lock();
        let submissions = std::mem::take(&mut waiting.submissions);
        waiting.orders.clear();
        waiting.sent = SentNotes::default();
        drop(waiting);
        drop(submissions);
    }

    /// From the request to the report that its peer has taken.
    pub(crate) fn delays(&self) -> &Histogram {
        &self.figures.delays
    }

    /// The state for operators.
    pub(crate) fn state(&self) -> CommitmentState {
        let mut calls: Vec<Call> = {
            let waiting = self.waiting.lock();
            let sending = waiting.sending.values().filter(|sending| sending.ended.is_none());
            sending.filter_map(|sending| sending.call.clone()).collect()
        };
        calls.sort_by_key(|call| call.request);
        self.figures.state(self.path.clone(), self.live.get().commitment.is_enabled, calls)
    }
}
