//! From the merged sources to the raw mirror: known keys, each with a value of the right type.

use std::collections::BTreeMap;

use super::keys::{AccessRule, Raw, defaults};
use super::problem::Problem;
use super::removed::{REMOVED, may_be_secret};
use super::sources::{Given, GivenValue, MISNAMED, variable_of};

const RULES_ARE_TABLES: &str =
    "rules must be written as tables in the file, each under a line [[access]] of its own, with two brackets";

/// Applies the given values to the defaults. Each key is parsed on its own, so that every error is reported and not only the first. A key that
/// cannot be parsed keeps its default here.
pub(super) fn read(given: &Given) -> (Raw, Vec<Problem>) {
    let defaults = defaults();
    let mut problems = Vec::new();
    let mut accepted = toml::Table::new();
    for (key, given) in given {
        if key == "access" {
            let (readable, complaints) = rules(given);
            accepted.insert(key.clone(), readable);
            problems.extend(complaints.into_iter().map(|complaint| Problem {
                key: key.clone(),
                value: "[[access]]".to_owned(),
                origin: given.origin.clone(),
                complaint,
            }));
            continue;
        }
        if key.starts_with(MISNAMED) {
            let meant = given.value.as_str().unwrap_or_default();
            let complaint = match REMOVED.iter().find(|(removed, _)| *removed == meant) {
                Some((_, complaint)) => (*complaint).to_owned(),
                None => format!(
                    "no variable of this node, and so without effect: {meant} is set by {}, with double underscores",
                    variable_of(meant)
                ),
            };
            let (key, value, origin) = (key.clone(), "(masked)".to_owned(), given.origin.clone());
            problems.push(Problem { key, value, origin, complaint });
            continue;
        }
        match try_key(key, given, &defaults) {
            Ok(None) => {}
            Ok(Some((section, name, value))) => {
                let section = accepted.entry(section).or_insert_with(empty_table);
                if let Some(section) = section.as_table_mut() {
                    section.insert(name.to_owned(), value);
                }
            }
            // Each key of a table `[access]` has the same one.
            Err(complaint)
                if problems.iter().any(|problem| complaint == RULES_ARE_TABLES && problem.complaint == complaint) => {}
            Err(complaint) => problems.push(Problem {
                key: key.clone(),
                value: shown(key, &defaults, &given.value),
                origin: given.origin.clone(),
                complaint,
            }),
        }
    }
    match accepted.try_into() {
        Ok(raw) => (raw, problems),
        // Unreachable: each key was accepted alone, and keys do not depend on each other here.
        Err(error) => {
            problems.push(Problem {
                key: "configuration".to_owned(),
                value: "…".to_owned(),
                origin: "all sources".to_owned(),
                complaint: error.message().to_owned(),
            });
            (Raw::default(), problems)
        }
    }
}

/// The tables of `[[access]]` without what cannot be read of them, so that the rest is checked too, and a complaint for each of that.
fn rules(given: &GivenValue) -> (toml::Value, Vec<String>) {
    let Some(tables) = given.value.as_array().filter(|_| !given.is_text) else {
        return (toml::Value::Array(Vec::new()), vec![RULES_ARE_TABLES.to_owned()]);
    };
    let mut complaints = Vec::new();
    let mut readable = Vec::new();
    for (number, table) in (1..).zip(tables) {
        let Some(table) = table.as_table() else {
            complaints.push(format!("rule {number}: {RULES_ARE_TABLES}"));
            continue;
        };
        let mut rule = toml::Table::from_iter([
            ("name".to_owned(), format!("rule {number}").into()),
            ("action".to_owned(), "allow".into()),
        ]);
        for key in rule.keys().filter(|key| !table.contains_key(*key)) {
            complaints.push(format!("rule {number}: missing field `{key}`"));
        }
        for (key, value) in table {
            let before = rule.insert(key.clone(), value.clone());
            let unreadable = match toml::Value::Table(rule.clone()).try_into::<AccessRule>() {
                Err(error) => Some(error.message().to_owned()),
                Ok(_) if value.as_array().is_some_and(Vec::is_empty) => {
                    Some("is an empty list, which would match every peer: leave it out to mean that".to_owned())
                }
                Ok(_) => None,
            };
            if let Some(complaint) = unreadable {
                complaints.push(format!("rule {number}: {key}: {complaint}"));
                match before {
                    Some(before) => drop(rule.insert(key.clone(), before)),
                    None => drop(rule.remove(key)),
                }
            }
        }
        readable.push(toml::Value::Table(rule));
    }
    (toml::Value::Array(readable), complaints)
}

