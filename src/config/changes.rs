//! The differences between two configurations: those that a running node applies, and those that need a restart.

use super::keys::{Raw, needs_restart, values};

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
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
            let from = before.iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_string());
            if from.as_ref() != Some(&to.to_string()) {
                let change = Change { from: from.unwrap_or_default(), to: to.to_string(), key };
                if at_restart { changes.at_restart.push(change) } else { changes.live.push(change) }
            }
        }
        changes
    }
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
}
