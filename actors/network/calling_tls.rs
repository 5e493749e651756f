//! Words for a TLS handshake that failed where this node is the client: the other side is a destination, a peer or a sink.

use std::io;

use rustls::{CertificateError, Error};

use super::handshake::{alert_words, incompatible};

/// Names of a certificate that are told.
const MAX_NAMES: usize = 8;

/// What failed, and what can be done about it.
pub(super) fn words(error: &io::Error) -> String {
    match of_cause(error) {
        Some(words) => words,
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection during the handshake: it may take no TLS at this port".to_owned()
        }
        None => error.to_string(),
    }
}

/// Why a connection was lost. TLS 1.3 tells of a certificate that it refuses after the handshake.
pub(crate) fn of_loss(error: &io::Error) -> String {
    of_cause(error).unwrap_or_else(|| error.to_string())
}

/// The same, of an error of which TLS is a cause; `None`: it is not.
pub(crate) fn of_cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error holds is not its source.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let of_tls = held.and_then(|held| held.downcast_ref()).or_else(|| error.downcast_ref());
        if let Some(of_tls) = of_tls {
            return Some(explained(of_tls));
        }
        next = error.source();
    }
    None
}

fn explained(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => format!("the peer ends the handshake: {}", alert_words(*alert)),
        Error::PeerIncompatible(what) => incompatible(what),
        Error::InvalidMessage(_) => "the peer sends no TLS: it may take none at this port".to_owned(),
        Error::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
        Error::DecryptError => "a message of the peer cannot be decrypted".to_owned(),
        Error::PeerMisbehaved(what) => format!("the peer breaks the rules of TLS ({what:?})"),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    let words = match error {
        E::UnknownIssuer => {
            "is of an authority that this node does not trust: add the authority to the file of `ca` of the sink, or of `tls.client_ca` for a \
             destination or peer"
        }
        E::Expired | E::ExpiredContext { .. } => "has expired: renew it, and look at the clocks of both",
        E::NotValidYet | E::NotValidYetContext { .. } => "is not valid yet: look at the clocks of both",
        E::NotValidForName => "is not of the name that this node calls: call it by a name in the certificate",
        E::NotValidForNameContext { expected, presented } => return of_another_name(&expected.to_str(), presented),
        E::Revoked => "is revoked: replace it and its key",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "is not made for a server: have one made with that purpose (extended key usage)"
        }
        E::BadSignature => {
            "has a signature that does not fit: it was changed, or another authority has the name of its own"
        }
        E::BadEncoding => "cannot be read: replace it",
        // The verifier has no variant of its own for it.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is that of an authority and of no server: have the authority make one for the server"
        }
        other => return format!("the peer's certificate is refused ({other:?})"),
    };
    format!("the peer's certificate {words}")
}

/// `presented` are names such as `DnsName("a.example")`.
fn of_another_name(expected: &str, presented: &[String]) -> String {
    let name = |text: &String| {
        let inner = text.split_once('(').map_or(text.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').to_owned()
    };
    let names = presented.iter().take(MAX_NAMES).map(name).collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { "none".to_owned() } else { names };
    format!(
        "the peer's certificate is not of {expected}, the name that this node calls; its names are {names}: call it by one of them, or have the \
         name added"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_words_and_not_by_the_name_of_a_variant() {
        let of = |error: Error| words(&io::Error::new(io::ErrorKind::InvalidData, error));
        let issuer = of(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(
            issuer.starts_with("the peer's certificate is of an authority that this node does not trust"),
            "{issuer}"
        );
        let name = CertificateError::NotValidForNameContext {
            expected: rustls::pki_types::ServerName::try_from("pacs.example").unwrap(),
            presented: vec!["DnsName(\"other.example\")".to_owned()],
        };
        let name = of(Error::InvalidCertificate(name));
        assert!(name.contains("not of pacs.example") && name.contains("are other.example:"), "{name}");
        let alert = of(Error::AlertReceived(rustls::AlertDescription::UnknownCA));
        assert!(alert.contains("it does not know the issuer of the node's certificate"), "{alert}");
        let ended = words(&io::Error::from(io::ErrorKind::UnexpectedEof));
        assert!(ended.contains("closed the connection during the handshake"), "{ended}");
    }
}
