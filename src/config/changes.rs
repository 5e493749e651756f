//! What differs between two configurations, and what of it a running node can take over.

use toml::Value;

use super::Raw;
use super::masked::{MASK, SECRETS};

/// Keys that hold from the start of the node to its end. All others can change while it runs.
pub(super) const NEEDS_RESTART: [&str; 19] = [
    "node.listen",
    "tls.listen",
    "associations.arbiters",
    "writers.count",
    "storage.root",
    "storage.layout",
    "storage.durability",
    "storage.commit",
    "storage.duplicates",
    "storage.min_free",
    "admin.listen",
    "admin.socket",
    "log.format",
    "log.flight_records",
    "audit.sink",
    "audit.ca",
    "audit.certificate",
    "audit.key",
    "audit.queue",
];

/// A key with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// What is different.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// In force as soon as it is applied.
    pub(crate) live: Vec<Change>,
    /// Not before the next start.
    pub(crate) at_restart: Vec<Change>,
}

impl Changes {
    /// What `new` has otherwise than `current`; of keys that need a restart, than `started`, with which the node was started.
    pub(crate) fn between(started: &Raw, current: &Raw, new: &Raw) -> Self {
        let (started, current, new) = (keys(started), keys(current), keys(new));
        let mut changes = Self::default();
        for (key, to) in new {
            let needs_restart = NEEDS_RESTART.contains(&key.as_str());
            let before = if needs_restart { &started } else { &current };
            let from = before.iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_string());
            if from.as_ref() != Some(&to.to_string()) {
                let is_secret = SECRETS.contains(&key.as_str());
                let shown = |value: String| if is_secret { MASK.to_owned() } else { value };
                let change = Change { from: shown(from.unwrap_or_default()), to: shown(to.to_string()), key };
                if needs_restart { changes.at_restart.push(change) } else { changes.live.push(change) }
            }
        }
        changes
    }
}

fn keys(raw: &Raw) -> Vec<(String, Value)> {
    let Ok(Value::Table(sections)) = Value::try_from(raw) else { return Vec::new() };
    let keys = sections.into_iter().flat_map(|(section, table)| match table {
        Value::Table(table) => table.into_iter().map(|(name, value)| (format!("{section}.{name}"), value)).collect(),
        // `[[access]]`, as one.
        rules => vec![(section, rules)],
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::super::raw::defaults;
    use super::*;

    #[test]
    fn every_key_named_here_exists() {
        let known = defaults();
        for key in NEEDS_RESTART {
            assert!(known.contains_key(key), "{key}");
        }
    }

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
        // Told again each time: the node still runs with what it was started with.
        assert_eq!(texts(&changes.at_restart), ["writers.count: 16 to 3"]);
        assert_eq!(Changes::between(&started, &started, &started), Changes::default());
    }
}
