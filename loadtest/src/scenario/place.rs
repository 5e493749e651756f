//! Where in a scenario's file a mistake stands, and how it reads.

use std::fmt;
use std::io;

use thiserror::Error;
use toml::de::{DeTable, DeValue};

/// Names that are less alike are not taken for each other.
const LIKE: f64 = 0.6;
/// A shorter begin of a name could be that of any.
const LEAST_BEGIN: usize = 3;

/// Why there is no scenario.
#[derive(Debug, Error)]
pub(crate) enum ScenarioError {
    #[error("cannot read the scenario {name}, and none of that name is shipped; there are {}", shipped.join(", "))]
    Unreadable { name: String, source: io::Error, shipped: Vec<&'static str> },
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Wrong { problems: Vec<Problem> },
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    file: String,
    line: usize,
    /// Dotted path, as in `mix.0.weight`; empty where the file is no TOML.
    key: String,
    /// The fault, and the remedy.
    complaint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, key, complaint } = self;
        let separator = if key.is_empty() { "" } else { ": " };
        write!(f, "{file}:{line}: {key}{separator}{complaint}")
    }
}

/// The error of the TOML parser or of the types, unknown keys included.
pub(super) fn of_toml(text: &str, origin: &str, error: &toml::de::Error) -> Problem {
    let at = error.span().map_or(0, |span| span.start);
    let line_start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |line_feed| line_feed + 1);
    let source = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let key = source.split_once('=').map_or("", |(key, _)| key.trim());
    let mut complaint = error.message().trim().replace('\n', "; ");
    if let Some(meant) = meant(&complaint) {
        complaint = format!("{complaint}; did you mean `{meant}`?");
    }
    Problem { file: origin.to_owned(), line: line_of(text, at), key: key.to_owned(), complaint }
}

/// The name that was probably meant, of those that a complaint about an unknown field or variant expects: the names stand in backquotes, the wrong one first.
fn meant(complaint: &str) -> Option<&str> {
    let mut names = complaint.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let wrong = names.next()?;
    let likeness = |name: &str| {
        let is_begin = wrong.len() >= LEAST_BEGIN && name.starts_with(wrong);
        if is_begin { 1.0 } else { strsim::normalized_damerau_levenshtein(name, wrong) }
    };
    let closest = names.map(|name| (likeness(name), name)).max_by(|(one, _), (other, _)| one.total_cmp(other));
    closest.filter(|(likeness, _)| *likeness > LIKE).map(|(_, name)| name)
}

/// Collects the mistakes of one file.
pub(super) struct Problems<'a> {
    text: &'a str,
    origin: &'a str,
    found: Vec<Problem>,
    /// Dotted paths of the entries that were not understood.
    rejected: Vec<String>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str, origin: &'a str) -> Self {
        Self { text, origin, found: Vec::new(), rejected: Vec::new() }
    }

    /// Notes an entry that is not understood.
    pub(super) fn reject(&mut self, problem: Problem, path: &str) {
        self.found.push(problem);
        self.rejected.push(path.to_owned());
    }

    /// Entries that are not understood.
    pub(super) fn rejected(&self) -> usize {
        self.rejected.len()
    }

    /// Everything that was noted.
    pub(super) fn take(&mut self) -> ScenarioError {
        let mut problems = std::mem::take(&mut self.found);
        problems.sort_by_key(|problem| problem.line);
        ScenarioError::Wrong { problems }
    }

    /// Whether a complaint about `key` only follows from an entry that was taken out: it is part of what the complaint is about, the
    /// model that decides on all other keys of the load, or a kind that senders name.
    fn follows(&self, key: &str) -> bool {
        self.rejected.iter().any(|path| {
            let is_part = path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            let is_of_model = path == "load.model" && key.starts_with("load");
            let is_named_kind = path.starts_with("mix") && key.starts_with("senders.") && key.ends_with(".mix");
            is_part || is_of_model || is_named_kind
        })
    }

    /// Notes that `key`, a dotted path, is not as it should be.
    pub(super) fn add(&mut self, key: &str, complaint: impl Into<String>) {
        if self.follows(key) {
            return;
        }
        let line = line_of(self.text, self.offset(key));
        let (file, key) = (self.origin.to_owned(), key.to_owned());
        self.found.push(Problem { file, line, key, complaint: complaint.into() });
    }

    /// `value` when nothing was found.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, ScenarioError> {
        if self.found.is_empty() { Ok(value) } else { Err(self.take()) }
    }

    /// Where the value of `key` stands, or the innermost table that the file does have.
    fn offset(&self, key: &str) -> usize {
        let Ok(table) = DeTable::parse(self.text) else {
            return 0;
        };
        let mut at = 0;
        let mut parts = key.split('.');
        let mut value = parts.next().and_then(|part| table.get_ref().get(part));
        while let Some(found) = value {
            at = found.span().start;
            let Some(part) = parts.next() else {
                break;
            };
            value = match found.get_ref() {
                DeValue::Table(table) => table.get(part),
                DeValue::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
        }
        at
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}
