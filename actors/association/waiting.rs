//! What a connection waits for when there is nothing to parse: bytes, a writer, the clock, the node; and how slow a peer may be.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tidegate_protocol::state::State;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::connection::Connection;
use super::ending::End;
use super::incoming::Incoming;
use super::pace::TooSlow;
use super::placing::Target;
use super::receive_buffer::ReceiveBuffer;
use crate::incidents::Class;
use crate::settings::MinimumRate;
use crate::transport::Transport;

/// How long a leased segment is kept while nothing arrives.
const KEEP_SEGMENT: Duration = Duration::from_secs(1);

impl Connection {
    /// Nothing can be parsed now: waits for bytes, for a writer, for the clock, or for the node.
    pub(super) async fn wait(&mut self) -> Option<End> {
        let reading = self.may_read();
        let target = match reading {
            true => match self.target().await {
                Ok(target) => target,
                Err(end) => return Some(end),
            },
            false => Target::Buffer(0),
        };
        let is_owed = reading && self.is_owed();
        let mut received = 0;
        // What is there already is taken without a look at anything else, as often as tokio lets one task have its way.
        if reading
            && self.pending.is_empty()
            && let Some(read) = read(target, &mut self.transport, &mut self.buffer, &mut self.incoming).now_or_never()
        {
            return match self.on_read(read, target).await {
                Ok(bytes) => self.note_pace(is_owed, Duration::ZERO, bytes),
                Err(end) => Some(end),
            };
        }
        if is_owed {
            self.acknowledge_at_once();
        }
        let wake = self.next_wake(is_owed);
        let began = Instant::now();
        tokio::select! {
            Some(done) = self.pending.next(), if !self.pending.is_empty() => {
                self.settle(done);
                if self.flush().await.is_err() {
                    return Some(End::ConnectionLost);
                }
            }
            read = read(target, &mut self.transport, &mut self.buffer, &mut self.incoming), if reading => match self.on_read(read, target).await {
                Ok(bytes) => received = bytes,
                Err(end) => return Some(end),
            },
            () = sleep_until(wake), if reading => if let Some(end) = self.on_clock() {
                return Some(end);
            },
            Ok(()) = self.phase.changed() => {}
            () = self.listed.asked_to_end() => {
                self.protocol.abort();
                return Some(End::Evicted);
            }
        }
        self.note_pace(is_owed, began.elapsed(), received)
    }

    /// Judges a peer that owes us something by what came in which time.
    fn note_pace(&mut self, is_owed: bool, waited: Duration, received: u64) -> Option<End> {
        if !is_owed {
            return None;
        }
        let TooSlow { bytes } = self.pace.note(waited, received, &self.minimum_rate()).err()?;
        Some(self.on_trickle(bytes))
    }

    /// Takes note of a read; the bytes that came.
    async fn on_read(&mut self, read: std::io::Result<usize>, target: Target) -> Result<u64, End> {
        match read {
            Ok(0) if !self.is_requested() => Err(End::NothingSaid),
            Ok(0) | Err(_) => Err(End::ConnectionLost),
            Ok(bytes) => {
                self.shared.counters.bytes_received.add(bytes as u64);
                self.listed.received(bytes as u64);
                self.heard = Instant::now();
                self.give_back = self.heard + KEEP_SEGMENT;
                match target {
                    Target::Place(_) => self.on_placed(bytes).await.map_or(Ok(bytes as u64), Err),
                    Target::Buffer(_) => Ok(bytes as u64),
                }
            }
        }
    }

    /// Whether the peer has begun something that it is yet to end.
    fn is_owed(&mut self) -> bool {
        self.protocol.state() == State::Sta6 && (self.protocol.is_inside_message() || !self.buffer.bytes().is_empty())
    }

    fn minimum_rate(&self) -> MinimumRate {
        self.live.associations.minimum_rate
    }

    fn on_trickle(&mut self, bytes: u64) -> End {
        let MinimumRate { bytes_per_s, window } = self.minimum_rate();
        if let Some(unlogged) = self.incident(Class::Limit, "min_rate") {
            warn!(
                peer = %self.peer.address,
                calling_ae = ?self.peer.calling_ae_title,
                bytes,
                window_s = window.as_secs(),
                min_rate = bytes_per_s,
                unlogged,
                "association too slow, aborted"
            );
        }
        self.protocol.abort();
        End::TooSlow
    }

    /// A sender that leaves Nagle's algorithm on (DCMTK does) keeps the end of a dataset back until all before it is
    /// acknowledged, and the kernel would delay that by 40 ms for an answer of ours that cannot come before the end. Linux
    /// forgets the option as it goes, so it is set whenever all there was has been read and more is to come.
    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.transport.socket() {
            let _ = socket2::SockRef::from(socket).set_tcp_quickack(true); // a hint: without it we are only slower
        }
    }

    pub(super) fn may_read(&self) -> bool {
        !self.releasing && self.pending.len() < self.window
    }

    fn next_wake(&self, is_owed: bool) -> Instant {
        let verdict = is_owed.then(|| Instant::now() + self.pace.until_verdict(&self.minimum_rate()));
        let deadline = verdict.map_or(self.deadline(), |verdict| verdict.min(self.deadline()));
        if self.incoming.is_none() && !self.buffer.is_parked() { deadline.min(self.give_back) } else { deadline }
    }

    pub(super) fn is_requested(&self) -> bool {
        self.protocol.state() != State::Sta2
    }

    fn deadline(&self) -> Instant {
        let settings = &self.live.associations;
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
            if self.buffer.shrink(needed) {
                self.buffer.park();
            }
            self.give_back = now + KEEP_SEGMENT; // for what is still in use
        }
        if now < self.deadline() {
            return None;
        }
        if !self.is_requested() {
            return Some(End::RequestTimeout); // AA-2: no word to who said none
        }
        if let Some(unlogged) = self.incident(Class::Limit, "idle_timeout") {
            let calling_ae = &self.peer.calling_ae_title;
            warn!(peer = %self.peer.address, ?calling_ae, unlogged, "association idle too long, aborted");
        }
        self.protocol.abort();
        Some(End::TimedOut)
    }
}

/// Reads what the peer has sent to where it is to go. 0: the peer has closed.
async fn read(
    target: Target,
    transport: &mut Transport,
    buffer: &mut ReceiveBuffer,
    incoming: &mut Option<Incoming>,
) -> std::io::Result<usize> {
    match (target, incoming) {
        (Target::Place(most), Some(incoming)) => incoming.read_from(transport, most).await,
        (Target::Buffer(most) | Target::Place(most), _) => buffer.read_from(transport, most).await,
    }
}
