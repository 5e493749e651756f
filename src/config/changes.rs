//! The differences between two configurations: those that a running node applies, and those that need a restart.

use std::collections::BTreeSet;

use toml::Value;

use super::keys::{Raw, needs_restart, values};
use super::tables::shape_of;

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Of a table of an array it is `sink[ris].url`; `sink[ris]` if the table came or went.
    pub(crate) key: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// The differences.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Applied at once.
    pub(crate) live: Vec<Change>,
    /// Applied at the next start.
    pub(crate) at_restart: Vec<Change>,
}

impl Changes {
    /// The differences of `new` from `current`; for keys that need a restart, from `started`, the configuration at the start.
    pub(crate) fn between(started: &Raw, current: &Raw, new: &Raw) -> Self {
        let (started, current, new) = (values(started), values(current), values(new));
        let mut changes = Self::default();
        for (key, to) in new {
            let at_restart = needs_restart(&key);
            let before = if at_restart { &started } else { &current };
            let from = before.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
            if from == Some(&to) {
                continue;
            }
            let of_key = match (shape_of(&key), from, &to) {
                (Some(shape), Some(Value::Array(from)), Value::Array(to)) => of_tables(&key, shape.name, (from, to)),
                _ => vec![change(key, from, Some(&to))],
            };
            if at_restart { changes.at_restart.extend(of_key) } else { changes.live.extend(of_key) }
        }
        changes
    }
}

fn change(key: String, from: Option<&Value>, to: Option<&Value>) -> Change {
    let text = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
    Change { key, from: text(from), to: text(to) }
}

/// The differences of two arrays of tables, each of which has a name under the key `named_by`.
fn of_tables(array: &str, named_by: &str, (from, to): (&[Value], &[Value])) -> Vec<Change> {
    let name = |table: &Value| table.get(named_by).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (before, after): (Vec<_>, Vec<_>) = (from.iter().map(name).collect(), to.iter().map(name).collect());
    let mut changes = Vec::new();
    for (name, table) in before.iter().zip(from) {
        match after.iter().position(|other| other == name) {
            Some(at) => changes.extend(of_table(&format!("{array}[{name}]"), table, &to[at])),
            None => changes.push(change(format!("{array}[{name}]"), Some(table), None)),
        }
    }
    let came = after.iter().zip(to).filter(|(name, _)| !before.contains(name));
    changes.extend(came.map(|(name, table)| change(format!("{array}[{name}]"), None, Some(table))));
    // The first rule that matches counts.
    let stays = |names: &[String], others: &[String]| {
        names.iter().filter(|name| others.contains(name)).cloned().collect::<Vec<_>>()
    };
    let (old_order, new_order) = (stays(&before, &after), stays(&after, &before));
    if old_order != new_order {
        changes.push(change(format!("{array}[] order"), Some(&old_order.into()), Some(&new_order.into())));
    }
    changes
}

fn of_table(table: &str, from: &Value, to: &Value) -> Vec<Change> {
    let (Some(before), Some(after)) = (from.as_table(), to.as_table()) else { return Vec::new() };
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differs = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    differs.map(|key| change(format!("{table}.{key}"), before.get(key), after.get(key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_by_key_and_by_when_it_counts() {
        let started = Raw::default();
        let mut current = started.clone();
        current.writers.batch = 4;
        current.writers.count = 3;
        let mut new = current.clone();
        new.writers.batch = 5;
        new.memory.spool_threshold = super::super::human::Size(1 << 20);
        let changes = Changes::between(&started, &current, &new);
        let texts = |changes: &[Change]| {
            changes.iter().map(|c| format!("{}: {} to {}", c.key, c.from, c.to)).collect::<Vec<_>>()
        };
        assert_eq!(texts(&changes.live), ["memory.spool_threshold: \"8 MiB\" to \"1 MiB\"", "writers.batch: 4 to 5"]);
        // Reported at every reload: the node still runs with the value of its start.
        assert_eq!(texts(&changes.at_restart), ["writers.count: 16 to 3"]);
        assert_eq!(Changes::between(&started, &started, &started), Changes::default());
    }

    #[test]
    fn a_table_is_told_by_its_name_and_by_what_of_it_changed() {
        let raw = |text: &str| toml::from_str::<Raw>(text).unwrap();
        let ris = "[[sink]]\nname = 'ris'\nurl = 'https://a/'\n";
        let bus = "[[sink]]\nname = 'bus'\nkind = 'nats'\nurl = 'nats://b'\n";
        let before = raw(&format!("{ris}{bus}"));
        let after = raw(
            "[[sink]]\nname = 'ris'\nurl = 'https://c/'\nsecret_file = 'key'\n[[sink]]\nname = 'new'\nurl = 'https://d/'\n",
        );
        let changes = Changes::between(&before, &before, &after);
        let keys: Vec<_> = changes.live.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["sink[ris].secret_file", "sink[ris].url", "sink[bus]", "sink[new]"]);
        let [secret, url, bus_gone, new] = changes.live.as_slice() else { panic!("{changes:?}") };
        assert_eq!((url.from.as_str(), url.to.as_str()), ("\"https://a/\"", "\"https://c/\""));
        assert_eq!((secret.from.as_str(), secret.to.as_str()), ("", "\"key\""));
        assert!(bus_gone.to.is_empty() && bus_gone.from.contains("nats://b"), "{bus_gone:?}");
        assert!(new.from.is_empty() && new.to.contains("https://d/"), "{new:?}");
        let moved = Changes::between(&before, &before, &raw(&format!("{bus}{ris}")));
        assert_eq!(moved.live.len(), 1);
        assert_eq!((moved.live[0].key.as_str(), moved.live[0].to.as_str()), ("sink[] order", "[\"bus\", \"ris\"]"));
    }
}
