//! A certificate as an administrator looks for it, and the properties for which no peer can use it.

use std::time::{Duration, UNIX_EPOCH};

use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// RSA keys that can be verified, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Object identifiers of public keys and curves (RFC 5480, RFC 8410, RFC 4055).
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const RSA: &str = "1.2.840.113549.1.1.1";
const CURVES: [(&str, &str); 4] = [
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
];
const VERIFIED_CURVES: [&str; 2] = ["P-256", "P-384"];
/// Signature algorithms with a broken digest (RFC 3279, and the old identifier of SHA-1 with RSA).
const WEAK_SIGNATURES: [(&str, &str); 7] = [
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.3.14.3.2.3", "MD5"),
    ("1.2.840.113549.1.1.2", "MD2"),
];

/// What an administrator needs to find a certificate, and to see why it does not serve. The strings come from its issuer: escape them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject, in the certificate's order.
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// Begin and end of its validity, in seconds since the epoch.
    pub valid_s: std::ops::RangeInclusive<i64>,
    /// The begin as text.
    pub not_before: String,
    /// The end as text.
    pub not_after: String,
    /// Whether subject and issuer are one.
    pub is_self_issued: bool,
    /// Version 1 or 2, which has no extensions.
    pub is_before_version_3: bool,
    /// Whether it says `CA:TRUE`.
    pub is_ca: bool,
    /// Whether its key usage names the signing of certificates. `openssl req -x509` makes `CA:TRUE` without it.
    pub signs_certificates: bool,
    /// Whether its extended key usage allows it to be shown by the side that connects; so does a certificate without that extension.
    pub is_for_clients: bool,
    /// Why the node cannot verify a signature by its key, in words.
    pub weak_key: Option<String>,
    /// Why the signature on it proves nothing, in words.
    pub weak_signature: Option<String>,
}

/// A date of a certificate or a revocation list, in RFC 3339.
pub fn rfc3339(at: ASN1Time) -> String {
    let since_epoch = u64::try_from(at.timestamp()).unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since_epoch)).to_string()
}

impl CertificateFacts {
    /// Reads a certificate in DER; `None`: it cannot be parsed.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let signs = parsed.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign());
        let usage = parsed.extended_key_usage().ok().flatten();
        let is_for_clients = usage.is_none_or(|usage| usage.value.any || usage.value.client_auth);
        let validity = parsed.validity();
        Some(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            serial: parsed.raw_serial_as_string(),
            valid_s: validity.not_before.timestamp()..=validity.not_after.timestamp(),
            not_before: rfc3339(validity.not_before),
            not_after: rfc3339(validity.not_after),
            is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            is_before_version_3: parsed.version() != X509Version::V3,
            is_ca: parsed.is_ca(),
            signs_certificates: signs,
            is_for_clients,
            weak_key: weak_key(parsed.public_key()),
            weak_signature: weak_signature(&parsed.signature_algorithm.algorithm),
        })
    }

    /// Why it is not valid at this time, in words.
    pub fn out_of_date(&self, now_s: i64) -> Option<String> {
        if now_s > *self.valid_s.end() {
            Some(format!("it expired on {}", self.not_after))
        } else if now_s < *self.valid_s.start() {
            Some(format!("it is not valid before {}", self.not_before))
        } else {
            None
        }
    }
}

fn weak_signature(algorithm: &Oid<'_>) -> Option<String> {
    let algorithm = algorithm.to_id_string();
    let (_, digest) = WEAK_SIGNATURES.iter().find(|(known, _)| *known == algorithm)?;
    Some(format!("it is signed with {digest}, which can be forged: SHA-256 or better is needed"))
}

fn weak_key(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let kinds = "P-256, P-384, Ed25519, or RSA of at least 2048 bits is needed";
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        ED25519 => None,
        RSA => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if RSA_BITS.contains(&rsa.key_size()) => None,
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() < *RSA_BITS.start() => {
                Some(format!("its RSA key of {} bits is too short: {kinds}", rsa.key_size()))
            }
            Ok(PublicKey::RSA(rsa)) => {
                Some(format!("its RSA key of {} bits is too long: at most 8192 are served", rsa.key_size()))
            }
            _ => Some("its RSA key cannot be parsed".to_owned()),
        },
        EC_PUBLIC_KEY => {
            let curve =
                key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
            let named = curve.as_deref().and_then(|curve| CURVES.iter().find(|(known, _)| *known == curve));
            match named {
                Some((_, name)) if VERIFIED_CURVES.contains(name) => None,
                Some((_, name)) => Some(format!("its key of the curve {name} cannot be verified here: {kinds}")),
                None => Some(format!(
                    "its key of the curve {} cannot be verified here: {kinds}",
                    curve.as_deref().unwrap_or("with explicit parameters")
                )),
            }
        }
        other => Some(format!("its key of the kind {other} cannot be verified here: {kinds}")),
    }
}
