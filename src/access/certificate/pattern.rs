//! A pattern over the names of a certificate: the parts of one entry, all of which must match.

use ipnet::IpNet;

use super::error::PatternError;
use super::name::{Certificate, CertificateName, NameKind, split};
use super::text::{Token, attribute, glob, parts, tokens};
use super::uri::{self, normalised};
use crate::address;

/// The attribute emailAddress (RFC 2985).
const EMAIL_ATTRIBUTE: &str = "1.2.840.113549.1.9.1";
/// Longest name that is compared.
const MAX_NAME_CHARS: usize = 1024;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// It does not match.
    No,
    /// It may match: the name cannot be read for sure, or it differs only in a way that other programs ignore.
    Doubtful,
    /// It matches.
    Yes,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificatePattern {
    text: String,
    /// Empty: any certificate.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    kind: NameKind,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// For an attribute or an e-mail address.
    Text(Vec<Token>),
    /// For a URI: as written but for the case of its authority, and in normal form.
    Uri {
        exact: Vec<Token>,
        normal: Vec<Token>,
    },
    /// A host name without a final dot, in lower case. With `is_below`, any one label stands before it.
    Host {
        name: String,
        is_below: bool,
    },
    Network(IpNet),
    Digest(String),
}

impl CertificatePattern {
    /// Reads an entry: `*`, or parts such as `CN=*.ct.example, O=Hospital`.
    ///
    /// # Errors
    /// The part that is ambiguous or can never match.
    pub fn parse(entry: &str) -> Result<Self, PatternError> {
        let text = entry.trim().to_owned();
        let parts: Vec<Part> =
            if text == "*" { Vec::new() } else { parts(&text).map(part).collect::<Result<_, _>>()? };
        let mut keys = parts.iter().filter(|part| part.kind == NameKind::PublicKey);
        if keys.next().is_some_and(|first| keys.any(|other| other != first)) {
            return Err(PatternError::Never(text, "a certificate has one public key; write an entry for each"));
        }
        Ok(Self { text, parts })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the certificate has a name for each part.
    pub fn matches(&self, certificate: &Certificate) -> Match {
        let is_complete = certificate.incomplete.is_none();
        let of_part = |part: &Part| {
            let compared = certificate.names.iter().filter_map(|name| match name.kind == part.kind {
                true => Some(part.compare(name)),
                // Some programs read an e-mail address in either place.
                false => {
                    (part.is_of_mail() && is_mail(&name.kind)).then(|| part.compare_mail(name).min(Match::Doubtful))
                }
            });
            let best = compared.max().unwrap_or(Match::No);
            if is_complete || part.kind == NameKind::PublicKey { best } else { Match::Doubtful }
        };
        let anything = if is_complete { Match::Yes } else { Match::Doubtful };
        self.parts.iter().map(of_part).min().unwrap_or(anything)
    }
}

fn part(text: &str) -> Result<Part, PatternError> {
    let (kind, value) = split(text)?;
    let never = |why| PatternError::Never(text.to_owned(), why);
    if value.is_empty() {
        return Err(PatternError::NoValue(text.to_owned()));
    }
    let wanted = match &kind {
        NameKind::Attribute(_) => Wanted::Text(folded(&attribute(text, value)?)),
        NameKind::Uri => uri(text, tokens(text, value, &[])?)?,
        NameKind::Email => {
            let tokens = tokens(text, value, &[])?;
            let at = tokens.iter().rposition(|token| *token == Token::Char('@'));
            if !at.is_some_and(|at| at > 0 && at + 1 < tokens.len()) {
                return Err(never("an e-mail address has an @ with text on both sides"));
            }
            Wanted::Text(fold_end(tokens))
        }
        NameKind::Dns => {
            let lower = value.to_ascii_lowercase();
            let is_below = lower.starts_with("*.");
            let name = lower.strip_prefix("*.").unwrap_or(&lower);
            let name = name.strip_suffix('.').unwrap_or(name);
            let is_short = name.len() <= 253 && name.split('.').all(|label| label.len() <= 63);
            if !is_host(name) || !is_short {
                return Err(never(
                    "a DNS name has ASCII labels (xn--… for others) of at most 63 characters, and * stands for one whole label at the left",
                ));
            }
            Wanted::Host { name: name.to_owned(), is_below }
        }
        NameKind::Ip => {
            Wanted::Network(address::parse(value).map_err(|error| PatternError::Network(text.to_owned(), error))?)
        }
        NameKind::PublicKey => {
            let digest = value.to_ascii_lowercase();
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(never("a SHA-256 digest has 64 hexadecimal digits"));
            }
            Wanted::Digest(digest)
        }
    };
    let literal = match &wanted {
        Wanted::Text(tokens) | Wanted::Uri { exact: tokens, .. } => tokens.as_slice(),
        Wanted::Host { .. } | Wanted::Network(_) | Wanted::Digest(_) => &[],
    };
    if literal.iter().any(|token| matches!(token, Token::Char(c) if is_mark(*c) || !super::readable(&c.to_string()))) {
        return Err(never("it has a control character, an invisible one, or an accent apart from its letter"));
    }
    if kind == NameKind::Email
        && literal.iter().any(|token| matches!(token, Token::Char(c) if !c.is_ascii() || *c == ' '))
    {
        return Err(never("an e-mail address in a certificate is ASCII (xn--… for other hosts), without spaces"));
    }
    if literal.len() > MAX_NAME_CHARS {
        return Err(never("a name in a certificate has at most 1024 bytes"));
    }
    Ok(Part { kind, wanted })
}

