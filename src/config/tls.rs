//! Certificates, keys and trusted authorities: from the files of `[tls]` and `[admin]` to the configuration of rustls.
//!
//! The profile is the "Modified BCP 195" one of PS3.15 §B.12: TLS 1.2 and 1.3, and of 1.2 only suites with ephemeral keys and authenticated
//! encryption. rustls has no others. Sessions are not resumed: each association needs a full handshake, so a certificate that is revoked or
//! no longer trusted is refused from the next association on.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use tidegate_actors::{CertificateFacts, ClientKeys, ClientVerifier, ClientVerifierError, rfc3339};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::checks::Checks;
use super::keys;
use super::pem::{certificates, key, reason, refuse_file};
use crate::admin::dns_names;

/// The requirement of a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    /// No certificate is requested.
    None,
    /// A certificate is requested; if one is presented, it is verified.
    Optional,
    /// Without a trusted certificate, the handshake fails.
    Required,
}

/// The node's own certificate, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnCertificate {
    pub(crate) subject: String,
    pub(crate) not_after: String,
    /// Of its DER, the first bytes, in hexadecimal: tells two with one subject apart.
    pub(crate) serial: String,
    pub(crate) client_auth: ClientAuth,
    /// The hosts that it names.
    pub(crate) dns_names: Vec<String>,
    /// Begin and end of its validity, in seconds since the epoch.
    pub(crate) not_before_s: i64,
    pub(crate) not_after_s: i64,
}

/// A certificate with less time left is about to expire: a month, in seconds.
pub(crate) const EXPIRES_SOON_S: i64 = 30 * 86_400;

/// A list of revoked certificates, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevocationList {
    pub(crate) path: String,
    pub(crate) issuer: String,
    /// `None`: the list has no such date.
    pub(crate) next_update: Option<String>,
    /// Whether that date has passed.
    pub(crate) is_overdue: bool,
}

/// The TLS configuration of a server, and its description.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    /// The verifier of client certificates that is in `server`.
    pub(crate) client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(crate) own: OwnCertificate,
    pub(crate) revocation_lists: Vec<RevocationList>,
}

/// The configured files, each with the key that names it.
pub(super) struct Files<'a> {
    pub(super) certificate: (&'static str, &'a str),
    pub(super) key: (&'static str, &'a str),
    pub(super) client_auth: ClientAuth,
    pub(super) client_ca: (&'static str, &'a str),
    pub(super) client_crls: (&'static str, &'a [String]),
}

/// Reads the files that `[tls]` names.
pub(super) fn tls(raw: &keys::Tls, checks: &mut Checks<'_>) -> Option<Tls> {
    let client_auth = checks.chosen(
        "tls.client_auth",
        &raw.client_auth,
        &[("none", ClientAuth::None), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)],
    )?;
    let files = Files {
        certificate: ("tls.certificate", &raw.certificate),
        key: ("tls.key", &raw.key),
        client_auth,
        client_ca: ("tls.client_ca", &raw.client_ca),
        client_crls: ("tls.client_crls", &raw.client_crls),
    };
    load(&files, checks)
}

/// Reads the files. A file that cannot be used becomes a problem of its key.
pub(super) fn load(files: &Files<'_>, checks: &mut Checks<'_>) -> Option<Tls> {
    let client_auth = files.client_auth;
    let certificates = certificates(files.certificate, checks);
    let own = certificates.as_ref().and_then(|chain| own_certificate(files.certificate, chain, client_auth, checks));
    let key = key(files.key, checks);
    let mut revocation_lists = Vec::new();
    let verifier: Option<Arc<dyn ClientCertVerifier>> = match client_auth {
        ClientAuth::None => None,
        ClientAuth::Optional | ClientAuth::Required => {
            Some(Arc::new(client_verifier(files, &mut revocation_lists, checks)?))
        }
    };
    let (certificates, own, key) = (certificates?, own?, key?);
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| checks.refuse(files.certificate.0, &error.to_string()))
        .ok()?;
    let builder = match verifier.clone() {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder
        .with_single_cert(certificates, key)
        .map_err(|error| checks.refuse(files.key.0, &key_error(&error, files.certificate.0, &own.subject)))
        .ok()?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Some(Tls { server: Arc::new(server), client_verifier: verifier, own, revocation_lists })
}

