//! The end of a connection: what is counted and logged, what the peer is told, and the A-ABORT of a connection that was dropped.

use std::time::Duration;

use tidegate_protocol::Event;
use tracing::{debug, error, info};

use super::connection::Connection;
use super::end::End;
use crate::gauges::incidents::Class;
use crate::network::transport::Port;
use crate::patience::within;
use crate::supervision::exit::{Exit, Panic};
use crate::supervision::spec::Restart;
use crate::supervision::threads::ABORT;

/// How long a peer has to close the connection after our last word (Sta13).
const LINGER: Duration = Duration::from_secs(2);

impl Connection {
    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let end = match Box::pin(self.open_up()).await {
            Some(end) => end,
            None => self.run().await,
        };
        self.session.end();
        self.inbound.discard();
        if let Some(trail) = &self.node.shared.audit {
            self.record.report(&self.peer, trail);
        }
        let counters = &self.node.shared.counters;
        match end {
            End::Released | End::Stopping | End::Rejected => {}
            End::NothingSaid => {
                counters.connections_not_dicom.increment();
                self.node.shared.incidents.count(Class::Stranger, "nothing_said"); // a port check
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
        self.log_end(end);
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
        if self.io.port() == Port::Tls {
            let _ = within(LINGER, Box::pin(self.io.close())).await;
        }
    }

    /// The line about the end: what it was about, and where the time went.
    fn log_end(&self, end: End) {
        if self.session.is_established() {
            let (acknowledged, refused) = self.record.answered();
            let times = self.record.times;
            info!(
                peer = %self.peer.address,
                calling_ae = ?self.peer.calling_ae_title,
                ?end,
                acknowledged,
                refused,
                bytes = self.record.dataset_bytes(),
                studies = self.record.studies(),
                duration_ms = self.record.age().as_millis() as u64,
                receive_ms = times.receive.as_millis() as u64,
                handoff_ms = times.handoff.as_millis() as u64,
                commit_ms = times.commit().as_millis() as u64,
                "association ended"
            );
        } else {
            debug!(peer = %self.peer.address, ?end, "connection ended");
        }
    }

    /// Sta13: nothing is awaited but the end of the connection.
    async fn linger(&mut self) {
        let rest = async {
            let mut rest = bytes::BytesMut::with_capacity(2048);
            let _ = self.session.poll(self.io.unparsed());
            rest.extend_from_slice(self.io.unparsed());
            loop {
                match self.session.poll(&mut rest) {
                    Some(Event::PeerAborted(_)) => return,
                    Some(_) => continue,
                    None => {}
                }
                if self.flush().await.is_err() {
                    return;
                }
                rest.reserve(1024);
                match self.io.read_rest(&mut rest).await {
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
        if self.session.is_over() {
            return;
        }
        let exit = if std::thread::panicking() {
            self.node.shared.counters.associations_panicked.increment();
            Exit::Panicked(Panic::of_this_thread())
        } else {
            Exit::ThreadDied
        };
        if self.session.is_requested() {
            match self.io.port() {
                Port::Plain => self.leases.abort(),
                // Within TLS nobody else could have said it.
                Port::Tls => drop(self.io.send_now(&ABORT)),
            }
        }
        self.node.shared.counters.associations_aborted.increment();
        let held = self.leases.by_stage();
        error!(
            child = "association",
            restart_policy = ?Restart::Temporary,
            peer = %self.peer.address,
            calling_ae = ?self.peer.calling_ae_title,
            cause = %exit,
            held_bytes = held.total(),
            held = held.text(),
            with_writers = self.handoffs.len(),
            mailbox_depth = self.node.shared.mailbox.depth(),
            last_messages = ?self.record.last_messages(),
            "child ended"
        );
        self.node.shared.recent.add_ended(&format!("association of {}", self.peer.address), exit, "nothing");
    }
}