/// The tokens of a URI. One that has no scheme, or that programs read in different ways, is refused.
fn uri(text: &str, exact: Vec<Token>) -> Result<Wanted, PatternError> {
    let as_char = |token: &Token| match token {
        Token::Char(c) => *c,
        Token::One => uri::ONE,
        Token::Any => uri::ANY,
    };
    let as_token = |c: char| match c {
        uri::ONE => Token::One,
        uri::ANY => Token::Any,
        c => Token::Char(c),
    };
    let written: String = exact.iter().map(as_char).collect();
    let has_wildcard_char = exact.iter().any(|token| matches!(token, Token::Char(uri::ONE | uri::ANY)));
    let normal = normalised(&written).filter(|_| !has_wildcard_char && !uri::has_dots(&written)).ok_or_else(|| {
        PatternError::Never(
            text.to_owned(),
            "a URI begins with its scheme, as in URI:spiffe://hospital.example/ct/*, and has ASCII characters without spaces, whole \
             escapes and no segments . and ..",
        )
    })?;
    Ok(Wanted::Uri { exact: fold_start(exact, authority_end), normal: normal.chars().map(as_token).collect() })
}

fn is_mail(kind: &NameKind) -> bool {
    match kind {
        NameKind::Email => true,
        NameKind::Attribute(oid) => oid == EMAIL_ATTRIBUTE,
        NameKind::Dns | NameKind::Ip | NameKind::Uri | NameKind::PublicKey => false,
    }
}

impl Part {
    fn is_of_mail(&self) -> bool {
        is_mail(&self.kind)
    }

    /// Compares an e-mail address in the other of its two places.
    fn compare_mail(&self, name: &CertificateName) -> Match {
        let (Wanted::Text(tokens), Some(value)) = (&self.wanted, &name.value) else { return Match::Doubtful };
        match email_matches(tokens, value) {
            (false, false) => Match::No,
            _ => Match::Doubtful,
        }
    }

