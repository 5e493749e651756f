//! Certificates, keys and trusted authorities: from the files of `[tls]` and `[admin]` to the configuration of rustls.
//!
//! The profile is the "Modified BCP 195" one of PS3.15 §B.12: TLS 1.2 and 1.3, and of 1.2 only suites with ephemeral keys and authenticated
//! encryption. rustls has no others. Sessions are not resumed: each association needs a full handshake, so a certificate that is revoked or
//! no longer trusted is refused from the next association on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::checks::Checks;
use super::keys;
use super::secret::secret;
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
    /// Seconds until it expires; negative: it has expired.
    pub(crate) expires_in_s: i64,
}

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
    let key = key(files.key, checks);
    let mut revocation_lists = Vec::new();
    let verifier = match client_auth {
        ClientAuth::None => None,
        ClientAuth::Optional | ClientAuth::Required => Some(client_verifier(files, &mut revocation_lists, checks)?),
    };
    let (certificates, key) = (certificates?, key?);
    let own = own_certificate(files.certificate.0, &certificates, client_auth, checks)?;
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
        .map_err(|error| checks.refuse(files.key.0, &format!("cannot be used with {}: {error}", files.certificate.0)))
        .ok()?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Some(Tls { server: Arc::new(server), client_verifier: verifier, own, revocation_lists })
}

fn client_verifier(
    files: &Files<'_>,
    told_lists: &mut Vec<RevocationList>,
    checks: &mut Checks<'_>,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(files.client_ca, checks)? {
        if let Err(error) = roots.add(certificate) {
            checks.refuse(files.client_ca.0, &format!("has a certificate that cannot be trusted: {error}"));
            return None;
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
    if !checks.sound(&[crls]) {
        return None;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .with_crls(lists);
    if files.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| checks.refuse(crls, &format!("cannot be used: {error}"))).ok()
}

pub(super) fn certificates(
    (name, path): (&str, &str),
    checks: &mut Checks<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    if path.trim().is_empty() {
        checks.refuse(name, "must be the path of a file with certificates in PEM");
        return None;
    }
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        Ok(_) => {
            refuse_file(name, path, "contains no certificate in PEM", checks);
            None
        }
        Err(error) => {
            refuse_file(name, path, &reason(&error), checks);
            None
        }
    }
}

pub(super) fn key((name, path): (&str, &str), checks: &mut Checks<'_>) -> Option<PrivateKeyDer<'static>> {
    if path.trim().is_empty() {
        checks.refuse(name, "must be the path of a file with the private key in PEM");
        return None;
    }
    if let Err(complaint) = secret(path) {
        checks.refuse(name, &complaint);
        return None;
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| refuse_file(name, path, &reason(&error), checks)).ok()
}

/// `None`: it cannot be parsed; building the verifier then fails.
fn revocation_list(path: &str, der: &[u8]) -> Option<RevocationList> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Some(RevocationList {
        path: path.to_owned(),
        issuer: list.issuer().to_string(),
        next_update: list.next_update().map(iso),
        is_overdue: list.next_update().is_some_and(|at| at.timestamp() < now_s()),
    })
}

/// A time of a certificate as RFC 3339 has it, like every time in the log.
fn iso(at: ASN1Time) -> String {
    let since_epoch = u64::try_from(at.timestamp()).unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since_epoch)).to_string()
}

/// Seconds since the epoch.
fn now_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn own_certificate(
    name: &str,
    chain: &[CertificateDer<'_>],
    client_auth: ClientAuth,
    checks: &mut Checks<'_>,
) -> Option<OwnCertificate> {
    let Some(Ok((_, leaf))) = chain.first().map(|leaf| X509Certificate::from_der(leaf)) else {
        checks.refuse(name, "the first certificate cannot be parsed");
        return None;
    };
    Some(OwnCertificate {
        subject: leaf.subject().to_string(),
        not_after: iso(leaf.validity().not_after),
        serial: leaf.raw_serial_as_string(),
        client_auth,
        dns_names: dns_names(&leaf),
        expires_in_s: leaf.validity().not_after.timestamp() - now_s(),
    })
}

fn refuse_file(name: &str, path: impl AsRef<Path>, complaint: &str, checks: &mut Checks<'_>) {
    checks.refuse(name, &format!("{}: {complaint}", path.as_ref().display()));
}

/// The error without rustls' names of its kinds.
fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => "contains no such item in PEM".to_owned(),
        other => format!("is not valid PEM: {other}"),
    }
}
