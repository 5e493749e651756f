//! A failed TLS handshake in the words of an administrator: who, what is wrong, and what to do.

use std::io;
use std::net::SocketAddr;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use tracing::{info, warn};

use super::certificate_facts::CertificateFacts;
use super::client_verifier::{Refused, take_refused};

/// See the module.
#[derive(Debug)]
pub(crate) struct HandshakeFailure {
    /// The certificate that the peer has shown and the node refused.
    certificate: Option<CertificateFacts>,
    cause: String,
    remedy: String,
    /// Whether the peer speaks TLS, so that somebody meant to connect: not the case for scanners and broken connections.
    is_of_a_tls_peer: bool,
    kind: &'static str,
}

impl HandshakeFailure {
    /// Explains the error of the handshake that has just failed on this thread.
    pub(crate) fn of(error: &io::Error) -> Self {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let kind = of_tls.map_or("tls_handshake", kind_of);
        if let Some(refused) = take_refused() {
            let Refused { certificate, cause, remedy } = *refused;
            return Self {
                certificate,
                cause: format!("the peer's certificate is refused: {cause}"),
                remedy,
                is_of_a_tls_peer: true,
                kind,
            };
        }
        let (cause, remedy, is_of_a_tls_peer) = match of_tls {
            Some(error) => explained(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => (
                "the peer closed the connection during the handshake".to_owned(),
                "if it goes on, look into the peer's own log: it may refuse the node's certificate",
                false,
            ),
            None => (error.to_string(), "look at the network between the two, if it goes on", false),
        };
        Self { certificate: None, cause, remedy: remedy.to_owned(), is_of_a_tls_peer, kind }
    }
}

impl HandshakeFailure {
    /// A word for the cause, by which lines are held to be repetitions.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// For the audit.
    pub(crate) fn summary(&self) -> String {
        match &self.certificate {
            Some(certificate) => format!("{} (subject {})", self.cause, certificate.subject),
            None => self.cause.clone(),
        }
    }

    /// Logs the failure. A peer that speaks TLS is one that somebody has set up: its failure is a warning.
    pub(crate) fn log(&self, peer: SocketAddr, port: &'static str, unlogged: u64) {
        let Self { certificate, cause, remedy, is_of_a_tls_peer, .. } = self;
        let facts = certificate.as_ref();
        let (subject, serial) = (facts.map(|facts| &*facts.subject), facts.map(|facts| &*facts.serial));
        let issuer = facts.map(|facts| &*facts.issuer);
        if *is_of_a_tls_peer {
            warn!(%peer, port, subject, serial, issuer, cause, remedy, unlogged, "tls handshake failed");
        } else {
            info!(%peer, port, cause, remedy, unlogged, "tls handshake failed");
        }
    }
}

fn kind_of(error: &Error) -> &'static str {
    match error {
        Error::NoCertificatesPresented => "tls_no_certificate",
        Error::AlertReceived(_) => "tls_alert",
        Error::PeerIncompatible(_) => "tls_incompatible",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => "tls_expired",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "tls_unknown_issuer",
        Error::InvalidCertificate(CertificateError::Revoked) => "tls_revoked",
        Error::InvalidCertificate(CertificateError::InvalidPurpose) => "tls_weak",
        Error::InvalidCertificate(_) => "tls_certificate",
        _ => "tls_handshake",
    }
}

/// Cause, remedy, and whether the peer speaks TLS.
fn explained(error: &Error) -> (String, &'static str, bool) {
    match error {
        Error::NoCertificatesPresented => (
            "the peer shows no certificate, and this port requires one".to_owned(),
            "give the peer a certificate that the file of client_ca lists or whose issuer it lists, with a key of RSA, P-256, P-384 or \
             Ed25519; a client that has one with another key (P-521) shows none",
            true,
        ),
        Error::AlertReceived(alert) => {
            (format!("the peer ends the handshake: {}", alert_words(*alert)), remedy_of(*alert), true)
        }
        Error::PeerIncompatible(what) => {
            (incompatible(what), "update the peer, or let it use TLS 1.2 or 1.3 with the BCP 195 profile", true)
        }
        Error::InvalidMessage(what) => (
            format!("the peer sends no TLS, or a damaged message ({what:?})"),
            "let nothing but the clients of this port reach it",
            false,
        ),
        Error::InvalidCertificate(_) => (
            "the peer cannot prove that the key of its certificate is its own".to_owned(),
            "look whether certificate and key in the peer belong together",
            true,
        ),
        Error::DecryptError => (
            "a message of the peer cannot be decrypted".to_owned(),
            "look at what stands between the two (a firewall that inspects TLS), and at the TLS of the peer",
            true,
        ),
        Error::PeerMisbehaved(what) => (
            format!("the peer breaks the rules of TLS ({what:?})"),
            "update the TLS of the peer, or report it to its vendor with a capture of the handshake",
            true,
        ),
        other => (
            format!("the handshake failed ({other})"),
            "if it goes on, report it with a capture of the handshake",
            true,
        ),
    }
}

pub(super) fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "it does not know the issuer of the node's certificate (unknown_ca)".to_owned(),
        AlertDescription::CertificateExpired => {
            "it finds the node's certificate out of date (certificate_expired)".to_owned()
        }
        AlertDescription::CertificateRevoked => {
            "it finds the node's certificate revoked (certificate_revoked)".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => format!("it refuses the node's certificate ({alert:?})"),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it finds no version, suite or certificate in common (handshake_failure)".to_owned()
        }
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3 (protocol_version)".to_owned(),
        AlertDescription::DecryptError => {
            "it cannot verify that the key of the node's certificate is the node's (decrypt_error)".to_owned()
        }
        AlertDescription::InternalError => "it failed itself (internal_error)".to_owned(),
        AlertDescription::UserCanceled => "it was cancelled there (user_canceled)".to_owned(),
        other => format!("its reason is not one of certificates or versions ({other:?})"),
    }
}

fn remedy_of(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => "add the authority of the node's certificate to those that the peer trusts",
        AlertDescription::CertificateExpired => "renew the node's certificate, and check the clocks of both",
        AlertDescription::CertificateRevoked => "replace the node's certificate and its key",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            "look into the peer's log: its authorities, the host name that it expects in the node's certificate, its clock"
        }
        _ => "look into the peer's log, at its TLS versions, suites and certificates",
    }
}

pub(super) fn incompatible(what: &PeerIncompatible) -> String {
    let words = match what {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired => {
            "no TLS version in common: the peer offers neither 1.2 nor 1.3"
        }
        // TLS 1.2 introduced the extension (RFC 5246 §7.4.1.4.1).
        PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
            "no TLS version in common: the peer names no signature algorithms, so it speaks 1.1 or an older one"
        }
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite in common",
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::EcPointsExtensionRequired => {
            "no cipher suite with a group for ephemeral keys (ECDHE) in common: the peer offers none, or curves that are not served"
        }
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "the peer verifies no signature by the kind of key that the node's certificate has"
        }
        other => return format!("no common parameters of TLS ({other:?})"),
    };
    words.to_owned()
}
