//! What the child, the associations, the calls and the observers share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tidegate_commitment::{Asked, FailureReason, Peer, Retried, Summary};
use tidegate_protocol::ActionStatus;
use tokio::sync::{Notify, oneshot};

use super::line::Line;
use super::references::References;
use super::report::{Ended, Question, Ticket};
use super::state::{Call, CommitmentCondition, CommitmentState, ReportFailure};
use crate::gauges::counters::Counter;
use crate::gauges::latency::Histogram;
use crate::node::live::Live;

/// Requests that may wait to be recorded. Each association has one at most.
const MAX_SUBMISSIONS: usize = 256;
/// Orders of operators that may wait.
const MAX_ORDERS: usize = 64;
/// Peers whose last failure is kept.
pub(super) const MAX_FAILURES: usize = 32;

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

/// What waits for the child.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) submissions: VecDeque<Submission>,
    pub(super) orders: Vec<Order>,
    pub(super) sending: HashMap<i64, Sending>,
    pub(super) lines: HashMap<u64, Line>,
    /// Requests whose responses are not on the socket yet.
    pub(super) unanswered: HashSet<i64>,
    /// A report that had no way may have one now.
    pub(super) has_news: bool,
    /// Peers that have opened an association since the child looked.
    pub(super) arrived: Vec<Peer>,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) live: Arc<Live>,
    pub(super) waiting: Mutex<Waiting>,
    woken: Notify,
    pub(super) figures: Figures,
}

/// The figures for operators.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) received: Counter,
    refused: [Counter; ActionStatus::ALL.len()],
    pub(super) committed: Counter,
    pub(super) failed: [Counter; FailureReason::ALL.len()],
    pub(super) reported: Counter,
    pub(super) attempts_failed: Counter,
    pub(super) gave_up: Counter,
    /// From the request to the report that its peer has taken.
    pub(super) delays: Histogram,
    pub(super) seen: Mutex<Seen>,
}

/// The state as the child last saw it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) trouble: Option<(String, String)>,
    pub(super) pending: u64,
    pub(super) retrying: u64,
    pub(super) without_address: u64,
    pub(super) kept_failed: u64,
    pub(super) oldest_pending: Option<SystemTime>,
    pub(super) last_failures: VecDeque<ReportFailure>,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self { path, live, waiting: Mutex::default(), woken: Notify::new(), figures: Figures::default() })
    }

    /// Has a request recorded.
    ///
    /// # Errors
    /// Too many wait.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), NotRecorded> {
        let mut waiting = self.waiting.lock();
        if waiting.submissions.len() >= MAX_SUBMISSIONS {
            let cause = "too many requests wait to be recorded".to_owned();
            return Err(NotRecorded { status: ActionStatus::ResourceLimitation, cause });
        }
        waiting.submissions.push_back(submission);
        drop(waiting);
        self.woken.notify_one();
        Ok(())
    }

    /// Has a request evaluated and reported again.
    ///
    /// # Errors
    /// Why that is not possible now.
    pub(crate) async fn retry(&self, request: i64) -> Result<Retried, String> {
        let (reply, retried) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.orders.len() >= MAX_ORDERS {
                return Err("too many orders wait; try again".to_owned());
            }
            waiting.orders.push(Order { request, reply });
        }
        self.woken.notify_one();
        retried.await.unwrap_or_else(|_| Err("storage commitment has ended".to_owned()))
    }

    /// Notes a response other than success.
    pub(crate) fn count_refused(&self, status: ActionStatus) {
        if let Some(at) = ActionStatus::ALL.iter().position(|other| *other == status) {
            self.figures.refused[at].increment();
        }
    }

    /// Says that a request is durable.
    pub(super) fn recorded(self: &Arc<Self>, request: i64) -> Recorded {
        self.waiting.lock().unanswered.insert(request);
        Recorded { request, shared: self.clone() }
    }

    pub(super) fn open_line(&self, association: u64, line: Line) {
        let mut waiting = self.waiting.lock();
        waiting.arrived.push(line.peer.clone());
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
        self.waiting.lock().sending.insert(request, sending);
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
        drop(waiting);
        drop(submissions);
    }

    /// From the request to the report that its peer has taken.
    pub(crate) fn delays(&self) -> &Histogram {
        &self.figures.delays
    }

    /// The state for operators.
    pub(crate) fn state(&self) -> CommitmentState {
        let calls = {
            let waiting = self.waiting.lock();
            let mut calls: Vec<Call> = waiting.sending.values().filter_map(|sending| sending.call.clone()).collect();
            calls.sort_by_key(|call| call.request);
            calls
        };
        let figures = &self.figures;
        let refused = ActionStatus::ALL.iter().zip(&figures.refused).skip(1);
        let failed = FailureReason::ALL.iter().zip(&figures.failed);
        let seen = figures.seen.lock();
        let condition = match &seen.trouble {
            None => CommitmentCondition::Serving,
            Some((reason, remedy)) => {
                CommitmentCondition::Unavailable { reason: reason.clone(), remedy: remedy.clone() }
            }
        };
        CommitmentState {
            path: self.path.clone(),
            condition,
            received: figures.received.get(),
            refused: refused.map(|(status, count)| (status_name(*status), count.get())).collect(),
            committed: figures.committed.get(),
            failed: failed.map(|(reason, count)| (reason.name(), count.get())).collect(),
            reported: figures.reported.get(),
            attempts_failed: figures.attempts_failed.get(),
            gave_up: figures.gave_up.get(),
            pending: seen.pending,
            retrying: seen.retrying,
            without_address: seen.without_address,
            kept_failed: seen.kept_failed,
            oldest_pending: seen.oldest_pending,
            calls,
            last_failures: seen.last_failures.iter().cloned().collect(),
        }
    }
}

/// The name of a status in metrics and the API.
fn status_name(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::Success => "success",
        ActionStatus::ProcessingFailure => "processing_failure",
        ActionStatus::NoSuchSopInstance => "no_such_sop_instance",
        ActionStatus::InvalidArgument => "invalid_argument",
        ActionStatus::NoSuchSopClass => "no_such_sop_class",
        ActionStatus::ClassInstanceConflict => "class_instance_conflict",
        ActionStatus::MissingAttribute => "missing_attribute",
        ActionStatus::NoSuchAction => "no_such_action",
        ActionStatus::NotAuthorized => "not_authorized",
        ActionStatus::DuplicateTransactionUid => "duplicate_transaction_uid",
        ActionStatus::ResourceLimitation => "resource_limitation",
    }
}
