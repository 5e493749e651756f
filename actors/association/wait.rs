//! The wait of a connection that has nothing to parse: for bytes, a writer, a timer, or a phase of the node.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::clock::Awaited;
use super::connection::Connection;
use super::end::End;
use super::io::ReadTarget;
use super::pace::TooSlow;
use crate::gauges::activity::{EndCause, Wish};
use crate::gauges::incidents::Class;
use crate::node::settings::MinimumRate;

impl Connection {
    /// Waits for bytes, a writer, a timer, or a phase of the node, whichever comes first.
    pub(super) async fn wait(&mut self) -> Option<End> {
        let reading = self.may_read();
        let target = match reading {
            true => match self.read_target().await {
                Ok(target) => target,
                Err(end) => return Some(end),
            },
            false => ReadTarget::Buffer(0),
        };
        let is_owed = reading && self.is_owed();
        // Bytes that are available are read without arming a timer, as long as tokio's budget of the task permits.
        if reading
            && self.handoffs.is_empty()
            && !self.commitment.is_busy()
            && let Some(read) = self.io.read(target, &mut self.inbound).now_or_never()
        {
            return match self.on_read(read, target).await {
                Ok(bytes) => self.note_pace(is_owed, Duration::ZERO, bytes),
                Err(end) => Some(end),
            };
        }
        if is_owed {
            self.io.acknowledge_at_once();
        }
        let began = Instant::now();
        if let Some(end) = self.on_timers(is_owed, began) {
            return Some(end);
        }
        let look = self.until_look(is_owed, began);
        let is_established = self.session.is_established();
        let (mut arrived, mut is_time_up, mut wish, mut said) = (None, false, None, None);
        let is_idle = !is_owed && !self.inbound.is_receiving() && self.handoffs.is_empty();
        tokio::select! {
            biased; // received bytes come before the timer
            Some(returned) = self.handoffs.next(), if !self.handoffs.is_empty() => {
                self.settle(returned);
                if self.flush().await.is_err() {
                    return Some(End::ConnectionLost);
                }
            }
            () = self.node.changed(is_established) => {}
            asked = self.record.wish() => wish = Some(asked),
            something = async { Box::new(Box::pin(self.commitment.next(is_idle)).await) },
                if is_established && self.commitment.may_say() => said = Some(something),
            read = self.io.read(target, &mut self.inbound), if reading => arrived = Some(read),
            () = sleep_until(began + look), if reading => is_time_up = true,
        }
        match (wish, said) {
            (Some(wish), _) => return Box::pin(self.on_wish(wish)).await,
            (None, Some(said)) => return Box::pin(self.on_said(*said)).await,
            (None, None) if !reading => return None,
            (None, None) => {}
        }
        // Time beyond `look` is not the peer's: the process was stopped, or the thread served other associations.
        let waited = began.elapsed().min(look);
        if !self.session.is_requested() {
            self.clock.spend_on_request(waited);
        } else {
            self.clock.wait(waited);
        }
        let received = match arrived {
            Some(read) => self.on_read(read, target).await,
            None if is_time_up => self.on_clock(target).await,
            None => Ok(0),
        };
        match received {
            Ok(bytes) => self.note_pace(is_owed, waited, bytes),
            Err(end) => Some(end),
        }
    }

    /// Judges the rate of a peer that owes the rest of a message.
    fn note_pace(&mut self, is_owed: bool, waited: Duration, received: u64) -> Option<End> {
        if !is_owed {
            return None;
        }
        let TooSlow { bytes } = self.clock.note_pace(waited, received).err()?;
        Some(self.on_trickle(bytes))
    }

