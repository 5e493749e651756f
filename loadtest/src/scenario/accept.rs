//! Reads the types of a scenario's file entry by entry: an entry that is not understood is noted and taken out, and the rest is read again, so
//! that all of them are told at once.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Problems, ScenarioError, of_toml};
use super::raw;

/// Entries that are told; a file with more is none that was meant for this.
const MAX_REJECTED: usize = 50;

/// The scenario without the entries that were noted in `problems`.
///
/// # Errors
/// When the file is no TOML, or an entry cannot be taken out.
pub(super) fn read(text: &str, origin: &str, problems: &mut Problems<'_>) -> Result<raw::Scenario, ScenarioError> {
    let mut table =
        DeTable::parse(text).map_err(|error| ScenarioError::Wrong { problems: vec![of_toml(text, origin, &error)] })?;
    loop {
        let error = match serde::Deserialize::deserialize(toml::de::Deserializer::from(table.clone())) {
            Ok(scenario) => return Ok(scenario),
            Err(error) => error,
        };
        let at = error.span().map_or(usize::MAX, |span| span.start);
        let taken = take_out(table.get_mut(), at, "");
        problems.reject(of_toml(text, origin, &error), taken.as_deref().unwrap_or_default());
        if taken.is_none() || problems.rejected() == MAX_REJECTED {
            return Err(problems.take());
        }
    }
}

/// Takes the innermost entry at a place in the text out of a table, and returns its dotted path.
fn take_out(table: &mut DeTable<'_>, at: usize, path: &str) -> Option<String> {
    let (key, is_key) = table.iter().find_map(|(key, value)| {
        let is_key = key.span().contains(&at);
        (is_key || holds(value, at)).then(|| (key.clone(), is_key))
    })?;
    let name = format!("{path}{}", key.get_ref());
    let value = table.get_mut(&key)?.get_mut();
    // A header stands at the key of its table, too.
    let inner = match value {
        _ if is_key && !matches!(value, DeValue::Table(_) | DeValue::Array(_)) => None,
        DeValue::Table(inner) => take_out(inner, at, &format!("{name}.")),
        DeValue::Array(items) => items.iter_mut().enumerate().find_map(|(index, item)| match item.get_mut() {
            DeValue::Table(inner) => take_out(inner, at, &format!("{name}.{index}.")),
            _ => None,
        }),
        _ => None,
    };
    if inner.is_none() {
        table.remove(&key);
    }
    inner.or(Some(name))
}

/// Whether a value, or anything in it, stands at this place: the tables below a header are not within its own span.
fn holds(value: &Spanned<DeValue<'_>>, at: usize) -> bool {
    let inner = match value.get_ref() {
        DeValue::Table(table) => table.iter().any(|(key, value)| key.span().contains(&at) || holds(value, at)),
        DeValue::Array(items) => items.iter().any(|item| holds(item, at)),
        _ => false,
    };
    inner || value.span().contains(&at)
}
