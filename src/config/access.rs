//! `[[access]]`, `[user_identity]` and the balancers: from the raw tables to access settings.

use std::sync::Arc;

use tidegate_access::{Criteria, Rule, Rules, Users};
use tidegate_actors::{AccessSettings, Terms};
use tidegate_storage::layout::Layout;
use tidegate_storage::{Duplicates, Durability, Placement};

use super::checks::Checks;
use super::criteria::{criteria, network};
use super::delivery::{names, unknown};
use super::keys::{ASSOCIATIONS, AccessRule, Raw};
use super::placements;
use super::secret::{exposed_hashes, trusted};

/// Longest name of a rule, which is written to log lines.
const MAX_NAME_CHARACTERS: usize = 64;
/// Most rules. Each association is compared with every rule.
const MAX_RULES: usize = 1000;

/// The keys of the terms that a rule grants.
const TERMS: [&str; 8] = [
    "max_associations",
    "layout",
    "duplicates",
    "durability",
    "commitment",
    "deliver_to",
    "study_quiet",
    "series_quiet",
];
/// The keys that are neither criteria nor terms.
const OTHERS: [&str; 2] = ["name", "action"];
/// The keys that have no part in the path of an instance.
const BESIDES_PLACEMENT: [&str; 11] = [
    "name",
    "calling",
    "called",
    "from",
    "certificate",
    "sop_class",
    "max_associations",
    "commitment",
    "deliver_to",
    "study_quiet",
    "series_quiet",
];

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
        let number = index + 1;
        let (read, granted) = read(number, rule, raw, storage, checks);
        if let Some(earlier) = raw.access[..index].iter().position(|earlier| earlier.name == rule.name) {
            let complaint = format!("is the name of rule {} before it: give each rule a name of its own", earlier + 1);
            checks.refuse_rule(number, Some("name"), &complaint);
        }
        if let Some(limit) = granted.max_associations
            && i64::try_from(limit).is_ok_and(|limit| limit > raw.associations.max)
        {
            let most = raw.associations.max;
            let complaint = format!("is never reached, with associations.max = {most}");
            checks.warn_of_rule(number, "max_associations", &complaint);
        }
        rules.push(read);
        terms.push(granted);
    }
    refuse_unreachable(&rules, checks);
    if let Some(storage) = storage
        && (1..=rules.len()).all(|number| checks.rule_is_sound(number, &BESIDES_PLACEMENT))
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

/// Refuses rules of which no peer can ever be the first match. The criteria of a rule with a mistake in them are not known.
fn refuse_unreachable(rules: &[Rule], checks: &mut Checks<'_>) {
    let numbered = (1..).zip(rules);
    let besides_criteria = [&OTHERS[..], &TERMS].concat();
    let known: Vec<_> = numbered.filter(|(number, _)| checks.rule_is_sound(*number, &besides_criteria)).collect();
    for (index, (number, rule)) in known.iter().enumerate() {
        let covers = |(_, earlier): &&(usize, &Rule)| {
            earlier.criteria == Criteria::default() || earlier.criteria == rule.criteria
        };
        let Some((earlier_number, earlier)) = known[..index].iter().find(covers) else { continue };
        let why = match earlier.criteria == Criteria::default() {
            true => "has no criteria and decides about every peer",
            false => "has the same criteria",
        };
        let complaint = format!(
            "can never decide, because rule {earlier_number} ({:?}) before it {why}; put it before that rule, or delete it",
            earlier.name
        );
        checks.refuse_rule(*number, None, &complaint);
    }
}

/// Reads the rule `number`; every mistake in it is refused.
fn read(
    number: usize,
    rule: &AccessRule,
    raw: &Raw,
    storage: Option<&tidegate_storage::Settings>,
    checks: &mut Checks<'_>,
) -> (Rule, Terms) {
    let mut refuse = |key: &str, complaint: String| checks.refuse_rule(number, Some(key), &complaint);
    let characters = rule.name.chars().count();
    if !(1..=MAX_NAME_CHARACTERS).contains(&characters) || rule.name.chars().any(char::is_control) {
        let allowed = format!("must have 1 to {MAX_NAME_CHARACTERS} characters, none of them a control character");
        refuse("name", allowed);
    }
    let allows = rule.action == "allow";
    if !allows && rule.action != "deny" {
        refuse("action", "must be \"allow\" or \"deny\"".to_owned());
    }
    let AccessRule { max_associations, layout, duplicates, durability, commitment, deliver_to, .. } = rule;
    let terms = [
        max_associations.is_some(),
        layout.is_some(),
        duplicates.is_some(),
        durability.is_some(),
        commitment.is_some(),
        deliver_to.is_some(),
        rule.study_quiet.is_some(),
        rule.series_quiet.is_some(),
    ];
    for (key, _) in TERMS.iter().zip(terms).filter(|(_, is_given)| rule.action == "deny" && *is_given) {
        refuse(key, "a deny rule cannot have it: nothing is stored by it".to_owned());
    }
    if let Some(limit) = max_associations.filter(|limit| !ASSOCIATIONS.contains(limit)) {
        let (least, most) = (ASSOCIATIONS.start(), ASSOCIATIONS.end());
        refuse("max_associations", format!("must be {least} to {most}, and not {limit}"));
    }
    if let Some(complaint) = deliver_to.as_ref().and_then(|to| unknown(to, raw)) {
        refuse("deliver_to", complaint);
    }
    let criteria = criteria(rule, raw, &mut refuse);
    let placement = placement(rule, storage, &mut refuse);
    let terms = Terms {
        max_associations: max_associations.and_then(|limit| usize::try_from(limit).ok()),
        placement,
        commitment: commitment.unwrap_or(true),
        deliver_to: names(deliver_to.as_ref().unwrap_or(&raw.delivery.to)),
    };
    (Rule { name: rule.name.clone(), criteria, allows }, terms)
}

fn placement(
    rule: &AccessRule,
    storage: Option<&tidegate_storage::Settings>,
    refuse: &mut impl FnMut(&str, String),
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
    refuse: &mut impl FnMut(&str, String),
) -> Option<T> {
    text.and_then(|text| parse(text).map_err(|error| refuse(key, error.to_string())).ok())
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
