//! The arrays of tables, `[[peer]]`, `[[destination]]`, `[[sink]]` and `[[access]]`: their keys, what can be read of them, and a problem as one of a table, with its number,
//! name, key and line.

use super::keys::{AccessRule, DestinationEntry, PeerEntry, SinkEntry};
use super::nearest::nearest;
use super::problem::{InTable, Problem};
use super::removed::may_be_secret;
use super::sources::{GivenTable, GivenValue};

pub(super) const TEXT: &str = "must be a quoted string";
pub(super) const WHOLE_NUMBER: &str = "must be a whole number";
pub(super) const LIST: &str = "must be a list of strings, such as [\"a\", \"b\"]";

pub(super) const SWITCH: &str = "must be true or false";

/// The complaint about a criterion without values.
const EMPTY_CRITERION: &str = "is an empty list, which would match every peer: leave it out to mean that";

/// What is known of an array of tables.
pub(super) struct Shape {
    /// Its name in the file.
    pub(super) array: &'static str,
    /// A table of it, for people; also of several.
    one: &'static str,
    many: &'static str,
    /// The key that names a table.
    pub(super) name: &'static str,
    /// Every key, and what its value must be.
    keys: &'static [(&'static str, &'static str)],
    /// The keys without a default, each with what to give and a value that stands in where it is missing.
    needed: &'static [(&'static str, &'static str, &'static str)],
    /// Whether a table can be read.
    is_readable: fn(toml::Table) -> bool,
    /// The complaint about a list without entries.
    empty_list: &'static str,
    /// The complaint about anything but tables.
    pub(super) are_tables: &'static str,
}

/// The access rules.
pub(super) const ACCESS: Shape = Shape {
    array: "access",
    one: "rule",
    many: "rules",
    name: "name",
    keys: &[
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
        ("commitment", SWITCH),
        ("deliver_to", LIST),
        ("study_quiet", TEXT),
        ("series_quiet", TEXT),
    ],
    needed: &[("name", "a name of its own", ""), ("action", "\"allow\" or \"deny\"", "allow")],
    is_readable: |table| toml::Value::Table(table).try_into::<AccessRule>().is_ok(),
    empty_list: EMPTY_CRITERION,
    are_tables: "rules must be written as tables in the file, each under a line [[access]] of its own, with two brackets",
};

/// The peers that this node calls.
pub(super) const PEER: Shape = Shape {
    array: "peer",
    one: "peer",
    many: "peers",
    name: "ae_title",
    keys: &[("ae_title", TEXT), ("address", TEXT), ("tls", SWITCH)],
    needed: &[("ae_title", "its AE title", ""), ("address", "the HOST:PORT on which it listens", "peer.invalid:104")],
    is_readable: |table| toml::Value::Table(table).try_into::<PeerEntry>().is_ok(),
    empty_list: EMPTY_CRITERION,
    are_tables: "peers must be written as tables in the file, each under a line [[peer]] of its own, with two brackets",
};

/// The destinations of instances.
pub(super) const DESTINATION: Shape = Shape {
    array: "destination",
    one: "destination",
    many: "destinations",
    name: "name",
    keys: &[
        ("name", TEXT),
        ("kind", TEXT),
        ("address", TEXT),
        ("called", TEXT),
        ("calling", TEXT),
        ("connections", WHOLE_NUMBER),
        ("tls", SWITCH),
        ("commit", SWITCH),
        ("attempts", WHOLE_NUMBER),
        ("bandwidth", TEXT),
        ("hours", TEXT),
        ("priority", WHOLE_NUMBER),
        ("retry_for", TEXT),
    ],
    needed: &[
        ("name", "a name of its own", ""),
        ("address", "the HOST:PORT on which it listens", "destination.invalid:104"),
        ("called", "its AE title", "ANY"),
    ],
    is_readable: |table| toml::Value::Table(table).try_into::<DestinationEntry>().is_ok(),
    empty_list: EMPTY_CRITERION,
    are_tables: "destinations must be written as tables in the file, each under a line [[destination]] of its own, with two brackets",
};

