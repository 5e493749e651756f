//! `[[access]]`, `[user_identity]` and the balancers: from the raw tables to access settings.

use std::sync::Arc;

use tidegate_access::{Criteria, Rule, Rules, Users};
use tidegate_actors::{AccessSettings, Terms};
use tidegate_storage::layout::Layout;
use tidegate_storage::{Duplicates, Durability, Placement};

use super::checks::Checks;
use super::criteria::{criteria, network};
use super::keys::{ASSOCIATIONS, AccessRule, Raw};
use super::placements;
use super::secret::{exposed_hashes, trusted};

/// Longest name of a rule, which is written to log lines.
const MAX_NAME_CHARACTERS: usize = 64;
/// Most rules. Each association is compared with every rule.
const MAX_RULES: usize = 1000;

/// Builds the settings. `storage` has the placement of rules without one of their own; `None` if it is invalid.
pub(super) fn access(
    raw: &Raw,
    storage: Option<&tidegate_storage::Settings>,
    checks: &mut Checks<'_>,
) -> Arc<AccessSettings> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut terms = Vec::new();
    if raw.access.len() > MAX_RULES {
        checks.refuse("access", &format!("has more than {MAX_RULES} rules"));
    }
    for (index, rule) in raw.access.iter().take(MAX_RULES).enumerate() {
        let label = format!("rule {} ({:?})", index + 1, rule.name);
        let (read, granted) = read(rule, raw, storage, &label, checks);
        if raw.access[..index].iter().any(|earlier| earlier.name == rule.name) {
            checks.refuse("access", &format!("{label}: an earlier rule has the same name"));
        }
        if let Some(limit) = granted.max_associations
            && i64::try_from(limit).is_ok_and(|limit| limit > raw.associations.max)
        {
            let most = raw.associations.max;
            checks.warn(
                "access",
                &format!("{label}: max_associations = {limit} is never reached, with associations.max = {most}"),
            );
        }
        rules.push(read);
        terms.push(granted);
    }
    if checks.sound(&["access"]) {
        refuse_unreachable(&rules, checks);
    }
    if let Some(storage) = storage
        && checks.sound(&["access"])
    {
        placements::settle(&rules, &mut terms, &storage.placement(), checks);
    }
    let proxies = raw.node.proxy_protocol_from.iter().filter_map(|text| {
        network(text).map_err(|complaint| checks.refuse("node.proxy_protocol_from", &complaint)).ok()
    });
    let proxies = proxies.collect();
    Arc::new(AccessSettings {
        rules: Rules::new(rules),
        terms,
        proxies,
        users: users(raw, checks),
        require_user: raw.user_identity.required,
    })
}

/// Refuses rules of which no peer can ever be the first match.
fn refuse_unreachable(rules: &[Rule], checks: &mut Checks<'_>) {
    for (index, rule) in rules.iter().enumerate() {
        let covers = |earlier: &&Rule| earlier.criteria == Criteria::default() || earlier.criteria == rule.criteria;
        let Some(earlier) = rules[..index].iter().find(covers) else { continue };
        let why = match earlier.criteria == Criteria::default() {
            true => "has no criteria and decides about every peer",
            false => "has the same criteria",
        };
        let complaint = format!(
            "rule {} ({:?}): can never decide, because rule {:?} before it {why}; put it before that rule, or delete it",
            index + 1,
            rule.name,
            earlier.name
        );
        checks.refuse("access", &complaint);
    }
}

/// Reads a rule; every mistake in it is refused.
fn read(
    rule: &AccessRule,
    raw: &Raw,
    storage: Option<&tidegate_storage::Settings>,
    label: &str,
    checks: &mut Checks<'_>,
) -> (Rule, Terms) {
    let mut refuse = |complaint: String| checks.refuse("access", &format!("{label}: {complaint}"));
    let characters = rule.name.chars().count();
    if !(1..=MAX_NAME_CHARACTERS).contains(&characters) || rule.name.chars().any(char::is_control) {
        refuse(format!("name must have 1 to {MAX_NAME_CHARACTERS} characters, none of them a control character"));
    }
    let allows = rule.action == "allow";
    if !allows && rule.action != "deny" {
        refuse(format!("action = {:?} must be \"allow\" or \"deny\"", rule.action));
    }
    let AccessRule { max_associations, layout, duplicates, durability, .. } = rule;
    let has_terms = max_associations.is_some() || layout.is_some() || duplicates.is_some() || durability.is_some();
    if rule.action == "deny" && has_terms {
        refuse("a deny rule cannot have max_associations, layout, duplicates or durability".to_owned());
    }
    if let Some(limit) = max_associations.filter(|limit| !ASSOCIATIONS.contains(limit)) {
        refuse(format!("max_associations = {limit} must be {} to {}", ASSOCIATIONS.start(), ASSOCIATIONS.end()));
    }
    let criteria = criteria(rule, raw, &mut refuse);
    let placement = placement(rule, storage, &mut refuse);
    let terms = Terms { max_associations: max_associations.and_then(|limit| usize::try_from(limit).ok()), placement };
    (Rule { name: rule.name.clone(), criteria, allows }, terms)
}

fn placement(
    rule: &AccessRule,
    storage: Option<&tidegate_storage::Settings>,
    refuse: &mut impl FnMut(String),
) -> Option<Arc<Placement>> {
    if rule.layout.is_none() && rule.duplicates.is_none() && rule.durability.is_none() {
        return None;
    }
    let layout = parsed("layout", rule.layout.as_deref(), Layout::parse, refuse);
    let duplicates: Option<Duplicates> = parsed("duplicates", rule.duplicates.as_deref(), str::parse, refuse);
    let durability: Option<Durability> = parsed("durability", rule.durability.as_deref(), str::parse, refuse);
    // Without storage settings another key is invalid, and the configuration is refused anyway.
    let usual = storage.map(tidegate_storage::Settings::placement)?;
    Some(Arc::new(Placement {
        layout: layout.unwrap_or(usual.layout),
        duplicates: duplicates.unwrap_or(usual.duplicates),
        durability: durability.unwrap_or(usual.durability),
    }))
}

/// The value of a key of a rule, if it is given and valid.
fn parsed<T, E: std::fmt::Display>(
    key: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
    refuse: &mut impl FnMut(String),
) -> Option<T> {
    text.and_then(|text| parse(text).map_err(|error| refuse(format!("{key}: {error}"))).ok())
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
        Ok(users) if users.count() == 0 => {
            "has no users, so nobody could be verified; `tidegate hash-passcode NAME` prints a line of it".to_owned()
        }
        Ok(users) => {
            if let Some(warning) = exposed_hashes(path) {
                checks.warn("user_identity.file", &warning);
            }
            return Some(Arc::new(users));
        }
        Err(complaint) => complaint,
    };
    checks.refuse("user_identity.file", &complaint);
    None
}
