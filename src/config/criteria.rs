//! The criteria of an access rule. A value that no peer can have is refused: it would leave a deny rule open, and an allow rule shut.

use ipnet::IpNet;
use tidegate_access::{CertificatePattern, Criteria, Pattern, address, sop_class_keyword};
use tidegate_protocol::registry::storage_sop_classes;
use tidegate_protocol::syntaxes::{AbstractSyntax, is_uid};

use super::keys::{AccessRule, Raw};
use super::nearest::nearest;

/// Longest AE title (PS3.5 §6.2).
const MAX_TITLE_CHARACTERS: usize = 16;
/// The root of the standard's own UIDs (PS3.5 §9.1).
pub(super) const STANDARD_ROOT: &str = "1.2.840.10008.";

/// Reads the criteria of `rule`, and calls `refuse` with the complaint about each value that cannot match. `raw` has the keys that decide
/// what peers can show.
pub(super) fn criteria(rule: &AccessRule, raw: &Raw, refuse: &mut impl FnMut(&str, String)) -> Criteria {
    let called = |text: &str| {
        let own = raw.node.ae_title.trim_matches(' ');
        title(text).and_then(|pattern| match raw.node.require_called_ae_title && !pattern.matches(own) {
            true => Err(format!(
                "{text:?} can never match: node.require_called_ae_title rejects every title but node.ae_title = {own:?}; correct the one \
                 or the other"
            )),
            false => Ok(pattern),
        })
    };
    if !rule.certificate.is_empty()
        && let Some(complaint) = no_certificates(raw)
    {
        refuse("certificate", format!("can never match: {complaint}"));
    }
    Criteria {
        calling: each("calling", &rule.calling, title, refuse),
        called: each("called", &rule.called, called, refuse),
        from: each("from", &rule.from, network, refuse),
        certificate: each(
            "certificate",
            &rule.certificate,
            |text| CertificatePattern::parse(text).map_err(|error| error.to_string()),
            refuse,
        ),
        sop_class: each("sop_class", &rule.sop_class, |text| sop_class(text, raw), refuse),
    }
}

/// Reads a network.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    address::parse(text).map_err(|error| error.to_string())
}

/// Reads each text; a complaint names the key.
fn each<T>(
    key: &str,
    texts: &[String],
    read: impl Fn(&str) -> Result<T, String>,
    refuse: &mut impl FnMut(&str, String),
) -> Vec<T> {
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        match read(text) {
            Ok(value) => values.push(value),
            Err(complaint) => refuse(key, complaint),
        }
    }
    values
}

/// Why no peer has a certificate, if none has.
fn no_certificates(raw: &Raw) -> Option<&'static str> {
    if raw.tls.listen.trim() == "off" {
        Some(
            "without TLS no peer shows a certificate; set tls.listen, and tls.client_auth to \"required\" or \"optional\"",
        )
    } else if raw.tls.client_auth == "none" {
        Some(
            "with tls.client_auth = \"none\" no peer is asked for a certificate; set it to \"required\" or \"optional\", and tls.client_ca \
             to the file of the certificates that count",
        )
    } else {
        None
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    match text.trim().is_empty() {
        true => Err("a criterion is empty: leave it out to match everything".to_owned()),
        false => Ok(Pattern::new(text)),
    }
}

/// A pattern of AE titles.
fn title(text: &str) -> Result<Pattern, String> {
    let is_part = |c: char| (' '..='~').contains(&c) && c != '\\';
    let least = text.chars().filter(|c| *c != '*').count();
    let never = least > MAX_TITLE_CHARACTERS || !text.chars().all(is_part) || text.trim() != text;
    if never && !text.trim().is_empty() {
        return Err(format!(
            "{text:?} can never match: an AE title has at most {MAX_TITLE_CHARACTERS} characters, no control characters, no backslash \
             and no spaces at its ends (PS3.5 §6.2)"
        ));
    }
    pattern(text)
}

/// A pattern of SOP classes that some instance can have.
fn sop_class(text: &str, raw: &Raw) -> Result<Pattern, String> {
    let pattern = pattern(text)?;
    if storage_sop_classes().any(|class| pattern.matches_sop_class(class.uid)) {
        return Ok(pattern);
    }
    let never = |why: String| Err(format!("{text:?} can never match: {why}"));
    let of_uid = |c: char| c.is_ascii_digit() || matches!(c, '.' | '*' | '?');
    if !text.chars().all(of_uid) {
        return never(match nearest_keyword(text) {
            Some(keyword) => {
                format!("no storage SOP class has this keyword (PS3.6 table A-1); did you mean \"{keyword}\"?")
            }
            None => "it is no UID, and no storage SOP class has such a keyword (PS3.6 table A-1)".to_owned(),
        });
    }
    if !raw.associations.accept_unknown_sop_classes {
        return never(
            "no storage SOP class of the standard has this UID, and associations.accept_unknown_sop_classes = false rejects all others"
                .to_owned(),
        );
    }
    if text.contains(['*', '?']) {
        return match text.chars().filter(|c| *c != '*').count() > 64 {
            true => never("a UID has at most 64 characters (PS3.5 §9.1)".to_owned()),
            false => Ok(pattern),
        };
    }
    if !is_uid(text) || text.split('.').any(str::is_empty) {
        return never(
            "it is no UID: at most 64 characters, numbers with single dots between them (PS3.5 §9.1)".to_owned(),
        );
    }
    match AbstractSyntax::of(text) {
        AbstractSyntax::Verification => {
            never("C-ECHO is served to every peer that is admitted, and stores nothing".to_owned())
        }
        AbstractSyntax::OtherService => {
            never(format!("{} stores no instances", sop_class_keyword(text).unwrap_or("this SOP class")))
        }
        AbstractSyntax::Unknown if text.starts_with(STANDARD_ROOT) => never(format!(
            "the standard has no such storage SOP class; one that is newer than this node is matched by a pattern such as \"{text}*\""
        )),
        AbstractSyntax::Storage | AbstractSyntax::Unknown => Ok(pattern),
    }
}

/// The keyword of a storage SOP class that was probably meant.
fn nearest_keyword(text: &str) -> Option<&'static str> {
    let keywords = storage_sop_classes().filter_map(|class| sop_class_keyword(class.uid));
    nearest(text.trim().trim_matches('*'), keywords)
}
