//! The sources of values: a TOML file, the environment and the command line, merged by the `config` crate.
//!
//! The file is parsed here and not by that crate, for line numbers and for types as strict as TOML's own (`config` would round `2.5` to an
//! integer).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use ::config::{Config, Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::KEYS;
use super::problem::ConfigError;
use super::removed::REMOVED;
use super::syntax;

/// Values given on the command line; `None` = flag not given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) listen: Option<String>,
    pub(crate) ae_title: Option<String>,
    pub(crate) storage: Option<String>,
    pub(crate) admin: Option<String>,
}

/// The variables of a process: those named `TIDEGATE__SECTION__KEY` set keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: Map<String, String>,
    /// The names of those whose value is not UTF-8.
    not_utf8: Vec<String>,
}

/// The environment of this process.
pub(crate) fn process_environment() -> Environment {
    Environment::of(std::env::vars_os())
}

impl Environment {
    /// These variables. One whose name is not UTF-8 is none of ours.
    pub(crate) fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut of = Self::default();
        for (name, value) in variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value))) {
            let text = value.into_string().unwrap_or_else(|value| {
                of.not_utf8.push(name.clone());
                value.to_string_lossy().into_owned()
            });
            of.variables.insert(name, text);
        }
        of
    }

    /// The values of those that begin with `TIDEGATE` and this separator.
    fn source(&self, prefix_separator: &str) -> ::config::Environment {
        let source = ::config::Environment::with_prefix("TIDEGATE").source(Some(self.variables.clone()));
        source.prefix_separator(prefix_separator).separator(SEPARATOR)
    }

    /// The keys whose variable is not UTF-8, each with the name of the variable as it was written.
    fn unreadable(&self) -> impl Iterator<Item = (String, &str)> {
        let key_of = |name: &str| {
            let (prefix, key) = name.split_at_checked(PREFIX.len())?;
            prefix.eq_ignore_ascii_case(PREFIX).then(|| key.to_lowercase().replace(SEPARATOR, "."))
        };
        self.not_utf8.iter().filter_map(move |name| Some((key_of(name)?, name.as_str())))
    }
}

/// The begin of a variable that sets a key.
const PREFIX: &str = "TIDEGATE__";
const SEPARATOR: &str = "__";
const NOT_UTF8: &str = "is not UTF-8: set the variable to a text in UTF-8";

/// The merged values, by dotted key. A key that no source sets is absent.
pub(super) type Given = BTreeMap<String, GivenValue>;

/// A value and its source.
#[derive(Debug, Clone)]
pub(super) struct GivenValue {
    pub(super) value: toml::Value,
    /// As in [`Problem::origin`](super::problem::Problem::origin).
    pub(super) origin: String,
    /// From a variable or a flag: text, whatever the key's type.
    pub(super) is_text: bool,
    /// If it is an array of tables: each of them.
    pub(super) tables: Vec<GivenTable>,
    /// Why it cannot be read, whatever the key takes.
    pub(super) fault: Option<&'static str>,
}

/// A table of an array.
#[derive(Debug, Clone)]
pub(super) struct GivenTable {
    pub(super) origin: String,
    pub(super) keys: Given,
}

const FLAG_OF_KEY: [(&str, &str); 4] = [
    ("node.listen", "--listen"),
    ("node.ae_title", "--ae-title"),
    ("storage.root", "--storage"),
    ("admin.listen", "--admin"),
];

