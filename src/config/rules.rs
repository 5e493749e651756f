//! The tables of `[[access]]`: their keys, what can be read of them, and a problem as one of a rule, with its number, name, key and line.

use super::keys::AccessRule;
use super::nearest::nearest;
use super::problem::{InRule, Problem};
use super::removed::may_be_secret;
use super::sources::{GivenTable, GivenValue};

pub(super) const RULES_ARE_TABLES: &str =
    "rules must be written as tables in the file, each under a line [[access]] of its own, with two brackets";

pub(super) const TEXT: &str = "must be a quoted string";
pub(super) const WHOLE_NUMBER: &str = "must be a whole number";
pub(super) const LIST: &str = "must be a list of strings, such as [\"a\", \"b\"]";

/// Every key of a rule, and what its value must be.
const KEYS: [(&str, &str); 11] = [
    ("name", TEXT),
    ("action", TEXT),
    ("calling", LIST),
    ("called", LIST),
    ("from", LIST),
    ("certificate", LIST),
    ("sop_class", LIST),
    ("max_associations", WHOLE_NUMBER),
    ("layout", TEXT),
    ("duplicates", TEXT),
    ("durability", TEXT),
];

/// The tables without what cannot be read of them, so that the rest is checked too, and a problem for each of that.
pub(super) fn read(given: &GivenValue) -> (toml::Value, Vec<Problem>) {
    let entries = given.value.as_array().filter(|entries| !given.is_text && entries.len() == given.tables.len());
    if entries.is_none() {
        return (toml::Value::Array(Vec::new()), vec![problem_of_all(given, RULES_ARE_TABLES)]);
    }
    let mut problems = Vec::new();
    let mut readable = Vec::new();
    for (number, table) in (1..).zip(&given.tables) {
        let mut rule = toml::Table::from_iter([
            ("name".to_owned(), format!("rule {number}").into()),
            ("action".to_owned(), "allow".into()),
        ]);
        for (key, remedy) in [("name", "a name of its own"), ("action", "\"allow\" or \"deny\"")] {
            if !table.keys.contains_key(key) {
                problems.push(problem(given, number, Some(key), &format!("is missing: give the rule {remedy}")));
            }
        }
        for (key, GivenValue { value, .. }) in &table.keys {
            let before = rule.insert(key.clone(), value.clone());
            let complaint = match KEYS.iter().find(|(known, _)| known == key) {
                None => Some(unknown(key)),
                Some((_, shape)) if toml::Value::Table(rule.clone()).try_into::<AccessRule>().is_err() => {
                    Some((*shape).to_owned())
                }
                Some(_) if value.as_array().is_some_and(Vec::is_empty) => {
                    Some("is an empty list, which would match every peer: leave it out to mean that".to_owned())
                }
                Some(_) => None,
            };
            if let Some(complaint) = complaint {
                problems.push(problem(given, number, Some(key), &complaint));
                match before {
                    Some(before) => drop(rule.insert(key.clone(), before)),
                    None => drop(rule.remove(key)),
                }
            }
        }
        readable.push(toml::Value::Table(rule));
    }
    (toml::Value::Array(readable), problems)
}

/// The error for a key that no rule has, with the one that was probably meant.
fn unknown(key: &str) -> String {
    let known = || KEYS.iter().map(|(known, _)| *known);
    match nearest(key, known()) {
        Some(meant) => format!("unknown key of a rule; did you mean {meant}?"),
        None => format!("unknown key of a rule; it has {}", known().collect::<Vec<_>>().join(", ")),
    }
}

/// A problem of the rule `number`, counted from 1, or of one of its keys.
pub(super) fn problem(given: &GivenValue, number: usize, key: Option<&str>, complaint: &str) -> Problem {
    let table = number.checked_sub(1).and_then(|index| given.tables.get(index));
    let value_of = |table: &GivenTable, key: &str| table.keys.get(key).cloned();
    let of_key = table.zip(key).and_then(|(table, key)| value_of(table, key));
    let name = table.and_then(|table| value_of(table, "name")?.value.as_str().map(str::to_owned));
    let value = match (&of_key, key) {
        (Some(_), Some(key)) if is_masked(key) => "(masked)".to_owned(),
        (Some(given), _) => given.value.to_string(),
        (None, _) => String::new(),
    };
    let origin = of_key.map(|given| given.origin).or_else(|| table.map(|table| table.origin.clone()));
    Problem {
        key: "access".to_owned(),
        rule: Some(InRule { number, name, key: key.map(str::to_owned) }),
        value,
        origin: origin.unwrap_or_else(|| given.origin.clone()),
        complaint: complaint.to_owned(),
    }
}

/// A problem of all rules together.
pub(super) fn problem_of_all(given: &GivenValue, complaint: &str) -> Problem {
    Problem {
        key: "access".to_owned(),
        rule: None,
        value: match given.tables.len() {
            0 => given.value.to_string(),
            rules => format!("{rules} rules"),
        },
        origin: given.origin.clone(),
        complaint: complaint.to_owned(),
    }
}

fn is_masked(key: &str) -> bool {
    may_be_secret(key) && KEYS.iter().all(|(known, _)| *known != key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_a_rule() {
        let list = || vec!["x".to_owned()];
        let text = || Some("x".to_owned());
        let rule = AccessRule {
            name: "x".to_owned(),
            action: "x".to_owned(),
            calling: list(),
            called: list(),
            from: list(),
            certificate: list(),
            sop_class: list(),
            max_associations: Some(1),
            layout: text(),
            duplicates: text(),
            durability: text(),
        };
        let table = toml::Table::try_from(rule).unwrap();
        let shape = |value: &toml::Value| match value {
            toml::Value::Array(_) => LIST,
            toml::Value::Integer(_) => WHOLE_NUMBER,
            _ => TEXT,
        };
        let expected: Vec<_> = table.iter().map(|(key, value)| (key.as_str(), shape(value))).collect();
        let mut keys = KEYS.to_vec();
        let mut expected = expected;
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
}
