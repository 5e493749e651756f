//! One association with a destination: it takes instances from the plan while there are any, keeps as many outstanding as the peer allows, and settles
//! each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_catalogue::Owed;
use tidegate_memory::{Holder, MemoryLease};
use tidegate_protocol::requestor::{ContextRefused, Event};
use tidegate_protocol::{Invocation, Priority, Response};
use tidegate_reencode::Reencoder;
use tidegate_storage::Store;
use tidegate_storage::survey::Survey;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::asking::Asking;
use super::breaker::Failure;
use super::contexts::{Accepted, Way};
use super::echo::Echo;
use super::export::Exports;
use super::hub::{Hub, Next};
use super::outcome::is_delivered;
use super::plan::Task;
use super::sending::{SendError, Sending};
use super::settling::Attempt;
use crate::fixed::{self, AUDIT_PATIENCE};
use crate::network::calling::{Call, CallError};

/// An association without anything to send is released after so long.
const IDLE: Duration = Duration::from_secs(5);
/// Time for what a peer has sent before its connection broke.
const LAST_WORDS: Duration = Duration::from_millis(200);
pub(super) const AWAITED: &str = "response";

/// An instance whose answer is awaited.
pub(super) struct Outstanding {
    message_id: u16,
    task: Task,
    pub(super) sent: Instant,
}