    /// Compares a name of the part's kind.
    fn compare(&self, name: &CertificateName) -> Match {
        let Some(value) = &name.value else { return Match::Doubtful };
        let (is_sure, is_likely) = match &self.wanted {
            Wanted::Text(tokens) => match self.kind {
                NameKind::Email => email_matches(tokens, value),
                _ => attribute_matches(tokens, value),
            },
            Wanted::Uri { exact, normal } => uri_matches(exact, normal, value),
            Wanted::Host { name, is_below } => host_matches(name, *is_below, value),
            Wanted::Network(network) => match value.parse() {
                Ok(address) => (address::contains(network, address), false),
                Err(_) => (false, true),
            },
            Wanted::Digest(digest) => (digest == value, false),
        };
        match (is_sure, is_likely) {
            (true, _) => Match::Yes,
            (false, true) => Match::Doubtful,
            (false, false) => Match::No,
        }
    }
}

/// X.520 caseIgnoreMatch: without case, spaces at the ends and runs of spaces. A wildcard stands for no separator of names; where a
/// pattern begins with `*.`, a host name is meant, and its wildcards stand for characters of one label.
fn attribute_matches(tokens: &[Token], value: &str) -> (bool, bool) {
    if *tokens == [Token::Any] {
        return (true, true);
    }
    let is_host = tokens.starts_with(&[Token::Any, Token::Char('.')]);
    let value = folded(&value.chars().map(Token::Char).collect::<Vec<_>>());
    let value: Vec<char> =
        value.iter().filter_map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect();
    let barred = |c: char| {
        if is_host { !c.is_ascii_alphanumeric() && c != '-' && c != '_' } else { ",+=;\"<>\\/".contains(c) }
    };
    let is_sure = glob(tokens, &value, barred) && !(is_host && value.first() == Some(&'.'));
    let undotted = value.strip_suffix(&['.']).unwrap_or(&value);
    let anything = |_| false;
    // An accent apart from its letter (Unicode NFD) is the same name to the eye.
    let is_decomposed = value.iter().any(|c| is_mark(*c))
        && tokens.iter().any(|token| matches!(token, Token::Char(c) if !c.is_ascii()));
    let other_depth = is_host && !is_sure && is_host_name(&value);
    let all = |text: &[char]| text.iter().copied().flat_map(all_case).collect::<Vec<_>>();
    let all_tokens = mapped(tokens, all_case);
    let is_likely = glob(&all_tokens, &all(&value), anything) || glob(&all_tokens, &all(undotted), anything);
    (is_sure, !other_depth && is_likely || is_decomposed)
}

/// RFC 9525 §6.3: label by label, without case; `*` stands for one label.
fn host_matches(name: &str, is_below: bool, value: &str) -> (bool, bool) {
    let lower = value.to_ascii_lowercase();
    let value = lower.strip_suffix('.').unwrap_or(&lower);
    let below = value.split_once('.');
    let is_wildcard = value.starts_with("*.");
    let is_valid = is_host(value.strip_prefix("*.").unwrap_or(value));
    // Which host shows a certificate for all below a domain, nobody knows.
    let is_sure =
        is_valid && !is_wildcard && if is_below { below.is_some_and(|(_, rest)| rest == name) } else { value == name };
    // It has this name as well.
    let covers = |name: &str| below.is_some_and(|(_, domain)| domain == name);
    let is_covered =
        is_wildcard && (name.split_once('.').is_some_and(|(_, rest)| covers(rest)) || is_below && covers(name));
    (is_sure, !is_valid || is_covered)
}

/// RFC 3986 §6.2.2.1: scheme and authority have no case. `*` stays within a segment of the path, or a component of the authority.
fn uri_matches(tokens: &[Token], normal: &[Token], value: &str) -> (bool, bool) {
    let Some(normalised) = normalised(value) else { return (false, true) };
    let chars: Vec<char> = value.chars().collect();
    let end = authority_end(&chars);
    let exact: Vec<char> =
        chars.iter().enumerate().map(|(i, c)| if i < end { c.to_ascii_lowercase() } else { *c }).collect();
    // A segment .. would lead out of what a wildcard allows.
    let is_sure = !uri::has_dots(value) && glob(tokens, &exact, |c| "/?#@:%\\".contains(c));
    (is_sure, glob(normal, &normalised.chars().collect::<Vec<_>>(), |_| false))
}