/// The sinks of events.
pub(super) const SINK: Shape = Shape {
    array: "sink",
    one: "sink",
    many: "sinks",
    name: "name",
    keys: &[
        ("name", TEXT),
        ("kind", TEXT),
        ("url", TEXT),
        ("secret_file", TEXT),
        ("credentials_file", TEXT),
        ("subject", TEXT),
        ("exchange", TEXT),
        ("ca", TEXT),
        ("events", LIST),
        ("patient", SWITCH),
        ("timeout", TEXT),
        ("retry_for", TEXT),
    ],
    needed: &[
        ("name", "a name of its own", ""),
        ("url", "the URL to which its events are sent", "http://sink.invalid/"),
    ],
    is_readable: |table| toml::Value::Table(table).try_into::<SinkEntry>().is_ok(),
    empty_list: "names no event, and a sink without any has none to be sent: name those that it wants, such as [\"study.complete\"], leave the key out for all but instance.stored, or delete the sink",
    are_tables: "sinks must be written as tables in the file, each under a line [[sink]] of its own, with two brackets",
};

/// All.
pub(super) const SHAPES: [&Shape; 4] = [&ACCESS, &PEER, &DESTINATION, &SINK];

/// The list that may be empty: it is no criterion, and means that instances go nowhere.
const MAY_BE_EMPTY: &str = "deliver_to";

/// The array of this name.
pub(super) fn shape_of(array: &str) -> Option<&'static Shape> {
    SHAPES.into_iter().find(|shape| shape.array == array)
}

/// The tables without what cannot be read of them, so that the rest is checked too, and a problem for each of that.
pub(super) fn read(shape: &Shape, given: &GivenValue) -> (toml::Value, Vec<Problem>) {
    let entries = given.value.as_array().filter(|entries| !given.is_text && entries.len() == given.tables.len());
    if entries.is_none() {
        return (toml::Value::Array(Vec::new()), vec![problem_of_all(shape, given, shape.are_tables)]);
    }
    let mut problems = Vec::new();
    let mut readable = Vec::new();
    for (number, table) in (1..).zip(&given.tables) {
        let mut read = toml::Table::new();
        for (key, remedy, stand_in) in shape.needed {
            let stand_in = if *key == shape.name { format!("{} {number}", shape.one) } else { (*stand_in).to_owned() };
            read.insert((*key).to_owned(), stand_in.into());
            if !table.keys.contains_key(*key) {
                let complaint = format!("is missing: give the {} {remedy}", shape.one);
                problems.push(problem(shape, given, number, Some(key), &complaint));
            }
        }
        for (key, GivenValue { value, .. }) in &table.keys {
            let before = read.insert(key.clone(), value.clone());
            let complaint = match shape.keys.iter().find(|(known, _)| known == key) {
                None => Some(unknown(shape, key)),
                Some((_, kind)) if !(shape.is_readable)(read.clone()) => Some((*kind).to_owned()),
                Some(_) if key != MAY_BE_EMPTY && value.as_array().is_some_and(Vec::is_empty) => {
                    Some(shape.empty_list.to_owned())
                }
                Some(_) => None,
            };
            if let Some(complaint) = complaint {
                problems.push(problem(shape, given, number, Some(key), &complaint));
                match before {
                    Some(before) => drop(read.insert(key.clone(), before)),
                    None => drop(read.remove(key)),
                }
            }
        }
        readable.push(toml::Value::Table(read));
    }
    (toml::Value::Array(readable), problems)
}

/// The error for a key that no such table has, with the one that was probably meant.
fn unknown(shape: &Shape, key: &str) -> String {
    let known = || shape.keys.iter().map(|(known, _)| *known);
    match nearest(key, known()) {
        Some(meant) => format!("unknown key of a {}; did you mean {meant}?", shape.one),
        None => format!("unknown key of a {}; it has {}", shape.one, known().collect::<Vec<_>>().join(", ")),
    }
}

