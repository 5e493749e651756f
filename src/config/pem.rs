//! Certificates and keys in PEM files.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::checks::Checks;
use super::secret::secret;

/// Reads the certificates of a file.
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
            let found = found(path).map(|found| format!(": {found}")).unwrap_or_default();
            refuse_file(name, path, &format!("contains no certificate in PEM{found}"), checks);
            None
        }
        Err(error) => {
            let complaint = match found(path) {
                Some(found) if !matches!(error, pem::Error::Io(_)) => format!("cannot be read as PEM: {found}"),
                _ => reason(&error),
            };
            refuse_file(name, path, &complaint, checks);
            None
        }
    }
}

/// Reads the private key of a file.
pub(super) fn key((name, path): (&str, &str), checks: &mut Checks<'_>) -> Option<PrivateKeyDer<'static>> {
    if path.trim().is_empty() {
        checks.refuse(name, "must be the path of a file with the private key in PEM");
        return None;
    }
    if let Err(complaint) = secret(path) {
        checks.refuse(name, &complaint);
        return None;
    }
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| match found(path) {
        _ if matches!(error, pem::Error::Io(_)) => reason(&error),
        Some(found) => format!("contains no private key that can be read: {found}"),
        None => match error {
            pem::Error::NoItemsFound => "contains no private key in PEM".to_owned(),
            error => reason(&error),
        },
    });
    key.map_err(|complaint| refuse_file(name, path, &complaint, checks)).ok()
}

/// What is in the file instead, and what to do.
fn found(path: &str) -> Option<&'static str> {
    let bytes = std::fs::read(path).ok()?;
    if is_pkcs12(&bytes) {
        return Some(
            "it is PKCS#12 (.p12, .pfx), which holds certificate and key; `openssl pkcs12 -in FILE -clcerts -nokeys -out node.pem` and \
             `openssl pkcs12 -in FILE -nocerts -nodes -out node.key` take them out, and the mode 0600 protects the key",
        );
    }
    if bytes.first() == Some(&0x30) {
        return Some("it is binary (DER); `openssl pkey -inform DER` or `openssl x509 -inform DER` prints it as PEM");
    }
    let text = String::from_utf8_lossy(&bytes);
    let is_encrypted = text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED");
    let kinds = [
        (
            is_encrypted,
            "the key has a passphrase, and nobody could type it at a start; `openssl pkey -in FILE -out NEW` takes it off, and the mode \
             0600 of the new file protects the key",
        ),
        (text.contains("BEGIN OPENSSH PRIVATE KEY"), "the key is one of OpenSSH; `openssl genpkey` makes one for TLS"),
        (text.contains("PUBLIC KEY"), "it has the public key, and the private one is needed"),
        (
            text.contains("BEGIN CERTIFICATE REQUEST"),
            "it has a request, and the certificate that the authority made of it is needed",
        ),
        (
            text.contains("BEGIN PKCS7") || text.contains("BEGIN CMS"),
            "it is PKCS#7 (.p7b); `openssl pkcs7 -print_certs -in FILE -out NEW` takes the certificates out",
        ),
        (text.contains("BEGIN CERTIFICATE"), "it has a certificate"),
        (text.contains("PRIVATE KEY"), "it has a private key that is damaged, or where a certificate is needed"),
    ];
    kinds.into_iter().find(|(is_it, _)| *is_it).map(|(_, what)| what)
}

/// Whether it is a PFX: a sequence that begins with the version 3 (RFC 7292 §4), which neither a certificate nor a key does.
fn is_pkcs12(bytes: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = bytes else { return false };
    let length_bytes = if *length < 0x80 { 0 } else { usize::from(length & 0x7f) };
    rest.get(length_bytes..).is_some_and(|rest| rest.starts_with(&[2, 1, 3]))
}

/// Refuses the file of a key.
pub(super) fn refuse_file(name: &str, path: impl AsRef<Path>, complaint: &str, checks: &mut Checks<'_>) {
    checks.refuse(name, &format!("{}: {complaint}", path.as_ref().display()));
}

/// The error without rustls' names of its kinds.
pub(super) fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => "contains no such item in PEM".to_owned(),
        other => format!("is not valid PEM, damaged or cut ({other})"),
    }
}
