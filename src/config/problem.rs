//! One mistake in the configuration, and how a list of them reads.

use std::fmt;

/// A key that cannot stand as it is. Ordered by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Dotted path, as in `associations.max`.
    pub(super) key: String,
    /// The value as TOML writes it.
    pub(super) value: String,
    /// Where it was set: file and line, environment variable, flag, or the built-in default.
    pub(super) origin: String,
    /// What is wrong with it and what is allowed.
    pub(super) complaint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin, complaint } = self;
        write!(f, "{key} = {value} ({origin}): {complaint}")
    }
}

/// One indented line a problem.
pub(super) fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}
