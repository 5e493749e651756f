//! Everything before the first PDU: the PROXY header of a balancer and the TLS handshake, within the ARTIM timer of the request
//! (PS3.8 §9.1.4).

use std::net::SocketAddr;

use tidegate_protocol::proxy::{self, Source};
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::end::End;
use super::io::Preamble;
use crate::gauges::audit::Denial;
use crate::gauges::incidents::Class;
use crate::network::certificate::CertificateNames;
use crate::network::handshake::HandshakeFailure;
use crate::network::transport::{Port, TLS_HANDSHAKE};
use crate::node::phase::Phase;

impl Preamble {
    /// The end of a connection whose time is up.
    fn on_timeout(self) -> End {
        match self {
            Self::Nothing => End::NothingSaid,
            Self::ProxyHeader => End::HeaderTimeout,
            Self::TlsHandshake => End::HandshakeTimeout,
        }
    }
}

impl Connection {
    /// Makes the connection ready for the first PDU. `Some`: the connection ends before it.
    pub(super) async fn open_up(&mut self) -> Option<End> {
        let is_proxied = self.node.live.access.is_proxy(self.peer.address.ip());
        if self.io.port() == Port::Plain && !is_proxied {
            return None;
        }
        let mut patience = self.clock.request_patience();
        let mut phase = self.node.watch_phase();
        let opening = async {
            if is_proxied && let Err(end) = self.learn_source().await {
                return Some(end);
            }
            match self.io.port() {
                Port::Plain => None,
                Port::Tls => self.begin_tls().await,
            }
        };
        let end = tokio::select! {
            opened = patience.wait(opening) => opened.unwrap_or_else(|_| Some(self.io.preamble().on_timeout())),
            _ = phase.wait_for(|phase| matches!(phase, Phase::Draining | Phase::Aborting)) => Some(End::Stopping),
        };
        self.clock.spend_on_request(patience.spent());
        end
    }

    /// Reads the PROXY header, which names the peer from here on.
    async fn learn_source(&mut self) -> Result<(), End> {
        let balancer = self.peer.address;
        let mut header = Vec::new();
        let source = loop {
            match proxy::missing(&header) {
                Ok(0) => break proxy::parse(&header),
                Err(error) => break Err(error),
                Ok(missing) => {
                    let read = header.len();
                    if read > 0 {
                        self.io.enter(Preamble::ProxyHeader);
                    }
                    header.resize(read + missing, 0);
                    match self.io.read_plain(&mut header[read..]).await {
                        Ok(0) if read == 0 => return Err(End::NothingSaid),
                        Ok(0) | Err(_) => return Err(End::ConnectionLost),
                        Ok(count) => header.truncate(read + count),
                    }
                }
            }
        };
        match source {
            Ok(Source::Peer(peer)) => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                self.peer.address = peer;
                self.leases.set_label(format!("connection from {peer}"));
            }
            Ok(Source::Balancer) => {}
            Err(error) => {
                if let Some(unlogged) = self.deny(Denial::NoProxyHeader, error.to_string()) {
                    info!(%balancer, %error, unlogged, "connection closed: no valid proxy header from an address in node.proxy_protocol_from");
                }
                return Err(End::NoProxyHeader);
            }
        }
        self.peer.is_proxied = true;
        self.io.enter(Preamble::Nothing);
        self.leases.come_from(self.peer.address.ip());
        Ok(())
    }

    /// Counts a peer that speaks something else than TLS on the TLS port, by its first byte: a PDU of type 1 is an association request,
    /// a capital letter the method of HTTP.
    fn note_no_tls(&self, first_byte: u8) {
        let peer = self.peer.address;
        let kind = match first_byte {
            1 => "plain_dicom",
            b'A'..=b'Z' => "plain_http",
            _ => "plain_other",
        };
        let Some(unlogged) = self.incident(Class::Stranger, kind, ()) else { return };
        match first_byte {
            1 => {
                warn!(%peer, unlogged, "dicom without tls on the tls port: switch tls on at the peer, or let it call the port of node.listen");
            }
            b'A'..=b'Z' => info!(%peer, unlogged, "http on the tls port: probes and browsers belong to admin.listen"),
            _ => info!(%peer, first_byte, unlogged, "no tls on the tls port, connection closed"),
        }
    }

    async fn begin_tls(&mut self) -> Option<End> {
        match self.io.first_byte().await {
            Ok(None) => return Some(End::NothingSaid),
            Err(_) => return Some(End::ConnectionLost),
            Ok(Some(TLS_HANDSHAKE)) => self.io.enter(Preamble::TlsHandshake),
            Ok(Some(first_byte)) => {
                self.note_no_tls(first_byte);
                return Some(End::NotTls);
            }
        }
        let Some(config) = self.node.live.tls.clone() else { return Some(End::Stopping) };
        self.leases.lease_tls().await;
        if let Err(failure) = self.io.accept_tls(config).await {
            self.report_handshake(&failure);
            return Some(End::HandshakeFailed);
        }
        if let Some(session) = self.io.tls() {
            let leaf = session.peer_certificates().and_then(|chain| chain.first());
            self.peer.certificate = leaf.map(|leaf| Box::new(CertificateNames::of(leaf)));
            self.node.env.gauges.counters.tls_handshakes.increment();
            debug!(
                peer = %self.peer.address,
                version = session.protocol_version().and_then(|version| version.as_str()),
                suite = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
                certificate = self.peer.certificate.as_ref().map(|names| names.subject.as_str()),
                "tls handshake completed"
            );
        }
        None
    }

    fn report_handshake(&mut self, failure: &HandshakeFailure) {
        // Each cause has a line: an administrator who sets up a peer meets one after the other.
        let summary = failure.summary();
        self.count_denial(Denial::TlsHandshake(summary.clone()));
        if let Some(unlogged) = self.worth_a_line(Class::Denial, failure.kind(), summary) {
            failure.log(self.peer.address, "dicom", unlogged);
        }
    }
}
