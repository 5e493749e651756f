//! The names in a certificate, and patterns over them. A pattern is compared with one attribute or one alternative name at a time, never
//! with the text of a whole subject: in that text, a value can look like another attribute.
//!
//! A comparison has three results. A name that cannot be read or compared for sure is [`Match::Doubtful`], and a doubt never speaks for
//! the bearer: an allow rule needs [`Match::Yes`], a deny rule matches unless the result is [`Match::No`].

mod error;
mod name;
mod pattern;
mod text;
mod uri;

pub use error::PatternError;
pub use name::{Certificate, CertificateName, NameKind, readable};
pub use pattern::{CertificatePattern, Match};

#[cfg(test)]
mod tests;
