//! The errors of reading a pattern.

use crate::address::NetworkError;

/// An entry of a rule's `certificate` list that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A part without a kind.
    #[error(
        "certificate: {0:?} names no attribute (\"CN=…\") and no kind (\"DNS:…\", \"IP:…\", \"URI:…\", \"email:…\", \"SPKI:sha256:…\"); \
         a comma inside a value is written \\,"
    )]
    NoKind(String),
    /// An attribute that is not known.
    #[error(
        "certificate: {0:?}: {1:?} is not the name of an attribute; use CN, O, OU, C, L, ST, STREET, DC, UID, T, GN, SN, serialNumber, \
         emailAddress or an object identifier such as 2.5.4.3, without wildcards"
    )]
    UnknownAttribute(String, String),
    /// A wildcard in front of an attribute, as in a pattern over the text of a whole subject.
    #[error(
        "certificate: {0:?}: {1:?} is not the name of an attribute: each attribute is compared alone, so write {2:?}, with a wildcard in \
         the value only"
    )]
    Wildcard(String, String, String),
    /// An address that is none.
    #[error("certificate: {0:?} can never match: {1}")]
    Network(String, NetworkError),
    /// A part without a value.
    #[error("certificate: {0:?} has no value")]
    NoValue(String),
    /// A character that could be a separator.
    #[error(
        "certificate: {0:?}: a {1:?} in a value is ambiguous; write \\{1} for the character itself, and a comma between attributes that \
         must all match"
    )]
    Separator(String, char),
    /// A backslash before what it cannot escape.
    #[error(
        "certificate: {0:?}: a backslash must be followed by a special character or two hexadecimal digits of an ASCII character"
    )]
    Escape(String),
    /// A value that no certificate can have.
    #[error("certificate: {0:?} can never match: {1}")]
    Never(String, &'static str),
}
