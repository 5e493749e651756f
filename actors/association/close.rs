//! The end of a connection: counters, log line, last PDU, and the A-ABORT of a connection that is dropped by a panic.

use std::time::{Duration, SystemTime};

use tidegate_protocol::Event;
use tracing::{debug, error, info};

use super::connection::Connection;
use super::end::End;
use crate::gauges::ended::EndedAssociation;
use crate::gauges::incidents::{Class, Topic};
use crate::gauges::text::Text;
use crate::network::transport::Port;
use crate::patience::within;
use crate::supervision::exit::{Exit, Panic};
use crate::supervision::liveness::names_of;
use crate::supervision::spec::Restart;
use crate::supervision::threads::ABORT;

/// Time for a peer to close the connection after the last PDU (Sta13).
const LINGER: Duration = Duration::from_secs(2);

impl Connection {
    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let end = match Box::pin(self.establish()).await {
            Some(end) => end,
            None => self.run().await,
        };
        self.session.end();
        self.inbound.discard();
        self.commitment.end();
        if let Some(trail) = &self.node.env.gauges.audit {
            self.record.report(&self.peer, trail);
        }
        let counters = &self.node.env.gauges.counters;
        match end {
            End::Released | End::Stopping | End::Rejected | End::GaveWay => {}
            End::NothingSaid => {
                counters.connections_not_dicom.increment();
                self.node.env.gauges.incidents.count(Class::Stranger, "nothing_said"); // a port check
            }
            End::RequestTimeout => {
                counters.connections_not_dicom.increment();
                self.note_unfinished("request_timeout");
            }
            End::RequestIncomplete => {
                counters.connections_not_dicom.increment();
                self.note_unfinished("request_incomplete");
            }
            End::HeaderTimeout => {
                counters.proxy_headers_missing.increment();
                self.note_unfinished("proxy_header_timeout");
            }
            End::HandshakeTimeout => {
                counters.tls_handshakes_failed.increment();
                self.note_unfinished("tls_handshake_timeout");
            }
            End::NotDicom => counters.connections_not_dicom.increment(),
            End::NoProxyHeader => counters.proxy_headers_missing.increment(),
            End::NotTls => counters.connections_not_tls.increment(),
            End::HandshakeFailed => counters.tls_handshakes_failed.increment(),
            End::PeerAborted | End::ConnectionLost => counters.associations_lost.increment(),
            End::Violation
            | End::TimedOut
            | End::TooSlow
            | End::LimitReached
            | End::OutOfMemory
            | End::ReportCut
            | End::Superseded
            | End::Evicted(_) => {
                counters.associations_aborted.increment();
            }
        }
        self.keep_end(end.name());
        self.log_end(end);
        // A peer that reads the last PDU may associate again at once: its place is free by then.
        if self.record.answered().0 > 0 {
            self.leases.prove();
        }
        self.leases.end();
        let give_way = self.leases.give_way();
        tokio::select! {
            biased; // what can be sent at once is sent
            () = Box::pin(self.close(end)) => {}
            () = give_way.notified() => {}
        }
    }

    /// Sends the last PDU, and waits for the peer to close if that is due.
    async fn close(&mut self, end: End) {
        let _ = self.flush().await;
        match end {
            // A close with unread bytes resets the connection, and the peer might lose the last PDU.
            End::Released
            | End::Rejected
            | End::Violation
            | End::TimedOut
            | End::TooSlow
            | End::LimitReached
            | End::Stopping
            | End::OutOfMemory
            | End::ReportCut
            | End::Superseded
            | End::Evicted(_) => Box::pin(self.linger()).await,
            End::GaveWay
            | End::NothingSaid
            | End::RequestTimeout
            | End::RequestIncomplete
            | End::HeaderTimeout
            | End::HandshakeTimeout
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

    /// Counts a peer that began and did not finish what precedes an association.
    fn note_unfinished(&self, kind: &'static str) {
        let Some(unlogged) = self.incident(Class::Stranger, kind, ()) else { return };
        let peer = self.peer.address;
        match kind {
            "request_incomplete" => info!(%peer, unlogged, "peer closed the connection within its association request"),
            "proxy_header_timeout" => info!(%peer, unlogged, "proxy header not complete in time, connection closed"),
            "tls_handshake_timeout" => info!(%peer, unlogged, "tls handshake not complete in time, connection closed"),
            _ => info!(%peer, unlogged, "no association request in time, connection closed"),
        }
    }

    /// Keeps the end of an association for operators.
    fn keep_end(&self, end: &'static str) {
        if !self.session.is_established() {
            return;
        }
        let record = &self.record;
        self.node.env.gauges.ended.push(EndedAssociation {
            at: SystemTime::now(),
            id: self.peer.association(),
            peer: self.peer.address,
            calling_ae_title: Text::new(&self.peer.calling_ae_title),
            called_ae_title: Text::new(&self.peer.called_ae_title),
            rule: self.peer.origin.rule.as_deref().map(Text::new),
            studies: record.studies() as u64,
            first_study: record.first_study().map(Text::new),
            outcomes: record.outcomes(),
            refused: record.answered().1,
            bytes: record.dataset_bytes(),
            duration: record.age(),
            end,
        });
    }

    /// Logs the end, with the identity of the association and its times.
    fn log_end(&self, end: End) {
        if self.session.is_established() {
            let (acknowledged, refused) = self.record.answered();
            let is_logged = match acknowledged {
                0 => self.record.is_logged,
                _ => self.line_about(Topic::Stored, "ended", ()).is_some() || self.record.is_logged,
            };
            if !is_logged {
                return;
            }
            let (times, outcomes) = (self.record.times, self.record.outcomes());
            info!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                end = end.name(),
                acknowledged,
                refused,
                new = outcomes.new,
                identical = outcomes.identical,
                replaced = outcomes.replaced,
                kept_both = outcomes.kept_both,
                bytes = self.record.dataset_bytes(),
                studies = self.record.studies(),
                study = self.record.first_study().filter(|_| self.record.studies() == 1),
                duration_ms = self.record.age().as_millis() as u64,
                receive_ms = times.receive.as_millis() as u64,
                handoff_ms = times.handoff.as_millis() as u64,
                commit_ms = times.commit().as_millis() as u64,
                "association ended"
            );
        } else {
            debug!(peer = %self.peer.address, end = end.name(), "connection ended");
        }
    }

    /// Sta13: waits for the peer to close the connection.
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
    /// A connection that has not ended in order is unwound by a panic, or its thread has died. The peer gets an A-ABORT, if the socket
    /// accepts it. The fields then free everything that the connection held.
    fn drop(&mut self) {
        if self.session.is_over() {
            return;
        }
        let exit = if std::thread::panicking() {
            self.node.env.gauges.counters.associations_panicked.increment();
            Exit::Panicked(Panic::of_this_thread())
        } else {
            Exit::ThreadDied
        };
        self.keep_end("child_ended");
        if self.session.is_requested() {
            match self.io.port() {
                Port::Plain => self.leases.abort(),
                // Only this connection can send within its TLS session.
                Port::Tls => drop(self.io.send_now(&ABORT)),
            }
        }
        self.node.env.gauges.counters.associations_aborted.increment();
        let held = self.leases.by_stage();
        error!(
            child = "association",
            restart_policy = Restart::Temporary.name(),
            peer = %self.peer.address,
            calling = self.peer.calling(),
            called = self.peer.called(),
            cause = %exit,
            held_bytes = held.total(),
            held = held.text(),
            with_writers = self.handoffs.len(),
            mailbox_depth = self.node.env.mailbox.depth(),
            last_messages = names_of(&self.record.last_messages()),
            "child ended"
        );
        self.node.env.gauges.recent.add_ended(&format!("association of {}", self.peer.address), exit, "nothing");
    }
}
