//! A problem of one key, a list of them as text, and the error of a configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A problem of one key. Ordered by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Dotted path, as in `associations.max`; `access` for the access rules, `peer` and `destination` for those.
    pub(super) key: String,
    /// The table of an array of tables, if it is of one.
    pub(super) table: Option<InTable>,
    /// The value as TOML writes it; empty if there is none.
    pub(super) value: String,
    /// Where it was set: file and line, environment variable, flag, or the built-in default.
    pub(super) origin: String,
    /// The fault, and the allowed values.
    pub(super) complaint: String,
}

/// The place of a problem within an array of tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InTable {
    /// Number of the table in the file, from 1.
    pub(super) number: usize,
    pub(super) name: Option<String>,
    /// The key of the table, if it is of one.
    pub(super) key: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, table, value, origin, complaint } = self;
        match table {
            None => write!(f, "{key}")?,
            Some(InTable { number, name, key: of_table }) => {
                write!(f, "[[{key}]] {number}")?;
                name.as_ref().map_or(Ok(()), |name| write!(f, " ({name:?})"))?;
                of_table.as_ref().map_or(Ok(()), |key| write!(f, ": {key}"))?;
            }
        }
        if table.is_none() || !value.is_empty() {
            write!(f, " = {value}")?;
        }
        write!(f, " ({origin}): {complaint}")
    }
}

/// One indented line for each problem.
fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
    lines.join("\n")
}

/// One indented line for each mistake.
fn mistakes_in(path: &Path, mistakes: &[(usize, String)]) -> String {
    let lines: Vec<String> =
        mistakes.iter().map(|(line, mistake)| format!("  {}:{line}: {mistake}", path.display())).collect();
    lines.join("\n")
}

/// The error of a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file given by `--config` cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file is not TOML. Each mistake has its line.
    #[error("{} is not valid TOML\n{}", path.display(), mistakes_in(path, .mistakes))]
    Syntax { path: PathBuf, mistakes: Vec<(usize, String)> },
    /// The `config` crate could not put the sources together (two of them give one name to a section and to a key).
    #[error("configuration cannot be read: {0}")]
    Sources(#[from] ::config::ConfigError),
    /// Keys or values that are not allowed, all of them.
    #[error("configuration is not valid\n{}", list(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// Each mistake as a line of its own.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let text = self.to_string();
        match self {
            Self::Invalid(_) | Self::Syntax { .. } => text.lines().skip(1).map(|line| line.trim().to_owned()).collect(),
            Self::Unreadable { .. } | Self::Sources(_) => vec![text],
        }
    }
}
