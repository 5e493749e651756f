//! Why no path leads from a peer's certificate to a listed authority (RFC 5280 §6), in the words of an administrator.

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;

use super::certificate_facts::CertificateFacts;

/// Most certificates above its own that are looked at; a peer may send any number.
const MAX_SENT: usize = 16;

/// What the validation of paths has no error of its own for, by the name that the library gives it.
const OTHERS: [(&str, &str); 6] = [
    ("PathLenConstraintViolated", "more authorities stand above it than one of them permits (pathlen)"),
    ("NameConstraintViolation", "an authority above it may not vouch for its names (nameConstraints)"),
    ("EndEntityUsedAsCa", "the certificate above it is no authority's (CA:FALSE)"),
    ("UnsupportedCriticalExtension", "it, or a certificate above it, has a critical extension that is not known here"),
    ("MaximumPathDepthExceeded", "too many certificates stand between it and its authority"),
    ("InvalidSerialNumber", "its serial number is not one by RFC 5280 §4.1.2.2"),
];

/// The names of the configuration keys, for the log.
#[derive(Clone, Copy, Debug)]
pub struct ClientKeys {
    /// The key of the file with the certificates that count.
    pub client_ca: &'static str,
    /// The key of the revocation lists.
    pub client_crls: &'static str,
}

/// A certificate, and what its peer sent with it.
pub(super) struct Path<'a> {
    pub(super) facts: &'a CertificateFacts,
    pub(super) sent: &'a [CertificateDer<'a>],
    /// Seconds since the epoch.
    pub(super) now_s: i64,
    pub(super) keys: ClientKeys,
}

impl Path<'_> {
    /// Cause and remedy of what path validation says.
    pub(super) fn explained(&self, error: &CertificateError) -> (String, String) {
        let Self { facts, now_s, keys: ClientKeys { client_ca, client_crls }, .. } = *self;
        let issue = || "have it issued anew".to_owned();
        match error {
            CertificateError::Revoked => (
                format!("a list of {client_crls} revokes it, or a certificate above it"),
                "give the peer a new certificate".to_owned(),
            ),
            CertificateError::UnknownRevocationStatus => (
                format!("no list of {client_crls} is of its issuer, or of one above it"),
                format!("add the current list of that authority to {client_crls}"),
            ),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
                "its extended key usage does not include the authentication of clients".to_owned(),
                format!(
                    "have it issued anew with extendedKeyUsage=clientAuth, or add it to the file of {client_ca} itself"
                ),
            ),
            other => match (facts.out_of_date(now_s), self.fault_above()) {
                (Some(cause), _) => (cause, "renew it, and check the clocks of both".to_owned()),
                (None, Some((above, why))) => (
                    format!(
                        "the certificate above it ({}, serial {}) does not count: {why}",
                        above.subject, above.serial
                    ),
                    "have that one issued anew, and give it to the peer with its own".to_owned(),
                ),
                (None, None) => match other {
                    CertificateError::UnknownIssuer => (
                        format!(
                            "its issuer is not listed in {client_ca}, and the peer sends no certificate that leads to one that is"
                        ),
                        format!(
                            "if this is the peer it says, add the certificate of its issuer, or its own, to the file of {client_ca}"
                        ),
                    ),
                    CertificateError::BadSignature => (
                        format!("the signature on it is not by the authority of that name in {client_ca}"),
                        format!(
                            "compare the issuer's certificate with that in the file of {client_ca}: another one may have the same name"
                        ),
                    ),
                    CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. } => (
                        format!("an authority above it, in the file of {client_ca}, is out of date"),
                        "renew the authority's certificate, and check the clock of this machine".to_owned(),
                    ),
                    CertificateError::UnsupportedSignatureAlgorithmContext { .. }
                    | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
                        "it, or a certificate above it, is signed with an algorithm that is not served".to_owned(),
                        issue(),
                    ),
                    other => (invalid(other), issue()),
                },
            },
        }
    }

    /// The first certificate on the way up that the peer sent and that no path can have, and why.
    fn fault_above(&self) -> Option<(CertificateFacts, String)> {
        let sent = || self.sent.iter().take(MAX_SENT).filter_map(|certificate| CertificateFacts::of(certificate));
        let mut issuer = self.facts.issuer.clone();
        for _ in 0..self.sent.len().min(MAX_SENT) {
            let above = sent().find(|above| above.subject == issuer)?;
            if let Some(why) = fault_of(&above, self.now_s) {
                return Some((above, why));
            }
            if above.is_self_issued {
                return None;
            }
            issuer = above.issuer;
        }
        None
    }
}

fn fault_of(authority: &CertificateFacts, now_s: i64) -> Option<String> {
    // The signature of an authority on its own certificate proves nothing, and nothing depends on it.
    let weak_signature = if authority.is_self_issued { None } else { authority.weak_signature.clone() };
    let weak = authority.weak_key.clone().or(weak_signature);
    let no_authority = || (!authority.is_ca).then(|| "it does not say that it is an authority's (CA:TRUE)".to_owned());
    weak.or_else(|| authority.out_of_date(now_s)).or_else(no_authority)
}

fn invalid(error: &CertificateError) -> String {
    let of_library = error.to_string();
    let known = OTHERS.iter().find(|(name, _)| of_library.contains(name)).map(|(_, words)| (*words).to_owned());
    known.unwrap_or_else(|| format!("no valid path leads to an authority ({of_library})"))
}
