//! Configuration: built-in defaults < file < environment < flags, composed into the settings types of each crate.
//!
//! `keys` is the table of keys. `sources` merges the sources, `read` applies them to the defaults of the table, and `compose` checks every
//! bound and builds [`Settings`]. A [`ConfigError`] lists all errors, not only the first.

mod access;
mod admin;
mod audit;
mod bounds;
mod changes;
mod checks;
mod compose;
mod human;
mod keys;
mod permissions;
mod placements;
mod problem;
mod read;
mod reference;
mod removed;
mod secret;
mod settings;
mod sources;
#[cfg(test)]
mod template_tests;
mod tls;

use std::path::Path;

pub(crate) use changes::Changes;
pub(crate) use human::{period_text, size_text};
pub(crate) use keys::Raw;
pub(crate) use problem::ConfigError;
pub(crate) use reference::reference;
pub(crate) use settings::{LogFormat, LogSettings, Settings};
pub(crate) use sources::{Environment, Flags, process_environment};
pub(crate) use tls::{ClientAuth, OwnCertificate, RevocationList, Tls};

/// The commented template: every key with its default. A test holds it equal to [`Raw::default`].
pub(crate) const TEMPLATE: &str = include_str!("../../conf/tidegate.toml");

/// A valid configuration: as written, and in the types of each crate.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) raw: Raw,
    pub(crate) settings: Settings,
}

/// Reads the sources, lays each over the previous ones, and checks the result.
///
/// # Errors
/// [`ConfigError::Invalid`] names each key that is unknown or out of bounds, its value, where it was set, and what is allowed.
pub(crate) fn load(file: Option<&Path>, environment: Environment, flags: &Flags) -> Result<Loaded, ConfigError> {
    let Some(path) = file else { return from_text(None, environment, flags) };
    match std::fs::read_to_string(path) {
        Ok(text) => from_text(Some((path, &text)), environment, flags),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

/// As [`load`], for a file that has been read: its path and its text.
pub(crate) fn from_text(
    file: Option<(&Path, &str)>,
    environment: Environment,
    flags: &Flags,
) -> Result<Loaded, ConfigError> {
    let given = sources::gather(file, environment, flags)?;
    let (raw, mut problems) = read::read(&given);
    let settings = compose::compose(&raw, &given, &mut problems);
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { raw, settings }),
        _ => {
            problems.sort();
            Err(ConfigError::Invalid(problems))
        }
    }
}

#[cfg(test)]
mod tests;
