//! A pattern over the names of a certificate: the parts of one entry, all of which must match.

use ipnet::IpNet;

use super::error::PatternError;
use super::name::{Certificate, CertificateName, NameKind, split};
use super::text::{Token, attribute, glob, parts, tokens};
use crate::address;

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
    /// For an attribute, a URI or an e-mail address.
    Text(Vec<Token>),
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
        let parts = if text == "*" { Vec::new() } else { parts(&text).map(part).collect::<Result<_, _>>()? };
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
            let of_kind = certificate.names.iter().filter(|name| name.kind == part.kind);
            let best = of_kind.map(|name| part.compare(name)).max().unwrap_or(Match::No);
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
        NameKind::Uri => Wanted::Text(fold_start(tokens(text, value, &[])?, authority_end)),
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
            if !is_host(name) {
                return Err(never(
                    "a DNS name has ASCII labels (xn--… for others), and * stands for one whole label at the left",
                ));
            }
            Wanted::Host { name: name.to_owned(), is_below }
        }
        NameKind::Ip => Wanted::Network(
            address::parse(value)
                .map_err(|_| never("it is no address that a host can have, and no network in the form 10.0.0.0/8"))?,
        ),
        NameKind::PublicKey => {
            let digest = value.to_ascii_lowercase();
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(never("a SHA-256 digest has 64 hexadecimal digits"));
            }
            Wanted::Digest(digest)
        }
    };
    if let Wanted::Text(tokens) = &wanted
        && tokens.iter().any(|token| matches!(token, Token::Char(c) if is_mark(*c) || !super::readable(&c.to_string())))
    {
        return Err(never("it has a control character, an invisible one, or an accent apart from its letter"));
    }
    Ok(Part { kind, wanted })
}

impl Part {
    /// Compares a name of the part's kind.
    fn compare(&self, name: &CertificateName) -> Match {
        let Some(value) = &name.value else { return Match::Doubtful };
        let (is_sure, is_likely) = match &self.wanted {
            Wanted::Text(tokens) => match self.kind {
                NameKind::Attribute(_) => attribute_matches(tokens, value),
                NameKind::Email => email_matches(tokens, value),
                NameKind::Uri | NameKind::Dns | NameKind::Ip | NameKind::PublicKey => uri_matches(tokens, value),
            },
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
    (is_sure, !other_depth && (glob(tokens, &value, anything) || glob(tokens, undotted, anything)) || is_decomposed)
}

/// RFC 9525 §6.3: label by label, without case; `*` stands for one label.
fn host_matches(name: &str, is_below: bool, value: &str) -> (bool, bool) {
    let lower = value.to_ascii_lowercase();
    let value = lower.strip_suffix('.').unwrap_or(&lower);
    let below = value.split_once('.');
    let is_wildcard = value.starts_with("*.");
    let is_valid = is_host(value.strip_prefix("*.").unwrap_or(value));
    let is_sure = is_valid && if is_below { below.is_some_and(|(_, rest)| rest == name) } else { value == name };
    // A certificate for all names below a domain has this one as well.
    let is_covered =
        is_wildcard && name.split_once('.').is_some_and(|(_, rest)| below.is_some_and(|(_, domain)| domain == rest));
    (is_sure, !is_valid || is_covered)
}

/// RFC 3986 §6.2.2.1: scheme and authority have no case. `*` stays within a segment of the path, or a component of the authority.
fn uri_matches(tokens: &[Token], value: &str) -> (bool, bool) {
    let chars: Vec<char> = value.chars().collect();
    let end = authority_end(&chars);
    let exact: Vec<char> =
        chars.iter().enumerate().map(|(i, c)| if i < end { c.to_ascii_lowercase() } else { *c }).collect();
    let is_sure = glob(tokens, &exact, |c| "/?#@:%\\".contains(c));
    let lower = lower(tokens);
    let likely = |text: &str| glob(&lower, &text.to_lowercase().chars().collect::<Vec<_>>(), |_| false);
    (is_sure, likely(value) || likely(&percent_decoded(value)))
}

/// RFC 5280 §7.5: the host part has no case.
fn email_matches(tokens: &[Token], value: &str) -> (bool, bool) {
    let (local, host) = value.rsplit_once('@').unwrap_or((value, ""));
    let exact: Vec<char> = local.chars().chain(['@']).chain(host.to_ascii_lowercase().chars()).collect();
    let all: Vec<char> = value.to_lowercase().chars().collect();
    (glob(tokens, &exact, |c| c == '@'), glob(&lower(tokens), &all, |_| false))
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
    let of_token = |token: &Token| -> Vec<Token> {
        match token {
            Token::Char(c) => c.to_lowercase().map(Token::Char).collect(),
            wildcard => vec![*wildcard],
        }
    };
    tokens.iter().flat_map(of_token).collect()
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

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|pair| *first == b'%' && pair.iter().all(u8::is_ascii_hexdigit));
        let code = pair.and_then(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