/// Why a key cannot be used with its certificate.
pub(super) fn key_error(error: &rustls::Error, certificate: &str, subject: &str) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => format!(
            "is the key of another certificate: the first certificate in {certificate} ({subject}) has another public key; set both to the \
             two files that were made together"
        ),
        error => format!("cannot be used with {certificate} ({subject}): {error}"),
    }
}

fn client_verifier(
    files: &Files<'_>,
    told_lists: &mut Vec<RevocationList>,
    checks: &mut Checks<'_>,
) -> Option<ClientVerifier> {
    let listed = certificates(files.client_ca, checks)?;
    for (number, certificate) in (1..).zip(&listed) {
        if let Some(complaint) = unusable_for_clients(certificate) {
            refuse_file(files.client_ca.0, files.client_ca.1, &format!("certificate {number}{complaint}"), checks);
        } else if let Some(facts) = CertificateFacts::of(certificate)
            && let Some(why) = facts.out_of_date(now_s())
        {
            let CertificateFacts { subject, serial, .. } = facts;
            let complaint = format!(
                "certificate {number} ({subject}, serial {serial}): {why}; its peers are refused until it is renewed"
            );
            checks.warn(files.client_ca.0, &complaint);
        }
    }
    let (crls, paths) = files.client_crls;
    let mut lists = Vec::new();
    for path in paths {
        let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(read) if !read.is_empty() => {
                told_lists.extend(read.iter().filter_map(|list| revocation_list(path, list)));
                lists.extend(read);
            }
            Ok(_) => refuse_file(crls, path, "contains no certificate revocation list in PEM", checks),
            Err(error) => refuse_file(crls, path, &reason(&error), checks),
        }
    }
    if !checks.sound(&[crls, files.client_ca.0]) {
        return None;
    }
    let keys = ClientKeys { client_ca: files.client_ca.0, client_crls: crls };
    let is_mandatory = files.client_auth == ClientAuth::Required;
    let verifier = ClientVerifier::new(keys, listed, lists, is_mandatory);
    let verifier = verifier.map_err(|error| match error {
        ClientVerifierError::Certificate(..) => {
            refuse_file(files.client_ca.0, files.client_ca.1, &error.to_string(), checks);
        }
        ClientVerifierError::Lists(_) => checks.refuse(crls, &error.to_string()),
    });
    verifier.ok()
}

/// Why a listed certificate could never count, if it could not.
fn unusable_for_clients(certificate: &[u8]) -> Option<String> {
    let Some(facts) = CertificateFacts::of(certificate) else { return Some(" cannot be parsed".to_owned()) };
    // The signature of an authority on its own certificate proves nothing, and nothing depends on it.
    let weak_signature = if facts.signs_certificates { None } else { facts.weak_signature.as_ref() };
    let why = facts.weak_key.as_ref().or(weak_signature)?;
    let CertificateFacts { subject, serial, .. } = &facts;
    Some(format!(" ({subject}, serial {serial}): {why}; replace it, or take it out of the file"))
}

/// The longest RSA key that ring signs with, in bits.
const MAX_SIGNING_RSA_BITS: usize = 4096;