fn empty_table() -> toml::Value {
    toml::Value::Table(toml::Table::new())
}

/// Section, name and value of a known key with a value of its type; `None` for an empty section.
fn try_key<'k>(
    key: &'k str,
    given: &GivenValue,
    defaults: &BTreeMap<String, toml::Value>,
) -> Result<Option<(&'k str, &'k str, toml::Value)>, String> {
    let is_section = defaults.keys().any(|known| known.split('.').next() == Some(key));
    if is_section {
        return match given.value.as_table() {
            Some(_) => Ok(None),
            None => Err(format!("is a section, not a value: write its keys under [{key}]")),
        };
    }
    let (Some(default), Some((section, name))) = (defaults.get(key), key.split_once('.')) else {
        return Err(unknown(key, defaults));
    };
    let value = if given.is_text { typed(&given.value, default) } else { given.value.clone() };
    let alone = toml::Table::from_iter([(
        section.to_owned(),
        toml::Value::Table(toml::Table::from_iter([(name.to_owned(), value.clone())])),
    )]);
    match alone.try_into::<Raw>() {
        Ok(_) => Ok(Some((section, name, value))),
        Err(error) => Err(expectation(default, error.message())),
    }
}

/// The text of a variable as a value of its key's type. Text that does not parse stays text, and is refused later.
fn typed(text: &toml::Value, default: &toml::Value) -> toml::Value {
    let Some(text) = text.as_str() else {
        return text.clone();
    };
    let typed = match default {
        toml::Value::Integer(_) => text.trim().parse().ok().map(toml::Value::Integer),
        toml::Value::Boolean(_) => text.trim().parse().ok().map(toml::Value::Boolean),
        toml::Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(toml::Value::Array(items.map(|item| item.to_owned().into()).collect()))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| text.to_owned().into())
}

fn expectation(default: &toml::Value, message: &str) -> String {
    match default {
        toml::Value::Integer(_) => "must be a whole number".to_owned(),
        toml::Value::Boolean(_) => "must be true or false".to_owned(),
        toml::Value::Array(_) => "must be a list of strings, such as [\"a\", \"b\"]".to_owned(),
        _ if message.starts_with("invalid type") => "must be a quoted string".to_owned(),
        _ => message.to_owned(),
    }
}

/// The value as text; masked if no key has this name and the name is that of a secret.
fn shown(key: &str, defaults: &BTreeMap<String, toml::Value>, value: &toml::Value) -> String {
    if !defaults.contains_key(key) && may_be_secret(key) { "(masked)".to_owned() } else { value.to_string() }
}

/// The error for a key that does not exist, with the key that was probably meant.
fn unknown(key: &str, defaults: &BTreeMap<String, toml::Value>) -> String {
    if key.starts_with("access.") {
        return RULES_ARE_TABLES.to_owned();
    }
    if let Some((_, complaint)) = REMOVED.iter().find(|(removed, _)| *removed == key) {
        return (*complaint).to_owned();
    }
    match meant(key, defaults) {
        Some(known) => format!("unknown key; did you mean {known}?"),
        None => "unknown key; `tidegate print-config --default` shows every key".to_owned(),
    }
}

/// The key that was probably meant by one that does not exist.
fn meant<'d>(key: &str, defaults: &'d BTreeMap<String, toml::Value>) -> Option<&'d str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_lowercase();
    let likeness = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(known, &key.to_lowercase());
        let name = strsim::normalized_damerau_levenshtein(&last(known), &last(key));
        // A right name in a wrong section comes before a wrong name in the right section.
        whole.max(name)
    };
    let closest =
        defaults.keys().map(|known| (likeness(known), known)).max_by(|(one, _), (other, _)| one.total_cmp(other));
    closest.filter(|(likeness, _)| *likeness > 0.6).map(|(_, known)| known.as_str())
}
