//! What peers and destinations have in common: an AE title, an address, and how they are called over TLS.

use std::net::Ipv6Addr;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tidegate_actors::CertificateFacts;

use super::checks::Checks;
use super::keys;
use super::pem::{certificates, key};
use super::tls::key_error;

/// Longest AE title (PS3.5 §6.2).
const MAX_TITLE_CHARACTERS: usize = 16;
/// Longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST_CHARACTERS: usize = 253;

pub(super) const A_TITLE: &str = "must be 1 to 16 characters of printable ASCII without backslash";
pub(super) const AN_ADDRESS: &str =
    "must be HOST:PORT, such as \"10.20.0.5:104\", \"ct1.example:11112\" or \"[2001:db8::5]:104\"";

/// PS3.5 §6.2: default repertoire without backslash and control characters. Outer spaces do not count.
pub(super) fn is_title(title: &str) -> bool {
    let allowed = |c: char| matches!(c, ' '..='~') && c != '\\';
    (1..=MAX_TITLE_CHARACTERS).contains(&title.len()) && title.chars().all(allowed)
}

/// Host and port; `None`: it is no such text.
pub(super) fn address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().ok().map(|_| literal)?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_right = host.len() <= MAX_HOST_CHARACTERS && ServerName::try_from(host).is_ok();
    is_right.then_some((host, port))
}

/// The authorities in a file, all of which must be usable.
pub(super) fn roots((name, path): (&str, &str), checks: &mut Checks<'_>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates((name, path), checks)? {
        if let Err(error) = roots.add(certificate) {
            checks.refuse(name, &format!("has a certificate that cannot be trusted: {error}"));
            return None;
        }
    }
    Some(roots)
}

/// A client that trusts these authorities.
pub(super) fn client(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(client.with_safe_default_protocol_versions()?.with_root_certificates(roots))
}

/// How peers over TLS are called: their certificates are verified by the authorities of `tls.client_ca`, and the node shows its own.
pub(super) fn tls(raw: &keys::Tls, checks: &mut Checks<'_>) -> Option<Arc<ClientConfig>> {
    if raw.client_ca.trim().is_empty() {
        return None; // refused with what is called over TLS
    }
    let roots = roots(("tls.client_ca", &raw.client_ca), checks)?;
    let client = client(roots).map_err(|error| checks.refuse("tls.client_ca", &error.to_string())).ok()?;
    if raw.certificate.trim().is_empty() && raw.key.trim().is_empty() {
        return Some(Arc::new(client.with_no_client_auth()));
    }
    let certificates = certificates(("tls.certificate", &raw.certificate), checks);
    let key = key(("tls.key", &raw.key), checks);
    let certificates = certificates?;
    let facts = certificates.first().and_then(|leaf| CertificateFacts::of(leaf));
    if facts.as_ref().is_some_and(|facts| !facts.is_for_clients) {
        let complaint = "has an extended key usage without client authentication: peers and destinations with tls = true, which the node calls, \
                         may refuse it; have it issued for both";
        checks.warn("tls.certificate", complaint);
    }
    let subject = facts.map(|facts| facts.subject);
    let client = client.with_client_auth_cert(certificates, key?).map_err(|error| {
        checks.refuse("tls.key", &key_error(&error, "tls.certificate", &subject.unwrap_or_default()));
    });
    client.ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, expected) in [
            ("10.20.0.5:104", Some(("10.20.0.5", 104))),
            ("ct1.example:11112", Some(("ct1.example", 11_112))),
            ("[2001:db8::5]:104", Some(("2001:db8::5", 104))),
            ("2001:db8::5:104", None),
            ("[ct1]:104", None),
            ("ct1", None),
            ("ct1:0", None),
            ("ct1:65536", None),
            (":104", None),
            ("a b:104", None),
            ("", None),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
    }
}