/// Why peers would refuse the node's own certificate, or the node could not use it, and what to do.
fn unusable_for_a_server(facts: &CertificateFacts) -> Option<String> {
    if let Some(why) = &facts.weak_key {
        return Some(why.clone());
    }
    if let Some(bits) = facts.rsa_bits.filter(|bits| *bits > MAX_SIGNING_RSA_BITS) {
        return Some(format!(
            "its RSA key of {bits} bits is too long to sign with, at most {MAX_SIGNING_RSA_BITS} are served: make a key of P-256, or of RSA with \
             3072 bits, and have a certificate issued for it"
        ));
    }
    (!facts.serves).then(|| {
        "its extended key usage does not allow a server to show it, so every peer refuses it: have it issued anew with \
         extendedKeyUsage=serverAuth, or serverAuth,clientAuth"
            .to_owned()
    })
}

/// `None`: it cannot be parsed; building the verifier then fails.
fn revocation_list(path: &str, der: &[u8]) -> Option<RevocationList> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Some(RevocationList {
        path: path.to_owned(),
        issuer: list.issuer().to_string(),
        next_update: list.next_update().map(rfc3339),
        is_overdue: list.next_update().is_some_and(|at| at.timestamp() < now_s()),
    })
}

/// A time of a certificate as RFC 3339 has it, like every time in the log.
/// Seconds since the epoch.
fn now_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn own_certificate(
    (name, path): (&str, &str),
    chain: &[CertificateDer<'_>],
    client_auth: ClientAuth,
    checks: &mut Checks<'_>,
) -> Option<OwnCertificate> {
    let leaf = chain.first();
    let parsed = leaf.and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let (Some(facts), Some((_, leaf))) = (leaf.and_then(|leaf| CertificateFacts::of(leaf)), parsed) else {
        refuse_file(name, path, "the first certificate cannot be parsed", checks);
        return None;
    };
    let CertificateFacts { subject, not_after, serial, .. } = facts.clone();
    if facts.is_before_version_3 {
        let complaint = format!(
            "the first certificate ({subject}) is X.509 version 1, which TLS peers refuse: version 3 is needed, which `openssl x509 -req` \
             makes with -extfile or -copy_extensions copy"
        );
        refuse_file(name, path, &complaint, checks);
        return None;
    }
    if let Some(why) = unusable_for_a_server(&facts) {
        refuse_file(name, path, &format!("the first certificate ({subject}) cannot be served: {why}"), checks);
        return None;
    }
    for (number, facts) in (1..).zip(chain).filter_map(|(number, der)| Some((number, CertificateFacts::of(der)?))) {
        let Some(why) = facts.weak_signature else { continue };
        let told = format!("certificate {number} ({}): {why}", facts.subject);
        match facts.is_self_issued {
            // Nothing depends on the signature of an authority on itself; a leaf is as good as the list of the peer.
            true if number == 1 => {
                checks.warn(name, &format!("{told}; peers that do not list it themselves refuse it"))
            }
            true => {}
            false => refuse_file(name, path, &format!("{told}; every peer refuses it: have it issued anew"), checks),
        }
    }
    Some(OwnCertificate {
        subject,
        not_after,
        serial,
        client_auth,
        dns_names: dns_names(&leaf),
        not_after_s: *facts.valid_s.end(),
        not_before_s: *facts.valid_s.start(),
    })
}

impl OwnCertificate {
    /// Seconds until it expires; negative: it has expired.
    pub(crate) fn expires_in_s(&self) -> i64 {
        self.not_after_s.saturating_sub(now_s())
    }

    /// What is wrong or soon will be with its dates, for people.
    pub(crate) fn date_warning(&self) -> Option<String> {
        let left_s = self.expires_in_s();
        let Self { subject, not_after, .. } = self;
        if left_s < 0 {
            Some(format!(
                "the certificate ({subject}) has expired on {not_after}: peers that verify it refuse it; renew it"
            ))
        } else if self.not_before_s > now_s() {
            Some(format!("the certificate ({subject}) is not valid yet: look at the clock of this machine"))
        } else if left_s < EXPIRES_SOON_S {
            Some(format!("the certificate ({subject}) expires in {} days, on {not_after}: renew it", left_s / 86_400))
        } else {
            None
        }
    }
}