/// A problem of the table `number`, counted from 1, or of one of its keys.
pub(super) fn problem(shape: &Shape, given: &GivenValue, number: usize, key: Option<&str>, complaint: &str) -> Problem {
    let table = number.checked_sub(1).and_then(|index| given.tables.get(index));
    let value_of = |table: &GivenTable, key: &str| table.keys.get(key).cloned();
    let of_key = table.zip(key).and_then(|(table, key)| value_of(table, key));
    let name = table.and_then(|table| value_of(table, shape.name)?.value.as_str().map(str::to_owned));
    let value = match (&of_key, key) {
        (Some(_), Some(key)) if is_masked(shape, key) => "(masked)".to_owned(),
        (Some(given), _) => given.value.to_string(),
        (None, _) => String::new(),
    };
    let origin = of_key.map(|given| given.origin).or_else(|| table.map(|table| table.origin.clone()));
    Problem {
        key: shape.array.to_owned(),
        table: Some(InTable { number, name, key: key.map(str::to_owned) }),
        value,
        origin: origin.unwrap_or_else(|| given.origin.clone()),
        complaint: complaint.to_owned(),
    }
}

/// A problem of all tables together.
pub(super) fn problem_of_all(shape: &Shape, given: &GivenValue, complaint: &str) -> Problem {
    Problem {
        key: shape.array.to_owned(),
        table: None,
        value: match given.tables.len() {
            0 => given.value.to_string(),
            tables => format!("{tables} {}", shape.many),
        },
        origin: given.origin.clone(),
        complaint: complaint.to_owned(),
    }
}

fn is_masked(shape: &Shape, key: &str) -> bool {
    may_be_secret(key) && shape.keys.iter().all(|(known, _)| *known != key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(value: &toml::Value) -> &'static str {
        match value {
            toml::Value::Array(_) => LIST,
            toml::Value::Integer(_) => WHOLE_NUMBER,
            toml::Value::Boolean(_) => SWITCH,
            _ => TEXT,
        }
    }

    #[test]
    fn the_keys_are_those_of_a_table() {
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
            commitment: Some(false),
            deliver_to: Some(list()),
            study_quiet: text(),
            series_quiet: text(),
        };
        let destination = DestinationEntry {
            name: "x".to_owned(),
            kind: "x".to_owned(),
            address: "x".to_owned(),
            called: "x".to_owned(),
            calling: text(),
            connections: 1,
            tls: true,
            commit: true,
            attempts: 1,
            bandwidth: "x".to_owned(),
            hours: "x".to_owned(),
            priority: 1,
            retry_for: "x".to_owned(),
        };
        let peer = PeerEntry { ae_title: "x".to_owned(), address: "x".to_owned(), tls: true };
        let sink = SinkEntry {
            name: "x".to_owned(),
            kind: "x".to_owned(),
            url: "x".to_owned(),
            secret_file: Some("x".to_owned()),
            credentials_file: Some("x".to_owned()),
            subject: Some("x".to_owned()),
            exchange: Some("x".to_owned()),
            ca: "x".to_owned(),
            events: Some(list()),
            patient: true,
            timeout: "x".to_owned(),
            retry_for: "x".to_owned(),
        };
        let tables = [
            (&ACCESS, toml::Table::try_from(rule)),
            (&PEER, toml::Table::try_from(peer)),
            (&DESTINATION, toml::Table::try_from(destination)),
            (&SINK, toml::Table::try_from(sink)),
        ];
        for (shape, table) in tables {
            let table = table.unwrap();
            let mut expected: Vec<_> = table.iter().map(|(key, value)| (key.as_str(), kind(value))).collect();
            let mut keys = shape.keys.to_vec();
            keys.sort_unstable();
            expected.sort_unstable();
            assert_eq!(keys, expected);
        }
    }
}
