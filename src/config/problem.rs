//! A problem of one key, a list of them as text, and the error of a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A problem of one key. Ordered by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Dotted path, as in `associations.max`.
    pub(super) key: String,
    /// The value as TOML writes it.
    pub(super) value: String,
    /// Where it was set: file and line, environment variable, flag, or the built-in default.
    pub(super) origin: String,
    /// The fault, and the allowed values.
    pub(super) complaint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin, complaint } = self;
        write!(f, "{key} = {value} ({origin}): {complaint}")
    }
}

/// One indented line for each problem.
fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}

/// The error of a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file given by `--config` cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is not TOML.
    #[error("{}:{line}: not valid TOML: {reason}", path.display())]
    Syntax { path: PathBuf, line: usize, reason: String },
    /// The `config` crate could not put the sources together (an environment variable that is not UTF-8).
    #[error("configuration cannot be read: {0}")]
    Sources(#[from] ::config::ConfigError),
    /// Keys or values that are not allowed, all of them.
    #[error("configuration is not valid\n{}", list(.0))]
    Invalid(Vec<Problem>),
}