/// Merges the sources and lists their keys. A file is given by its path and its text.
pub(super) fn gather(
    file: Option<(&Path, &str)>,
    environment: Environment,
    flags: &Flags,
) -> Result<Given, ConfigError> {
    let misnamed = misnamed(&environment)?;
    let mut builder = Config::builder();
    if let Some((path, text)) = file {
        builder = builder.add_source(TomlFile::parse(path, text)?);
    }
    let merged = builder
        .add_source(environment.source(SEPARATOR))
        .set_override_option("node.listen", flags.listen.clone())?
        .set_override_option("node.ae_title", flags.ae_title.clone())?
        .set_override_option("storage.root", flags.storage.clone())?
        .set_override_option("admin.listen", flags.admin.clone())?
        .build()?
        .collect()?;
    let mut given = Given::new();
    for (name, value) in merged {
        flatten(name, value, file.map(|(path, _)| path), &mut given);
    }
    given.extend(misnamed);
    for (key, variable) in environment.unreadable() {
        // A flag wins.
        if let Some(value) = given.get_mut(&key).filter(|value| value.origin.starts_with(OF_ENVIRONMENT)) {
            (value.origin, value.fault) = (format!("{OF_ENVIRONMENT} {variable}"), Some(NOT_UTF8));
        }
    }
    Ok(given)
}

/// `log.format` of a file with this text, and of the environment: the value that is in force, if a syntax error or another key allows to read it.
pub(super) fn log_format(text: Option<&str>, environment: &Environment) -> Option<String> {
    let variables = environment.source(SEPARATOR).collect().ok();
    let of_environment = variables.and_then(|values| values.get("log.format")?.clone().into_string().ok());
    let of_file = || {
        let (document, _) = DeTable::parse_recoverable(text?);
        let section = value_of(document.get_ref(), "log")?.as_table()?;
        value_of(section, "format")?.as_str().map(str::to_owned)
    };
    of_environment.or_else(of_file)
}

fn value_of<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t DeValue<'i>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref())
}

/// The key under which a variable with single underscores is listed, so that it is refused.
pub(super) const MISNAMED: &str = "TIDEGATE_";

/// Stands for the flag `--config`, which has no key.
pub(super) const CONFIG: &str = "--config";

/// Variables such as `TIDEGATE_NODE_AE_TITLE`, which name a key but for their underscores, and `TIDEGATE_AE_TITLE`, which name a flag. Others that begin so are not the node's: tools
/// have some, and Kubernetes sets those of a service of that name.
fn misnamed(environment: &Environment) -> Result<Given, ConfigError> {
    let variables = environment.source("_").collect()?;
    let letters = |name: &str| name.replace(['.', '_'], "").to_lowercase();
    let keys: Vec<(String, &str)> = KEYS.iter().map(|key| (letters(key.path), key.path)).collect();
    let removed = REMOVED.iter().map(|(key, _)| (letters(key), *key));
    let keys: Vec<(String, &str)> = keys.into_iter().chain(removed).collect();
    let flags = FLAG_OF_KEY.map(|(key, flag)| (letters(flag.trim_start_matches('-')).replace('-', ""), key));
    let keys: Vec<(String, &str)> = keys.into_iter().chain(flags).chain([("config".to_owned(), CONFIG)]).collect();
    let meant =
        |name: &str| keys.iter().find(|(letters_of_key, _)| *letters_of_key == letters(name)).map(|(_, key)| *key);
    let mut found = Given::new();
    for (name, _) in variables.into_iter().filter(|(name, _)| !name.starts_with('_')) {
        let Some(key) = meant(&name) else { continue };
        let variable = format!("{MISNAMED}{}", name.to_uppercase());
        let value = toml::Value::String(key.to_owned());
        let given =
            GivenValue { value, origin: "environment".to_owned(), is_text: true, tables: Vec::new(), fault: None };
        found.insert(variable, given);
    }
    Ok(found)
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("TIDEGATE__{}", key.to_uppercase().replace('.', "__"))
}

/// Sections are walked, everything else is a value.
fn flatten(key: String, value: Value, file: Option<&Path>, given: &mut Given) {
    match value.kind {
        ValueKind::Table(table) if !table.is_empty() => {
            for (name, value) in table {
                flatten(format!("{key}.{name}"), value, file, given);
            }
        }
        // An empty section says nothing, unless there is no such section: `raw` decides.
        _ => {
            let (origin, is_text) = origin(&key, value.origin(), file);
            let tables = tables_of(&value);
            given.insert(key, GivenValue { value: into_toml(value), origin, is_text, tables, fault: None });
        }
    }
}

