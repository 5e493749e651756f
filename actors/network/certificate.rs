//! Reads the names in a certificate.

use sha2::{Digest, Sha256};
use tidegate_access::certificate::readable;
use tidegate_access::{Certificate, CertificateName, NameKind};
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest name in bytes. A rule must not match part of a name: a certificate with a longer one is incomplete.
const MAX_NAME_BYTES: usize = 1024;
/// Most names. A certificate with more is incomplete.
const MAX_NAMES: usize = 64;

const SMTP_UTF8_MAILBOX: &str = "1.3.6.1.5.5.7.8.9";

/// The names in a peer's certificate. Their strings come from the issuer: escape them before printing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The subject as text, for the log and the audit, in the certificate's order.
    pub subject: String,
    /// The names that access rules compare.
    pub certificate: Certificate,
}

impl CertificateNames {
    /// Reads the names of a certificate in DER. A certificate that cannot be parsed has none, and is incomplete.
    pub fn of(der: &[u8]) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(der) else {
            return Self { subject: String::new(), certificate: incomplete("the certificate cannot be parsed") };
        };
        let subject =
            Some(parsed.subject().to_string()).filter(|text| text.len() <= MAX_NAME_BYTES).unwrap_or_default();
        Self { subject, certificate: names(&parsed) }
    }
}

fn incomplete(reason: &'static str) -> Certificate {
    Certificate { names: Vec::new(), incomplete: Some(reason) }
}

fn names(parsed: &X509Certificate<'_>) -> Certificate {
    let attributes = parsed.subject().iter_attributes().map(|attribute| CertificateName {
        kind: NameKind::Attribute(attribute.attr_type().to_id_string()),
        value: decoded(attribute.attr_value()),
    });
    let mut certificate = Certificate::default();
    let mut add = |name: CertificateName| {
        if name.value.as_ref().is_some_and(|value| value.len() > MAX_NAME_BYTES) {
            certificate.incomplete = Some("the certificate has a name of more than 1024 bytes");
        } else if certificate.names.len() >= MAX_NAMES {
            certificate.incomplete = Some("the certificate has more than 64 names");
        } else {
            certificate.names.push(name);
        }
    };
    // The key first: it is compared even if the names are too many.
    let digest = Sha256::digest(parsed.public_key().raw);
    let hexadecimal = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    add(CertificateName { kind: NameKind::PublicKey, value: Some(hexadecimal) });
    attributes.for_each(&mut add);
    let is_valid = match parsed.subject_alternative_name() {
        Ok(Some(names)) => {
            let names = &names.value.general_names;
            names.iter().filter_map(alternative).for_each(&mut add);
            !names.iter().any(|name| matches!(name, GeneralName::Invalid(..)))
        }
        Ok(None) => true,
        Err(_) => false,
    };
    if !is_valid {
        certificate.incomplete = Some("the certificate has alternative names that cannot be parsed");
    }
    certificate
}

/// A string of the subject. An encoding that programs read in different ways is not read.
fn decoded(value: &Any<'_>) -> Option<String> {
    let ascii = || str::from_utf8(value.data).ok().filter(|text| text.is_ascii()).map(str::to_owned);
    let text = match value.tag() {
        Tag::Utf8String => str::from_utf8(value.data).ok().map(str::to_owned),
        // T.61 has letters beyond ASCII, which many programs take for Latin-1.
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString | Tag::T61String => ascii(),
        Tag::BmpString => {
            let (units, rest) = value.data.as_chunks();
            let text = String::from_utf16(&units.iter().map(|unit| u16::from_be_bytes(*unit)).collect::<Vec<_>>());
            text.ok().filter(|_| rest.is_empty())
        }
        Tag::UniversalString => {
            let (units, rest) = value.data.as_chunks();
            let text = units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect();
            Option::<String>::filter(text, |_| rest.is_empty())
        }
        _ => None,
    };
    text.filter(|text| readable(text))
}

fn alternative(name: &GeneralName<'_>) -> Option<CertificateName> {
    // IA5String: ASCII (RFC 5280 §4.2.1.6).
    let text = |text: &str| Some(text.to_owned()).filter(|text| text.is_ascii() && readable(text));
    let (kind, value) = match name {
        GeneralName::DNSName(name) => (NameKind::Dns, text(name)),
        GeneralName::RFC822Name(name) => (NameKind::Email, text(name)),
        GeneralName::URI(uri) => (NameKind::Uri, text(uri)),
        GeneralName::IPAddress(bytes) => {
            let address: Option<std::net::IpAddr> = match <[u8; 4]>::try_from(*bytes) {
                Ok(v4) => Some(v4.into()),
                Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(Into::into),
            };
            (NameKind::Ip, address.map(|address| address.to_canonical().to_string()))
        }
        // An e-mail address beyond ASCII (RFC 9598), which is compared with none.
        GeneralName::OtherName(oid, _) if oid.to_id_string() == SMTP_UTF8_MAILBOX => (NameKind::Email, None),
        _ => return None,
    };
    Some(CertificateName { kind, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_programs_read_in_different_ways_are_not_read() {
        for (tag, data, text) in [
            (Tag::Utf8String, "Müller".as_bytes(), Some("Müller")),
            (Tag::Utf8String, b"M\xFCller", None),
            (Tag::PrintableString, b"evil", Some("evil")),
            (Tag::PrintableString, b"M\xFCller", None),
            (Tag::Ia5String, b"evil\0.ct.example", None),
            (Tag::T61String, b"evil", Some("evil")),
            (Tag::T61String, b"M\xC8uller", None),
            (Tag::BmpString, b"\0e\0v\0i\0l", Some("evil")),
            (Tag::BmpString, b"\0M\0\xFC", Some("Mü")),
            (Tag::BmpString, b"\0e\0v\0i\0", None),
            (Tag::BmpString, b"\xD8\0\0e", None),
            (Tag::UniversalString, b"\0\0\0e", Some("e")),
            (Tag::UniversalString, b"\0\x11\0\0", None),
            (Tag::OctetString, b"evil", None),
            (Tag::Utf8String, b"", None),
        ] {
            let any = Any::from_tag_and_data(tag, data);
            assert_eq!(decoded(&any).as_deref(), text, "{tag:?} {data:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_incomplete() {
        assert!(CertificateNames::of(b"nonsense").certificate.incomplete.is_some());
    }
}