    /// Accounts for a read, and returns its bytes.
    async fn on_read(&mut self, read: std::io::Result<usize>, target: ReadTarget) -> Result<u64, End> {
        match read {
            Ok(0) if !self.session.is_requested() && self.io.unparsed().is_empty() => Err(End::NothingSaid),
            Ok(0) if !self.session.is_requested() => Err(End::RequestIncomplete),
            Ok(0) | Err(_) => Err(End::ConnectionLost),
            Ok(bytes) => {
                self.node.env.gauges.counters.bytes_received.add(bytes as u64);
                self.record.received(bytes as u64);
                self.leases.set_segment(!self.io.is_parked());
                self.clock.received(Instant::now());
                match target {
                    ReadTarget::Dataset(_) => self.on_direct_read(bytes).await.map_or(Ok(bytes as u64), Err),
                    ReadTarget::Buffer(_) => Ok(bytes as u64),
                }
            }
        }
    }

    /// Whether the peer has begun a message and owes the rest.
    fn is_owed(&mut self) -> bool {
        let has_unparsed = !self.io.unparsed().is_empty();
        self.session.is_owed(has_unparsed)
    }

    fn on_trickle(&mut self, bytes: u64) -> End {
        let MinimumRate { bytes_per_s, window } = self.node.live.associations.minimum_rate;
        if let Some(unlogged) = self.incident(Class::Limit, "min_rate", ()) {
            warn!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                bytes,
                window_s = window.as_secs(),
                min_rate = bytes_per_s,
                unlogged,
                "association too slow, aborted"
            );
        }
        self.session.abort();
        End::TooSlow
    }

    pub(super) fn may_read(&self) -> bool {
        // A further request would have to wait for the one that is being recorded.
        self.commitment.recording.is_none() && self.session.may_read(self.handoffs.len() + self.commitment.recording())
    }

    /// The longest wait before the next look at the timers.
    fn until_look(&self, is_owed: bool, now: Instant) -> Duration {
        let may_trim = !self.inbound.is_receiving() && !self.io.is_parked();
        self.clock.until_look(Awaited { is_requested: self.session.is_requested(), is_owed, may_trim }, now)
    }

    /// Handles a wait that ended without a byte. Returns the bytes that have arrived after all.
    async fn on_clock(&mut self, target: ReadTarget) -> Result<u64, End> {
        // When a stopped process continues, its timers may fire before the reactor has polled its sockets.
        yield_now().await;
        let late = self.io.read(target, &mut self.inbound).now_or_never();
        if let Some(read) = late {
            return self.on_read(read, target).await;
        }
        self.trim();
        let is_overdue = !self.session.is_requested() && self.clock.is_request_overdue();
        if is_overdue { Err(End::RequestTimeout) } else { Ok(0) } // AA-2: closed without a PDU
    }

    /// Ends an association that makes no progress, or that has reached its longest life. Everything that has arrived is parsed by now.
    fn on_timers(&mut self, is_owed: bool, now: Instant) -> Option<End> {
        if !self.session.is_requested() {
            return None;
        }
        let is_between = !is_owed && !self.inbound.is_receiving() && self.handoffs.is_empty();
        if self.clock.is_past_life(is_between, now) {
            return Some(self.on_limit("max_lifetime"));
        }
        self.clock.is_idle().then(|| self.on_silence())
    }

    /// Does what the node or an operator wants of the association.
    async fn on_wish(&mut self, wish: Wish) -> Option<End> {
        let cause = match wish {
            Wish::End(cause) => cause,
            Wish::GiveBack => match self.give_back().await {
                true => return None,
                false => EndCause::Stalled,
            },
        };
        self.session.abort();
        Some(End::Evicted(cause))
    }

    fn trim(&mut self) {
        let now = Instant::now();
        if !self.inbound.is_receiving() && self.clock.is_trim_due(now) {
            self.io.trim(self.session.needed());
            self.leases.set_segment(!self.io.is_parked());
            self.clock.trimmed(now);
        }
    }

    fn on_silence(&mut self) -> End {
        if let Some(unlogged) = self.incident(Class::Limit, "idle_timeout", ()) {
            let (calling, called, association) = (self.peer.calling(), self.peer.called(), self.peer.association());
            warn!(peer = %self.peer.address, calling, called, association, unlogged, "association idle too long, aborted");
        }
        self.session.abort();
        End::TimedOut
    }
}
