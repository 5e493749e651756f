//! One mistake in the configuration, how a list of them reads, and the error that there is no configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

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
fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file given by `--config` cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is no TOML at all.
    #[error("{}:{line}: not valid TOML: {reason}", path.display())]
    Syntax { path: PathBuf, line: usize, reason: String },
    /// The `config` crate could not put the sources together (an environment variable that is not UTF-8).
    #[error("configuration cannot be read: {0}")]
    Sources(#[from] ::config::ConfigError),
    /// Keys or values that are not allowed, all of them.
    #[error("configuration is not valid\n{}", list(.0))]
    Invalid(Vec<Problem>),
}
