//! `[commitment]` and `[[peer]]`: storage commitment, and the peers that this node calls.

use std::net::Ipv6Addr;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tidegate_actors::{CertificateFacts, CommitmentSettings, PeerSettings, Verify};

use super::checks::Checks;
use super::keys::{self, Raw};
use super::pem::{certificates, key};
use super::tls::key_error;

/// Most peers. Each report looks for its peer among them.
const MAX_PEERS: usize = 1000;
/// Longest AE title (PS3.5 §6.2).
const MAX_TITLE_CHARACTERS: usize = 16;
/// Longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST_CHARACTERS: usize = 253;

pub(super) fn commitment(raw: &Raw, checks: &mut Checks<'_>) -> Option<CommitmentSettings> {
    let keys::Commitment { enabled, verify, retry_for, commit_when } = &raw.commitment;
    let verify = checks.chosen("commitment.verify", verify, &[("size", Verify::Size), ("digest", Verify::Digest)]);
    if let Some(first) = commit_when.first() {
        let complaint = format!(
            "{first:?} names no destination: this version forwards nothing; leave the list empty, and an instance is committed when it is \
             stored here"
        );
        checks.refuse("commitment.commit_when", &complaint);
    }
    let peers = peers(raw, checks);
    if *enabled && raw.catalogue.path.trim() == "off" {
        let unused = if peers.is_empty() { "" } else { ", and no [[peer]] is called" };
        let complaint = format!(
            "leaves no storage commitment: nothing knows what is stored{unused}; set commitment.enabled = false if that is meant"
        );
        checks.warn("catalogue.path", &complaint);
    }
    let tls = if peers.iter().any(|peer| peer.is_tls) { Some(tls(&raw.tls, checks)?) } else { None };
    Some(CommitmentSettings { is_enabled: *enabled, verify: verify?, retry_for: retry_for.0, peers, tls })
}

/// The peers; every mistake in them is refused.
fn peers(raw: &Raw, checks: &mut Checks<'_>) -> Vec<PeerSettings> {
    let mut peers: Vec<PeerSettings> = Vec::new();
    if raw.peer.len() > MAX_PEERS {
        checks.refuse("peer", &format!("has more than {MAX_PEERS} peers"));
    }
    for (number, entry) in (1..).zip(raw.peer.iter().take(MAX_PEERS)) {
        let ae_title = entry.ae_title.trim_matches(' ').to_owned();
        let allowed = |c: char| matches!(c, ' '..='~') && c != '\\';
        if !(1..=MAX_TITLE_CHARACTERS).contains(&ae_title.len()) || !ae_title.chars().all(allowed) {
            let complaint = "must be 1 to 16 characters of printable ASCII without backslash";
            checks.refuse_peer(number, "ae_title", complaint);
        }
        if let Some(earlier) = peers.iter().position(|earlier| earlier.ae_title == ae_title) {
            let complaint = format!("is the AE title of peer {} before it: a title has one address", earlier + 1);
            checks.refuse_peer(number, "ae_title", &complaint);
        }
        let (host, port) = match address(&entry.address) {
            Some((host, port)) => (host.to_owned(), port),
            None => {
                let complaint =
                    "must be HOST:PORT, such as \"10.20.0.5:104\", \"ct1.example:11112\" or \"[2001:db8::5]:104\"";
                checks.refuse_peer(number, "address", complaint);
                (String::new(), 0)
            }
        };
        if entry.tls && raw.tls.client_ca.trim().is_empty() {
            let complaint = "requires tls.client_ca: the authorities that must have issued the certificate of the peer";
            checks.refuse_peer(number, "tls", complaint);
        }
        peers.push(PeerSettings { ae_title, host, port, is_tls: entry.tls });
    }
    peers
}

/// Host and port; `None`: it is no such text.
fn address(text: &str) -> Option<(&str, u16)> {
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

/// How peers over TLS are called: their certificates are verified by the authorities of `tls.client_ca`, and the node shows its own.
fn tls(raw: &keys::Tls, checks: &mut Checks<'_>) -> Option<Arc<ClientConfig>> {
    if raw.client_ca.trim().is_empty() {
        return None; // refused with the peer
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(("tls.client_ca", &raw.client_ca), checks)? {
        if let Err(error) = roots.add(certificate) {
            checks.refuse("tls.client_ca", &format!("has a certificate that cannot be trusted: {error}"));
            return None;
        }
    }
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| checks.refuse("tls.client_ca", &error.to_string()))
        .ok()?
        .with_root_certificates(roots);
    if raw.certificate.trim().is_empty() && raw.key.trim().is_empty() {
        return Some(Arc::new(client.with_no_client_auth()));
    }
    let certificates = certificates(("tls.certificate", &raw.certificate), checks);
    let key = key(("tls.key", &raw.key), checks);
    let certificates = certificates?;
    let facts = certificates.first().and_then(|leaf| CertificateFacts::of(leaf));
    if facts.as_ref().is_some_and(|facts| !facts.is_for_clients) {
        let complaint = "has an extended key usage without client authentication: peers with tls = true, which the node calls for reports, \
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
