//! An answer that is late: another association serves the rest, and in the end this one is given up.

use std::time::Duration;

use tokio::time::Instant;

use super::association::{AWAITED, Association};
use super::breaker::Failure;
use super::echo::Echo;
use super::hub::Late;

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
}
