//! From the merged sources to the raw mirror: known keys, each with a value of the right type.

use std::collections::BTreeMap;

use super::keys::{Raw, defaults};
use super::nearest::nearest;
use super::problem::Problem;
use super::removed::{REMOVED, may_be_secret};
use super::sources::{CONFIG, Given, GivenValue, MISNAMED, variable_of};
use super::tables::{self, LIST, SHAPES, SWITCH, TEXT, WHOLE_NUMBER};

/// Applies the given values to the defaults. Each key is parsed on its own, so that every error is reported and not only the first. A key that
/// cannot be parsed keeps its default here.
pub(super) fn read(given: &Given) -> (Raw, Vec<Problem>) {
    let defaults = defaults();
    let mut problems = Vec::new();
    let mut accepted = toml::Table::new();
    for (key, given) in given {
        if let Some(complaint) = given.fault {
            let (value, origin) = (shown(key, &defaults, &given.value), given.origin.clone());
            problems.push(Problem { key: key.clone(), table: None, value, origin, complaint: complaint.to_owned() });
            continue;
        }
        if let Some(shape) = tables::shape_of(key) {
            let (readable, of_tables) = tables::read(shape, given);
            accepted.insert(key.clone(), readable);
            problems.extend(of_tables);
            continue;
        }
        if key.starts_with(MISNAMED) {
            let meant = given.value.as_str().unwrap_or_default();
            let complaint = match REMOVED.iter().find(|(removed, _)| *removed == meant) {
                Some((_, complaint)) => (*complaint).to_owned(),
                None if meant == CONFIG => {
                    "no variable of this node, and so without effect: give the file by the flag --config".to_owned()
                }
                None => format!(
                    "no variable of this node, and so without effect: {meant} is set by {}, with double underscores",
                    variable_of(meant)
                ),
            };
            let (key, value, origin) = (key.clone(), "(masked)".to_owned(), given.origin.clone());
            problems.push(Problem { key, table: None, value, origin, complaint });
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
                if SHAPES.iter().any(|shape| shape.are_tables == complaint)
                    && problems.iter().any(|problem| problem.complaint == complaint) => {}
            Err(complaint) => problems.push(Problem {
                key: key.clone(),
                table: None,
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
                table: None,
                value: "…".to_owned(),
                origin: "all sources".to_owned(),
                complaint: error.message().to_owned(),
            });
            (Raw::default(), problems)
        }
    }
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
        toml::Value::Integer(_) => WHOLE_NUMBER.to_owned(),
        toml::Value::Boolean(_) => SWITCH.to_owned(),
        toml::Value::Array(_) => LIST.to_owned(),
        _ if message.starts_with("invalid type") => TEXT.to_owned(),
        _ => message.to_owned(),
    }
}

/// The value as text; masked if no key has this name and the name is that of a secret.
fn shown(key: &str, defaults: &BTreeMap<String, toml::Value>, value: &toml::Value) -> String {
    if !defaults.contains_key(key) && may_be_secret(key) { "(masked)".to_owned() } else { value.to_string() }
}

/// The error for a key that does not exist, with the key that was probably meant.
fn unknown(key: &str, defaults: &BTreeMap<String, toml::Value>) -> String {
    if let Some(shape) = key.split_once('.').and_then(|(array, _)| tables::shape_of(array)) {
        return shape.are_tables.to_owned();
    }
    if let Some((_, complaint)) = REMOVED.iter().find(|(removed, _)| *removed == key) {
        return (*complaint).to_owned();
    }
    match nearest(key, defaults.keys().map(String::as_str)) {
        Some(known) => format!("unknown key; did you mean {known}?"),
        None => "unknown key; `tidegate print-config --default` shows every key".to_owned(),
    }
}
