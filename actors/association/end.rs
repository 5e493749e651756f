//! The end of a connection: how it came, what the peer is told, what is left to say when nobody is there to say it.

use std::time::Duration;

use tidegate_protocol::Event;
use tidegate_protocol::state::State;
use tracing::{debug, error, info};

use super::connection::Connection;
use crate::incidents::Class;
use crate::patience::within;
use crate::supervision::exit::{Exit, Panic};
use crate::supervision::spec::Restart;
use crate::threads::ABORT;
use crate::transport::Port;

/// How long a peer has to close the connection after our last word (Sta13).
const LINGER: Duration = Duration::from_secs(2);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer asked for release and got it.
    Released,
    /// The association was rejected.
    Rejected,
    /// The connection closed before it said anything.
    NothingSaid,
    /// No association request within its time.
    RequestTimeout,
    /// The peer spoke something else.
    NotDicom,
    /// A balancer did not say whom it speaks for.
    NoProxyHeader,
    /// The peer spoke something else than TLS on the TLS port.
    NotTls,
    /// The peer and we did not come to terms about TLS, or its certificate is none we trust.
    HandshakeFailed,
    /// The peer aborted.
    PeerAborted,
    /// The peer closed or lost the connection without a word.
    ConnectionLost,
    /// The peer broke the protocol and was told so.
    Violation,
    /// The peer kept us waiting.
    TimedOut,
    /// The peer trickled.
    TooSlow,
    /// The peer sent more than an association or a dataset may have.
    LimitReached,
    /// The node is stopping.
    Stopping,
    /// A request so long that the memory budget did not hold it.
    OutOfMemory,
    /// It was ended from outside, for the good of the others (memory is short and it held most, or it held more than any may) or
    /// because an operator asked for it. Whoever did it has logged why.
    Evicted,
}

impl Connection {
    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let end = match Box::pin(self.open_up()).await {
            Some(end) => end,
            None => self.run().await,
        };
        self.has_ended = true;
        self.inbound.discard();
        if let Some(trail) = &self.shared.audit {
            self.transfers.report(&self.peer.for_audit(), self.activity.answered().1, trail);
        }
        let counters = &self.shared.counters;
        match end {
            End::Released | End::Stopping | End::Rejected => {}
            End::NothingSaid => {
                counters.connections_not_dicom.increment();
                self.shared.incidents.count(Class::Stranger, "nothing_said"); // a port check
            }
            End::RequestTimeout => {
                counters.connections_not_dicom.increment();
                if let Some(unlogged) = self.incident(Class::Stranger, "request_timeout") {
                    info!(peer = %self.peer.address, unlogged, "no association request in time, connection closed");
                }
            }
            End::NotDicom => counters.connections_not_dicom.increment(),
            End::NoProxyHeader => counters.proxy_headers_missing.increment(),
            End::NotTls => counters.connections_not_tls.increment(),
            End::HandshakeFailed => counters.tls_handshakes_failed.increment(),
            End::PeerAborted | End::ConnectionLost => counters.associations_lost.increment(),
            End::Violation | End::TimedOut | End::TooSlow | End::LimitReached | End::OutOfMemory | End::Evicted => {
                counters.associations_aborted.increment();
            }
        }
        if self.is_established {
            let (acknowledged, refused) = self.activity.answered();
            info!(
                peer = %self.peer.address,
                calling_ae = ?self.peer.calling_ae_title,
                ?end,
                acknowledged,
                refused,
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
            | End::TooSlow
            | End::LimitReached
            | End::Stopping
            | End::OutOfMemory
            | End::Evicted => Box::pin(self.linger()).await,
            End::NothingSaid
            | End::RequestTimeout
            | End::NotDicom
            | End::NoProxyHeader
            | End::NotTls
            | End::HandshakeFailed
            | End::PeerAborted
            | End::ConnectionLost => {}
        }
        if self.port == Port::Tls {
            let _ = within(LINGER, Box::pin(self.transport.close())).await;
        }
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
                match self.transport.read_buf(&mut rest).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        let _ = within(LINGER, rest).await;
    }
}

impl Drop for Connection {
    /// Without an end of its own the association is unwound by a panic, or its thread has died: the peer gets its A-ABORT all
    /// the same, if the socket takes it. Everything held is freed after this, field by field.
    fn drop(&mut self) {
        if self.has_ended || matches!(self.protocol.state(), State::Sta1 | State::Sta13) {
            return;
        }
        let exit = if std::thread::panicking() {
            self.shared.counters.associations_panicked.increment();
            Exit::Panicked(Panic::of_this_thread())
        } else {
            Exit::ThreadDied
        };
        if self.is_requested() {
            match self.port {
                Port::Plain => self.assignment.abort(),
                // Within TLS nobody else could have said it.
                Port::Tls => drop(self.transport.send_now(&ABORT)),
            }
        }
        self.shared.counters.associations_aborted.increment();
        let held = self.holder.by_stage();
        error!(
            child = "association",
            restart_policy = ?Restart::Temporary,
            peer = %self.peer.address,
            calling_ae = ?self.peer.calling_ae_title,
            cause = %exit,
            held_bytes = held.total(),
            held = held.text(),
            with_writers = self.handoffs.len(),
            mailbox_depth = self.shared.mailbox.depth(),
            last_messages = ?self.last_messages.list(),
            "child ended"
        );
        self.shared.recent.add_ended(&format!("association of {}", self.peer.address), exit, "nothing");
    }
}
