//! The names in a certificate.

use std::fmt;

use super::error::PatternError;
use super::text::{literal, parts};

/// Attributes of a subject that have a short name, with their object identifiers (RFC 4519, RFC 4514 §3, RFC 5280 §A.1).
const ATTRIBUTES: [(&str, &str); 16] = [
    ("CN", "2.5.4.3"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("SERIALNUMBER", "2.5.4.5"),
    ("T", "2.5.4.12"),
    ("GN", "2.5.4.42"),
    ("SN", "2.5.4.4"),
    ("DNQUALIFIER", "2.5.4.46"),
    ("ORGANIZATIONIDENTIFIER", "2.5.4.97"),
    ("EMAILADDRESS", "1.2.840.113549.1.9.1"),
];
/// Alternative names, and the digest of the public key, by their prefixes.
const PREFIXES: [(&str, NameKind); 5] = [
    ("DNS:", NameKind::Dns),
    ("IP:", NameKind::Ip),
    ("URI:", NameKind::Uri),
    ("email:", NameKind::Email),
    ("SPKI:sha256:", NameKind::PublicKey),
];

/// The kind of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// An attribute of the subject, by its object identifier in dotted form.
    Attribute(String),
    /// Alternative name, dNSName.
    Dns,
    /// Alternative name, iPAddress.
    Ip,
    /// Alternative name, uniformResourceIdentifier.
    Uri,
    /// Alternative name, rfc822Name.
    Email,
    /// SHA-256 of the SubjectPublicKeyInfo, in lower-case hexadecimal.
    PublicKey,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName {
    /// Its kind.
    pub kind: NameKind,
    /// Its value; `None`: there is one, but it cannot be read for sure (an encoding that programs read in different ways, a NUL or another
    /// invisible character).
    pub value: Option<String>,
}

/// The names of one certificate. Their strings come from the issuer: escape them before printing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The names that were read.
    pub names: Vec<CertificateName>,
    /// The reason why there may be names that were not read.
    pub incomplete: Option<&'static str>,
}

impl Certificate {
    /// Reads names as a person writes them, such as `CN=ct1, O=Example Hospital` or `DNS:ct1.example`.
    ///
    /// # Errors
    /// The part that is no name.
    pub fn parse(names: &[impl AsRef<str>]) -> Result<Self, PatternError> {
        let mut certificate = Self::default();
        for name in names {
            for part in parts(name.as_ref()) {
                let (kind, value) = split(part)?;
                let value = literal(part, value)?;
                certificate.names.push(CertificateName { kind, value: readable(&value).then_some(value) });
            }
        }
        Ok(certificate)
    }
}

/// Whether a name with this value says the same to every reader: it has no control character and no invisible one.
pub fn readable(value: &str) -> bool {
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    !value.is_empty() && !value.chars().any(invisible)
}

/// Splits `CN=value` or `DNS:value` into its kind and the text of its value.
pub(super) fn split(part: &str) -> Result<(NameKind, &str), PatternError> {
    for (prefix, kind) in PREFIXES {
        if let Some((start, value)) = part.split_at_checked(prefix.len())
            && start.eq_ignore_ascii_case(prefix)
        {
            return Ok((kind, value.trim()));
        }
    }
    let Some((key, value)) = part.split_once('=') else { return Err(PatternError::NoKind(part.to_owned())) };
    let key = key.trim();
    let known = ATTRIBUTES.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, oid)| (*oid).to_owned());
    let is_oid = key.contains('.')
        && key.starts_with(['0', '1', '2'])
        && key.split('.').all(|arc| {
            arc == "0" || !arc.starts_with('0') && !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit())
        });
    let bare = key.trim_matches(['*', '?']);
    if bare != key && ATTRIBUTES.iter().any(|(name, _)| name.eq_ignore_ascii_case(bare)) {
        return Err(PatternError::Wildcard(part.to_owned(), key.to_owned(), format!("{bare}={}", value.trim())));
    }
    match known.or_else(|| is_oid.then(|| key.to_owned())) {
        Some(oid) => Ok((NameKind::Attribute(oid), value.trim())),
        None => Err(PatternError::UnknownAttribute(part.to_owned(), key.to_owned())),
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NameKind::Attribute(oid) => {
                let short = ATTRIBUTES.iter().find(|(_, known)| known == oid).map_or(oid.as_str(), |(name, _)| name);
                write!(f, "{short}=")?;
            }
            kind => f.write_str(PREFIXES.iter().find(|(_, known)| known == kind).map_or("", |(prefix, _)| prefix))?,
        }
        f.write_str(self.value.as_deref().unwrap_or("(unreadable)"))
    }
}

impl fmt::Display for Certificate {
    /// The names, each on its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { "; " })?;
        }
        match self.incomplete {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}
