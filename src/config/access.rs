//! `[[access]]`, `[user_identity]` and the balancers: from the raw tables to access settings.

use std::sync::Arc;

use ipnet::IpNet;
use tidegate_access::{CertificatePattern, Criteria, Pattern, Rule, Rules, Users, address};
use tidegate_actors::{AccessSettings, Terms};
use tidegate_storage::layout::Layout;
use tidegate_storage::{Duplicates, Durability, Placement};

use super::checks::Checks;
use super::keys::{ASSOCIATIONS, AccessRule, Raw};
use super::placements;
use super::secret::trusted;

/// Longest name of a rule, which is written to log lines.
const MAX_NAME_CHARACTERS: usize = 64;
/// Longest AE title (PS3.5 §6.2).
const MAX_TITLE_CHARACTERS: usize = 16;
/// Most rules. Each association is compared with every rule.
const MAX_RULES: usize = 1000;

/// Builds the settings. `storage` has the placement of rules without one of their own; `None` if it is invalid.
pub(super) fn access(
    raw: &Raw,
    storage: Option<&tidegate_storage::Settings>,
    checks: &mut Checks<'_>,
) -> Arc<AccessSettings> {
    let mut rules = Vec::new();
    let mut terms = Vec::new();
    if raw.access.len() > MAX_RULES {
        checks.refuse("access", &format!("has more than {MAX_RULES} rules"));
    }
    for (index, rule) in raw.access.iter().take(MAX_RULES).enumerate() {
        let earlier = raw.access[..index].iter().any(|earlier| earlier.name == rule.name);
        match read(rule, earlier, storage) {
            Ok((rule, granted)) => {
                rules.push(rule);
                terms.push(granted);
            }
            Err(complaint) => {
                checks.refuse("access", &format!("rule {} ({:?}): {complaint}", index + 1, rule.name));
            }
        }
    }
    if let Some(storage) = storage {
        placements::settle(&rules, &mut terms, &storage.placement(), checks);
    }
    Arc::new(AccessSettings {
        rules: Rules::new(rules),
        terms,
        proxies: networks(&raw.node.proxy_protocol_from)
            .map_err(|complaint| checks.refuse("node.proxy_protocol_from", &complaint))
            .unwrap_or_default(),
        users: users(raw, checks),
        require_user: raw.user_identity.required,
    })
}

fn read(
    raw: &AccessRule,
    name_is_taken: bool,
    storage: Option<&tidegate_storage::Settings>,
) -> Result<(Rule, Terms), String> {
    let characters = raw.name.chars().count();
    if !(1..=MAX_NAME_CHARACTERS).contains(&characters) || raw.name.chars().any(char::is_control) {
        return Err(format!("name must have 1 to {MAX_NAME_CHARACTERS} characters, none of them a control character"));
    }
    if name_is_taken {
        return Err("an earlier rule has the same name".to_owned());
    }
    let allows = match raw.action.as_str() {
        "allow" => true,
        "deny" => false,
        other => return Err(format!("action = {other:?} must be \"allow\" or \"deny\"")),
    };
    let AccessRule { max_associations, layout, duplicates, durability, .. } = raw;
    let has_terms = max_associations.is_some() || layout.is_some() || duplicates.is_some() || durability.is_some();
    if !allows && has_terms {
        return Err("a deny rule cannot have max_associations, layout, duplicates or durability".to_owned());
    }
    let criteria = Criteria {
        calling: titles(&raw.calling)?,
        called: titles(&raw.called)?,
        from: networks(&raw.from)?,
        certificate: certificates(&raw.certificate)?,
        sop_class: patterns(&raw.sop_class)?,
    };
    let max_associations = match max_associations {
        None => None,
        Some(limit) => {
            Some(usize::try_from(*limit).ok().filter(|_| ASSOCIATIONS.contains(limit)).ok_or_else(|| {
                format!("max_associations = {limit} must be {} to {}", ASSOCIATIONS.start(), ASSOCIATIONS.end())
            })?)
        }
    };
    let terms = Terms { max_associations, placement: placement(raw, storage)? };
    Ok((Rule { name: raw.name.clone(), criteria, allows }, terms))
}

fn placement(raw: &AccessRule, storage: Option<&tidegate_storage::Settings>) -> Result<Option<Arc<Placement>>, String> {
    if raw.layout.is_none() && raw.duplicates.is_none() && raw.durability.is_none() {
        return Ok(None);
    }
    let word = |name: &str, error: tidegate_storage::UnknownWord| format!("{name}: {error}");
    let layout = raw.layout.as_deref().map(Layout::parse).transpose().map_err(|error| format!("layout: {error}"))?;
    let duplicates: Option<Duplicates> =
        raw.duplicates.as_deref().map(str::parse).transpose().map_err(|error| word("duplicates", error))?;
    let durability: Option<Durability> =
        raw.durability.as_deref().map(str::parse).transpose().map_err(|error| word("durability", error))?;
    // Without storage settings another key is invalid, and the configuration is refused anyway.
    let Some(usual) = storage.map(tidegate_storage::Settings::placement) else { return Ok(None) };
    Ok(Some(Arc::new(Placement {
        layout: layout.unwrap_or(usual.layout),
        duplicates: duplicates.unwrap_or(usual.duplicates),
        durability: durability.unwrap_or(usual.durability),
    })))
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, String> {
    match texts.iter().find(|text| text.trim().is_empty()) {
        Some(_) => Err("a criterion is empty: leave it out to match everything".to_owned()),
        None => Ok(texts.iter().map(|text| Pattern::new(text)).collect()),
    }
}

/// Patterns of AE titles. One that no title can have would leave a deny rule open.
fn titles(texts: &[String]) -> Result<Vec<Pattern>, String> {
    let never = |text: &&String| {
        let is_part = |c: char| (' '..='~').contains(&c) && c != '\\';
        let least = text.chars().filter(|c| *c != '*').count();
        least > MAX_TITLE_CHARACTERS || !text.chars().all(is_part) || text.trim() != text.as_str()
    };
    match texts.iter().filter(|text| !text.trim().is_empty()).find(never) {
        Some(text) => Err(format!(
            "{text:?} can never match: an AE title has at most {MAX_TITLE_CHARACTERS} characters, no control characters, no backslash \
             and no spaces at its ends (PS3.5 §6.2)"
        )),
        None => patterns(texts),
    }
}

fn certificates(texts: &[String]) -> Result<Vec<CertificatePattern>, String> {
    texts.iter().map(|text| CertificatePattern::parse(text).map_err(|error| error.to_string())).collect()
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    texts.iter().map(|text| address::parse(text).map_err(|error| error.to_string())).collect()
}

fn users(raw: &Raw, checks: &mut Checks<'_>) -> Option<Arc<Users>> {
    let path = raw.user_identity.file.trim();
    if path.is_empty() {
        if raw.user_identity.required {
            checks.refuse("user_identity.required", "requires user_identity.file, which has the users' passcodes");
        }
        return None;
    }
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let read = trusted(path).and_then(|()| std::fs::read_to_string(path).map_err(unreadable));
    let complaint = match read.and_then(|text| Users::parse(&text).map_err(|error| error.to_string())) {
        Ok(users) => return Some(Arc::new(users)),
        Err(complaint) => complaint,
    };
    checks.refuse("user_identity.file", &complaint);
    None
}
