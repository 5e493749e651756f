//! The names in a certificate.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest name in bytes. A longer one is left out: a rule must not match part of a name.
const MAX_NAME_BYTES: usize = 1024;
/// Most alternative names; the others are left out.
const MAX_NAMES: usize = 64;

/// The subject of a certificate. Its strings come from the issuer: escape them before printing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The subject, such as `CN=ct1, O=Example Hospital`, in the certificate's order.
    pub subject: String,
    /// Subject alternative names, each with its kind: `DNS:ct1.example`, `IP:192.0.2.7`, `URI:…`, `email:…`.
    pub alternatives: Vec<String>,
}

impl CertificateNames {
    /// Reads the names of a certificate in DER; none if it cannot be parsed.
    pub fn of(der: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Self::default() };
        let fits = |name: &String| name.len() <= MAX_NAME_BYTES;
        let alternatives = match certificate.subject_alternative_name() {
            Ok(Some(names)) => {
                names.value.general_names.iter().filter_map(written).filter(fits).take(MAX_NAMES).collect()
            }
            Ok(None) | Err(_) => Vec::new(),
        };
        let subject = Some(certificate.subject().to_string()).filter(fits).unwrap_or_default();
        Self { subject, alternatives }
    }

    /// Subject and alternative names.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.subject).chain(&self.alternatives).map(String::as_str).filter(|name| !name.is_empty())
    }
}

fn written(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::IPAddress(bytes) => {
            let address: Option<std::net::IpAddr> = match <[u8; 4]>::try_from(*bytes) {
                Ok(v4) => Some(v4.into()),
                Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(Into::into),
            };
            address.map(|address| format!("IP:{address}"))
        }
        _ => None,
    }
}
