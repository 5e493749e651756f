//! An answer that is late: another association serves the rest, and asks by a C-ECHO whether the destination lives.

use std::time::Duration;

use tidegate_protocol::{Invocation, Response};
use tokio::time::Instant;

use super::association::{AWAITED, Association};
use super::breaker::Failure;
use super::echo::Echo;
use super::hub::Late;
use crate::network::calling::CallError;

impl Association {
    /// Since when an answer is awaited.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let asked = self.asking.awaited.as_ref().map(|awaited| awaited.sent);
        self.outstanding.front().map(|one| one.sent).or(asked).or(self.echo.awaited())
    }

    /// Whether it waits for a report, and for nothing else: the response to its request was late.
    pub(super) fn awaits_report(&self) -> bool {
        self.is_late && self.asking.reports_until.is_some_and(|until| Instant::now() < until)
    }

    /// After how long the answer is late; `None`: it is already, or nothing says that the destination lives.
    pub(super) fn late_after(&self) -> Option<Duration> {
        let hub = self.hub.borrow();
        let may_be_late = !self.is_late && (hub.breaker.down().is_none() || self.echo == Echo::Answered);
        may_be_late.then(|| hub.late_after())
    }

    /// The answer is late: another association serves the rest.
    pub(super) fn give_way(&mut self) {
        let Some(sent) = self.waits_since() else { return };
        self.is_late = true;
        let mut hub = self.hub.borrow_mut();
        let is_instance = !self.outstanding.is_empty();
        hub.late.push(Late { connection: self.connection, sent, is_instance });
        if hub.breaker.down().is_some() {
            hub.stumbled(Failure::Losing, format!("the peer gives no {AWAITED}"), Instant::now());
        }
        hub.child.notify_one();
        hub.tell();
    }

    /// Sends the C-ECHO, if it is due.
    pub(super) async fn echo(&mut self) -> Result<(), CallError> {
        let Echo::Due(context) = self.echo else { return Ok(()) };
        let message_id = self.call.requestor.begin(context, &Invocation::Echo).map_err(|_| CallError::Unexpected)?;
        self.echo = Echo::Awaited { message_id, sent: Instant::now() };
        self.call.flush().await
    }

    /// Takes its response. False: it is to something else.
    pub(super) fn echo_answered(&mut self, response: &Response) -> bool {
        match self.echo {
            Echo::Awaited { message_id, .. } if message_id == response.message_id => {}
            _ => return false,
        }
        self.echo = Echo::Answered;
        let mut hub = self.hub.borrow_mut();
        hub.answered = Some(Instant::now());
        // However slow it was, this association is as good as any.
        hub.late.retain(|late| late.connection != self.connection);
        self.is_late = false;
        hub.child.notify_one();
        hub.tell();
        true
    }
}