/// RFC 5280 §7.5: the host part has no case.
fn email_matches(tokens: &[Token], value: &str) -> (bool, bool) {
    let (local, host) = value.rsplit_once('@').unwrap_or((value, ""));
    let exact: Vec<char> = local.chars().chain(['@']).chain(host.to_ascii_lowercase().chars()).collect();
    let all: Vec<char> = value.chars().flat_map(all_case).collect();
    (glob(tokens, &exact, |c| c == '@'), glob(&mapped(tokens, all_case), &all, |_| false))
}

/// Lower case, without spaces at the ends and with single ones inside.
fn folded(tokens: &[Token]) -> Vec<Token> {
    let mut folded: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in lower(tokens) {
        let is_space = |token: &Token| matches!(token, Token::Char(c) if c.is_whitespace());
        match token {
            Token::Char(c) if c.is_whitespace() => {
                if folded.last().is_some_and(|last| !is_space(last)) {
                    folded.push(Token::Char(' '));
                }
            }
            token => folded.push(token),
        }
    }
    if folded.last() == Some(&Token::Char(' ')) {
        folded.pop();
    }
    folded
}

fn lower(tokens: &[Token]) -> Vec<Token> {
    mapped(tokens, lower_case)
}

fn mapped<I: Iterator<Item = char>>(tokens: &[Token], map: impl Fn(char) -> I) -> Vec<Token> {
    let of_token = |token: &Token| -> Vec<Token> {
        match token {
            Token::Char(c) => map(*c).map(Token::Char).collect(),
            wildcard => vec![*wildcard],
        }
    };
    tokens.iter().flat_map(of_token).collect()
}

/// Lower case that nobody disputes: a letter beyond ASCII, such as the Kelvin sign, never becomes one of ASCII.
fn lower_case(c: char) -> impl Iterator<Item = char> {
    let changes_script = !c.is_ascii() && c.to_lowercase().any(|lower| lower.is_ascii());
    let lower = (!changes_script).then(|| c.to_lowercase());
    lower.into_iter().flatten().chain(changes_script.then_some(c))
}

/// One form of all that some program takes for the same letter in another case: ß is SS, ı is I (Unicode full case folding, and more).
fn all_case(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Lower case up to the end that `end` finds.
fn fold_start(tokens: Vec<Token>, end: impl Fn(&[char]) -> usize) -> Vec<Token> {
    let as_char = |token: &Token| if let Token::Char(c) = token { *c } else { '*' };
    let end = end(&tokens.iter().map(as_char).collect::<Vec<_>>());
    let (start, rest) = tokens.split_at(end);
    lower(start).into_iter().chain(rest.iter().copied()).collect()
}

/// Lower case from the last `@` on.
fn fold_end(tokens: Vec<Token>) -> Vec<Token> {
    let at = tokens.iter().rposition(|token| *token == Token::Char('@')).unwrap_or(0);
    tokens[..at].iter().copied().chain(lower(&tokens[at..])).collect()
}

/// The end of the authority of a URI, or of its scheme if it has none.
fn authority_end(uri: &[char]) -> usize {
    let Some(colon) = uri.iter().position(|c| *c == ':') else { return 0 };
    if uri.get(colon + 1..colon + 3) != Some(&['/', '/']) {
        return colon;
    }
    let rest = &uri[colon + 3..];
    colon + 3 + rest.iter().position(|c| "/?#".contains(*c)).unwrap_or(rest.len())
}

/// Whether the text is labels of letters, digits, hyphens and underscores.
fn is_host(name: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.split('.').all(is_label)
}

fn is_host_name(value: &[char]) -> bool {
    is_host(&value.iter().collect::<String>())
}

/// A combining mark, which the letter before it carries.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}')
}
