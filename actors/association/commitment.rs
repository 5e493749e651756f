//! The part of a connection that is about storage commitment: the request that arrives, the one that is recorded, and the report that is sent.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tidegate_protocol::commitment::Information;
use tidegate_protocol::{ActionRequest, ActionStatus, Operation};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::commitment::references::References;
use crate::commitment::report::{Dataset, Unreadable};
use crate::commitment::shared::{Begun, LineEnd, NotRecorded, Recorded, Ticket};
use crate::delivery::report::{Arriving as ArrivingReport, NotTaken, Taken};

/// Without a message for so long, the association is idle.
pub(super) const IDLE: Duration = Duration::from_secs(1);
/// An N-ACTION whose dataset arrives.
pub(super) struct Arriving {
    pub(super) request: ActionRequest,
    pub(super) information: Option<Information>,
    pub(super) references: References,
    pub(super) fault: Option<NotRecorded>,
}

/// An N-ACTION that the child records.
pub(super) struct Recording {
    pub(super) operation: Operation,
    pub(super) transaction_uid: String,
    pub(super) instances: usize,
    /// When it is refused, since nobody records it.
    pub(super) until: Instant,
    pub(super) reply: oneshot::Receiver<Result<Recorded, NotRecorded>>,
}

/// What has come for the association.
pub(super) enum Said {
    /// The request is durable, or is not.
    Recorded(Result<Recorded, NotRecorded>),
    /// The association has been idle, and a report waits for that.
    Idle,
    /// A report is wanted that was not before.
    Wanted,
    /// A report is to be sent.
    Report(Ticket),
    /// Its outcome.
    Begun(Ticket, Result<Begun, String>),
    /// The next bytes of it.
    Bytes(Ticket, Dataset, Result<Option<Vec<u8>>, Unreadable>),
    /// The peer has not answered it.
    Silent,
    /// What a destination has reported is durable, or is not.
    Replied(Taken),
}

/// The part of a connection that is about storage commitment.
pub(super) struct Commitment {
    /// If reports can be sent on this association.
    pub(super) line: Option<LineEnd>,
    pub(super) arriving: Option<Box<Arriving>>,
    pub(super) recording: Option<Box<Recording>>,
    /// Those that are durable, and whose responses are not on the socket yet.
    pub(super) unanswered: Vec<Recorded>,
    /// The next step of a report that is being sent.
    pub(super) step: Option<LocalBoxFuture<'static, Said>>,
    /// A report that was sent, and when its response is overdue.
    pub(super) awaiting: Option<(Ticket, Instant)>,
    /// A report of a destination that arrives, and those that wait until what they say is durable.
    pub(super) reported: Option<Box<ArrivingReport>>,
    pub(super) replying: VecDeque<(Operation, oneshot::Receiver<Taken>)>,
    /// When the last message came or went.
    pub(super) quiet_since: Instant,
}

impl Commitment {
    pub(super) fn new() -> Self {
        let quiet_since = Instant::now();
        Self {
            line: None,
            arriving: None,
            recording: None,
            unanswered: Vec::new(),
            step: None,
            awaiting: None,
            reported: None,
            replying: VecDeque::new(),
            quiet_since,
        }
    }

    /// Requests that await a response.
    pub(super) fn recording(&self) -> usize {
        usize::from(self.recording.is_some()) + self.replying.len()
    }

    pub(super) fn is_arriving(&self) -> bool {
        self.arriving.is_some()
    }

    pub(super) fn is_reported(&self) -> bool {
        self.reported.is_some()
    }

    /// Whether anything is under way that the end of the association would break.
    pub(super) fn is_busy(&self) -> bool {
        self.is_arriving() || self.is_reported() || self.may_say_soon()
    }

    fn may_say_soon(&self) -> bool {
        self.recording.is_some() || self.step.is_some() || self.awaiting.is_some() || !self.replying.is_empty()
    }

    /// Whether [`Self::next`] may ever end.
    pub(super) fn may_say(&self) -> bool {
        self.line.is_some() || self.may_say_soon()
    }

    /// A message has come or gone.
    pub(super) fn note(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// What was under way is void, and no report comes any more.
    pub(super) fn end(&mut self) {
        (self.line, self.arriving, self.step, self.awaiting) = (None, None, None, None);
        self.reported = None;
        self.unanswered = Vec::new();
    }

    /// Waits for whatever comes, in a box of the caller: hundreds of idle associations have nothing to say. `is_idle`: no message is under way. May be dropped at any time.
    pub(super) async fn next(&mut self, is_idle: bool) -> Said {
        let Self { line, recording, step, awaiting, replying, quiet_since, .. } = self;
        let is_free = recording.is_none() && step.is_none() && awaiting.is_none();
        let is_wanted = line.as_ref().is_some_and(LineEnd::is_wanted);
        let overdue_at = awaiting.as_ref().map_or(*quiet_since, |(_, at)| *at);
        tokio::select! {
            biased;
            recorded = recorded(recording), if recording.is_some() => Said::Recorded(recorded),
            taken = replied(replying), if !replying.is_empty() => Said::Replied(taken),
            said = stepped(step), if step.is_some() => said,
            () = sleep_until(overdue_at), if awaiting.is_some() => Said::Silent,
            ticket = told(line), if line.is_some() => ticket.map_or(Said::Wanted, Said::Report),
            () = sleep_until(*quiet_since + IDLE), if is_free && is_idle && is_wanted => Said::Idle,
            else => std::future::pending().await,
        }
    }
}

async fn recorded(recording: &mut Option<Box<Recording>>) -> Result<Recorded, NotRecorded> {
    let lost = || NotRecorded {
        status: ActionStatus::ProcessingFailure,
        cause: "storage commitment is not available".to_owned(),
    };
    match recording {
        Some(recording) => match timeout_at(recording.until, &mut recording.reply).await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(_)) | Err(_) => Err(lost()),
        },
        None => std::future::pending().await,
    }
}

async fn replied(replying: &mut VecDeque<(Operation, oneshot::Receiver<Taken>)>) -> Taken {
    match replying.front_mut() {
        Some((_, receiver)) => receiver.await.unwrap_or_else(|_| Err(NotTaken::failed())),
        None => std::future::pending().await,
    }
}

async fn stepped(step: &mut Option<LocalBoxFuture<'static, Said>>) -> Said {
    match step {
        Some(step) => step.await,
        None => std::future::pending().await,
    }
}

async fn told(line: &mut Option<LineEnd>) -> Option<Ticket> {
    match line {
        Some(line) => line.next().await,
        None => std::future::pending().await,
    }
}
