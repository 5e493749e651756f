//! Everything before the first PDU: the PROXY header of a balancer and the TLS handshake, within the ARTIM timer of the request
//! (PS3.8 §9.1.4).

use tidegate_protocol::proxy::{self, Source};
use tracing::{debug, info};

use super::connection::Connection;
use super::end::End;
use super::io::Preamble;
use crate::gauges::audit::Denial;
use crate::gauges::incidents::Class;
use crate::network::certificate::CertificateNames;
use crate::network::handshake::HandshakeFailure;
use crate::network::transport::{Port, TLS_HANDSHAKE};
use crate::node::phase::Phase;

/// First byte of an A-ASSOCIATE-RQ (PS3.8 §9.3.2).
const ASSOCIATE_RQ: u8 = 0x01;

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
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => Some(End::Stopping),
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
                self.peer.address = peer;
                self.leases.set_label(format!("connection from {peer}"));
            }
            Ok(Source::Balancer) => {}
            Err(error) => {
                if let Some(unlogged) = self.deny(Denial::NoProxyHeader) {
                    info!(%balancer, %error, unlogged, "connection closed: no valid proxy header from an address in node.proxy_protocol_from");
                }
                return Err(End::NoProxyHeader);
            }
        }
        self.io.enter(Preamble::Nothing);
        self.leases.come_from(self.peer.address.ip());
        Ok(())
    }

    async fn begin_tls(&mut self) -> Option<End> {
        match self.io.first_byte().await {
            Ok(None) => return Some(End::NothingSaid),
            Err(_) => return Some(End::ConnectionLost),
            Ok(Some(TLS_HANDSHAKE)) => self.io.enter(Preamble::TlsHandshake),
            Ok(Some(first_byte)) => {
                if let Some(unlogged) = self.worth_a_line(Class::Stranger, "not_tls") {
                    let remedy = match first_byte {
                        ASSOCIATE_RQ => "set the peer to TLS, or to the port of node.listen",
                        _ => "let only DICOM peers reach tls.listen",
                    };
                    info!(peer = %self.peer.address, first_byte, remedy, unlogged, "no tls on the tls port");
                }
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
                version = ?session.protocol_version(),
                suite = ?session.negotiated_cipher_suite().map(|suite| suite.suite()),
                certificate = self.peer.certificate.as_ref().map(|names| tracing::field::debug(&names.subject)),
                "tls handshake completed"
            );
        }
        None
    }

    fn report_handshake(&mut self, failure: &HandshakeFailure) {
        if let Some(unlogged) = self.deny(Denial::TlsHandshake(failure.summary())) {
            failure.log(self.peer.address, "dicom", unlogged);
        }
    }
}