/// The tables of an array, each key with its line.
fn tables_of(value: &Value) -> Vec<GivenTable> {
    let ValueKind::Array(entries) = &value.kind else { return Vec::new() };
    let line_of = |value: &Value| value.origin().unwrap_or_default().to_owned();
    let given = |value: &Value| GivenValue {
        origin: line_of(value),
        value: into_toml(value.clone()),
        is_text: false,
        tables: Vec::new(),
        fault: None,
    };
    let tables = entries.iter().filter_map(|entry| match &entry.kind {
        ValueKind::Table(table) => {
            let keys = table.iter().map(|(key, value)| (key.clone(), given(value))).collect();
            Some(GivenTable { origin: line_of(entry), keys })
        }
        _ => None,
    });
    tables.collect()
}

/// The begin of an origin.
const OF_ENVIRONMENT: &str = "environment variable";

/// The file source names file and line, the environment itself. Overrides carry no origin, nor do tables, which only a file
/// can hold.
fn origin(key: &str, location: Option<&str>, file: Option<&Path>) -> (String, bool) {
    match location {
        Some("the environment") => (format!("{OF_ENVIRONMENT} {}", variable_of(key)), true),
        Some(origin) => (origin.to_owned(), false),
        None => match FLAG_OF_KEY.iter().find(|(flagged, _)| *flagged == key) {
            Some((_, flag)) => (format!("flag {flag}"), true),
            None => (file.map_or_else(String::new, |file| file.display().to_string()), false),
        },
    }
}

fn into_toml(value: Value) -> toml::Value {
    match value.kind {
        ValueKind::Boolean(switch) => toml::Value::Boolean(switch),
        ValueKind::I64(number) => toml::Value::Integer(number),
        ValueKind::Float(number) => toml::Value::Float(number),
        ValueKind::Array(values) => toml::Value::Array(values.into_iter().map(into_toml).collect()),
        ValueKind::Table(table) => {
            toml::Value::Table(table.into_iter().map(|(name, value)| (name, into_toml(value))).collect())
        }
        // A text. The other kinds of values come from none of our sources.
        kind => toml::Value::String(kind.to_string()),
    }
}

/// A parsed configuration file. Each value knows its line.
#[derive(Debug, Clone)]
struct TomlFile(Map<String, Value>);

impl TomlFile {
    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mistakes = syntax::mistakes(text, &errors);
            return Err(ConfigError::Syntax { path: path.to_owned(), mistakes });
        }
        let origin_of = |offset| format!("{}:{}", path.display(), syntax::line_of(text, offset));
        Ok(Self(table(document.get_ref(), &origin_of)))
    }
}

impl Source for TomlFile {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn table(table: &DeTable<'_>, origin_of: &impl Fn(usize) -> String) -> Map<String, Value> {
    table
        .iter()
        .map(|(name, entry)| {
            let origin = origin_of(name.span().start);
            (name.get_ref().to_string(), Value::new(Some(&origin), kind(entry, origin_of)))
        })
        .collect()
}

fn kind(entry: &Spanned<DeValue<'_>>, origin_of: &impl Fn(usize) -> String) -> ValueKind {
    match entry.get_ref() {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Boolean(switch) => ValueKind::Boolean(*switch),
        // A number beyond the range of a TOML integer stays as written, and fails as a value of the wrong type.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::I64),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::Float)
        }
        DeValue::Datetime(instant) => ValueKind::String(instant.to_string()),
        DeValue::Array(entries) => ValueKind::Array(
            entries
                .iter()
                .map(|entry| Value::new(Some(&origin_of(entry.span().start)), kind(entry, origin_of)))
                .collect(),
        ),
        DeValue::Table(entries) => ValueKind::Table(table(entries, origin_of)),
    }
}