/// See the module.
pub(super) struct Association {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) store: Store,
    pub(super) connection: usize,
    pub(super) epoch: u64,
    pub(super) aborting: watch::Receiver<bool>,
    /// Whether it may go on with more than one instance.
    pub(super) has_probed: bool,
    pub(super) call: Call,
    /// Operations that may be outstanding.
    pub(super) window: usize,
    pub(super) accepted: Accepted,
    pub(super) asking: Asking,
    pub(super) echo: Echo,
    pub(super) survey: Survey,
    pub(super) outstanding: VecDeque<Outstanding>,
    pub(super) exports: Exports,
    /// The peer has judged an instance on it.
    pub(super) has_served: bool,
    /// An answer on it was late: it ends with what is outstanding.
    pub(super) is_late: bool,
    pub(super) is_mid_pdu: bool,
    pub(super) buffer: Vec<u8>,
    pub(super) _lease: MemoryLease,
    pub(super) _holder: Holder,
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
    /// Serves it to its end.
    pub(super) async fn live(&mut self) {
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
                if self.echo.awaited().is_some() && !matches!(error, CallError::Silent(_)) {
                    self.hub.borrow_mut().has_no_echo = true;
                }
                self.not_asked(&error.to_string());
                self.lost(&error.to_string());
            }
            // Not in the middle of a PDU, where it would be taken for data. What is outstanding then is sent again by the next process.
            Some(Ok(End::Unusable)) | None if !self.is_mid_pdu => self.call.abort().await,
            Some(Ok(End::Unusable)) | None => {}
        }
        self.not_asked("the association ended before the response to the request for commitment");
        for Outstanding { task, .. } in &self.outstanding {
            self.exports.count(&task.owed, false);
        }
        self.exports.report();
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
            self.call.flush().await?; // a report may have been refused
            self.echo().await?;
            drains &= !self.outstanding.is_empty();
            if self.outstanding.is_empty() && self.asks() {
                self.ask().await?;
                idle_since = Instant::now();
                continue;
            }
            // A request waits for nothing but what is outstanding.
            drains |= self.asks();
            let has_room = !drains && self.is_free() && self.outstanding.len() < self.window;
            let may_begin = has_room && self.may_begin();
            if may_begin {
                let next = self.hub.borrow_mut().next(self.connection, &self.accepted, self.outstanding.len());
                match next {
                    Next::Send(task, way) => {
                        if !self.send(*task, way).await? {
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
            let Some(sent) = self.waits_since() else {
                if !self.may_begin() && !self.asking.is_reporting() && !self.awaits_report() {
                    return Ok(End::Release);
                }
                let until = (idle_since + IDLE).max(self.asking.reports_until.unwrap_or(idle_since));
                if !self.wait_idle(&mut changed, until).await? {
                    return Ok(End::Release);
                }
                continue;
            };
            let deadline = sent + fixed::answer_timeout();
            if self.is_late && self.hub.borrow().gives_up(self.connection) {
                self.call.abort().await;
                return Err(CallError::Silent(AWAITED));
            }
            let late_at = self.late_after().map(|after| sent + after);
            tokio::select! {
                read = self.call.read(AWAITED) => read?,
                status = self.asking.replied() => self.reply(status).await?,
                _ = changed.changed(), if has_room && !drains || self.is_late => {}
                () = sleep_until(late_at.unwrap_or(deadline)), if late_at.is_some_and(|late_at| late_at < deadline) => {
                    self.give_way();
                }
                () = sleep_until(deadline) => {
                    self.call.abort().await;
                    return Err(CallError::Silent(AWAITED));
                }
            }
        }
    }

    /// Waits for something to send, or for the peer. False: for too long.
    async fn wait_idle(&mut self, changed: &mut watch::Receiver<u64>, until: Instant) -> Result<bool, CallError> {
        // One that only waits for a report takes nothing.
        let idle = usize::from(!self.is_late);
        self.hub.borrow_mut().idle += idle;
        // A report is answered, however long that takes.
        let is_replying = self.asking.is_replying();
        let mut replied = None;
        let waited = tokio::select! {
            read = self.call.read(AWAITED) => Some(read),
            status = self.asking.replied() => {
                replied = Some(status);
                Some(Ok(()))
            }
            _ = changed.changed() => Some(Ok(())),
            () = sleep_until(until), if !is_replying => None,
        };
        self.hub.borrow_mut().idle -= idle;
        if let Some(status) = replied {
            self.reply(status).await?;
        }
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

    /// Whether no response to anything but instances is awaited.
    fn is_free(&self) -> bool {
        self.asking.awaited.is_none() && self.echo.awaited().is_none()
    }

    /// Whether a request for commitment is to be sent.
    fn asks(&self) -> bool {
        self.is_free() && self.hub.borrow().committing.is_ready() && self.may_begin()
    }

    /// Whether another instance may be begun, apart from the window. Nothing is, beside a repetition or a late answer.
    fn may_begin(&self) -> bool {
        !self.is_late
            && !self.outstanding.front().is_some_and(|one| one.task.is_repetition)
            && self.hub.borrow().may_begin(self.epoch, self.has_probed)
    }

    /// Handles an event. True: the peer asks for release.
    fn note(&mut self, event: Event) -> Result<bool, CallError> {
        match event {
            Event::Responded(response) if response.is_pending() => {}
            Event::Responded(response) => self.responded(response),
            Event::ReportRequested(request) => self.begin_report(request),
            Event::Fragment(fragment) => self.push_report(&fragment),
            Event::DatasetComplete => self.end_report(),
            Event::OperationRefused(_) => {}
            Event::ReleaseRequested => return Ok(true),
            other => return Err(CallError::of(other)),
        }
        Ok(false)
    }

    fn responded(&mut self, response: Response) {
        if self.ask_answered(&response) || self.echo_answered(&response) {
            return;
        }
        let position = self.outstanding.iter().position(|one| one.message_id == response.message_id);
        let Some(Outstanding { task, sent, .. }) = position.and_then(|position| self.outstanding.remove(position))
        else {
            return;
        };
        self.has_served = true;
        self.exports.count(&task.owed, is_delivered(response.status));
        let mut hub = self.hub.borrow_mut();
        hub.answered = Some(Instant::now());
        hub.note_answer(sent.elapsed());
        hub.settle(task, Attempt::Answered(response));
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
        if let Some((trail, ticket)) = self.exports.begin(&task.owed) {
            trail.wait_until_written(ticket, AUDIT_PATIENCE).await;
        }
        self.has_probed = true;
        let meta = file.meta();
        let invocation = Invocation::Store {
            sop_class: meta.sop_class_uid.as_str(),
            sop_instance: meta.sop_instance_uid.as_str(),
            priority: Priority::of(self.hub.borrow().settings.priority),
        };
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
            self.exports.count(&task.owed, false);
            self.settle(task, attempt);
        }
        for Outstanding { task, .. } in std::mem::take(&mut self.outstanding) {
            self.exports.count(&task.owed, false);
            let why = "the association was ended for another instance, which could not be sent".to_owned();
            self.settle(task, Attempt::Lost { why, counts: false });
        }
        Ok(())
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
    /// late: so a dead peer kills no instance, and one that kills associations comes to its end. It counts against the peer unless that has answered
    /// others meanwhile, or the instance was lost before.
    fn lost(&mut self, why: &str) {
        let lost = std::mem::take(&mut self.outstanding);
        let is_alive = self.echo == Echo::Answered;
        let is_idle_end = lost.is_empty() && (self.has_served || is_alive || self.asking.awaited.is_some());
        let mut hub = self.hub.borrow_mut();
        let is_suspect = lost.iter().any(|one| one.task.is_repetition) && hub.breaker.down().is_none();
        let is_overtaken = lost.front().is_some_and(|one| hub.has_answered_since(one.sent));
        for Outstanding { task, .. } in lost {
            self.exports.count(&task.owed, false);
            let counts = task.is_repetition && (self.has_served || hub.has_served_of_late());
            hub.settle(task, Attempt::Lost { why: why.to_owned(), counts });
        }
        hub.figures.note_error(why);
        if !is_idle_end && !is_suspect && !is_overtaken {
            let failure = if is_alive { Failure::Losing } else { Failure::Failing };
            hub.stumbled(failure, why.to_owned(), Instant::now());
        }
    }
}

fn refused(task: &Task, why: ContextRefused) -> Attempt {
    let Owed { sop_class_uid, transfer_syntax_uid, .. } = &task.owed;
    Attempt::Impossible(format!("the destination does not accept {sop_class_uid} in {transfer_syntax_uid}: {why}"))
}
