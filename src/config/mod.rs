//! Configuration: built-in defaults < file < environment < flags, composed into the settings types of each crate.
//!
//! `keys` is the table of keys. `sources` merges the sources, `read` applies them to the defaults of the table, and `compose` checks every
//! bound and builds [`Settings`]. A [`ConfigError`] lists all errors, not only the first.

mod access;
mod admin;
mod audit;
mod bounds;
mod brokers;
mod calling;
mod catalogue;
mod changes;
mod checks;
mod commitment;
mod compose;
mod criteria;
mod delivery;
#[cfg(test)]
mod effect_tests;
mod entries;
mod events;
mod human;
mod keys;
mod listen;
mod nearest;
mod pem;
mod permissions;
mod placements;
mod problem;
mod read;
mod reference;
mod removed;
mod retention;
mod secret;
mod settings;
mod sink_url;
mod sources;
mod syntax;
mod tables;
#[cfg(test)]
mod template_tests;
mod tls;

use std::path::{Path, PathBuf};

use tidegate_actors::CatalogueSettings;

use crate::admin::SocketPath;

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
    load_beside(None, file, environment, flags)
}

/// As [`load`], for a node that runs since it `started` with that configuration: its storage keeps the settings of then.
pub(crate) fn reload(
    started: &Raw,
    file: Option<&Path>,
    environment: Environment,
    flags: &Flags,
) -> Result<Loaded, ConfigError> {
    load_beside(Some(started), file, environment, flags)
}

fn load_beside(
    started: Option<&Raw>,
    file: Option<&Path>,
    environment: Environment,
    flags: &Flags,
) -> Result<Loaded, ConfigError> {
    let Some(path) = file else { return from_text(started, None, environment, flags) };
    from_text(started, Some((path, &read_text(path)?)), environment, flags)
}

/// As [`reload`], for a file that has been read: its path and its text. `started`: `None` at the start.
pub(crate) fn from_text(
    started: Option<&Raw>,
    file: Option<(&Path, &str)>,
    environment: Environment,
    flags: &Flags,
) -> Result<Loaded, ConfigError> {
    let given = sources::gather(file, environment, flags)?;
    let (raw, mut problems) = read::read(&given);
    let settings = compose::compose(&raw, started, &given, &mut problems);
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { raw, settings }),
        _ => {
            problems.sort();
            Err(ConfigError::Invalid(problems))
        }
    }
}

/// The admin socket alone: a client finds its node though another key has a mistake, or names a secret that the client may not read.
///
/// # Errors
///
/// The file cannot be read, is not TOML, or the keys of the socket's path have mistakes.
pub(crate) fn admin_socket(
    file: Option<&Path>,
    environment: Environment,
    flags: &Flags,
) -> Result<Option<SocketPath>, ConfigError> {
    of_keys(&["admin.socket", "storage.root"], file, environment, flags, compose::admin_socket)
}

/// The storage root and its catalogue alone, in the same way.
///
/// # Errors
///
/// The file cannot be read, is not TOML, or the keys of the catalogue's path have mistakes.
pub(crate) fn catalogue_of_root(
    file: Option<&Path>,
    environment: Environment,
    flags: &Flags,
) -> Result<Option<(PathBuf, CatalogueSettings)>, ConfigError> {
    of_keys(&["catalogue.path", "storage.root"], file, environment, flags, |raw, _| catalogue::of_root(raw))
}

/// The record of commitment requests that these sources give, for a client that reads it without a node.
///
/// # Errors
///
/// The file cannot be read, is not TOML, or the key of the storage root has mistakes.
pub(crate) fn commitments_file(
    file: Option<&Path>,
    environment: Environment,
    flags: &Flags,
) -> Result<PathBuf, ConfigError> {
    of_keys(&["storage.root"], file, environment, flags, |raw, _| Path::new(&raw.storage.root).join(COMMITMENTS))
}

/// What `compose` makes of these keys, whatever mistakes others have.
fn of_keys<T>(
    keys: &[&str],
    file: Option<&Path>,
    environment: Environment,
    flags: &Flags,
    compose: impl FnOnce(&Raw, &mut checks::Checks<'_>) -> T,
) -> Result<T, ConfigError> {
    let text = file.map(|path| read_text(path).map(|text| (path, text))).transpose()?;
    let given = sources::gather(text.as_ref().map(|(path, text)| (*path, text.as_str())), environment, flags)?;
    let (raw, mut problems) = read::read(&given);
    problems.retain(|problem| keys.contains(&problem.key.as_str()));
    let composed = compose(&raw, &mut checks::Checks::new(&given, &mut problems));
    if problems.is_empty() { Ok(composed) } else { Err(ConfigError::Invalid(problems)) }
}

/// As [`load`], for the start of a node: an error comes with the format of the log, in which it is told. What cannot be read of the sources
/// does not count for that.
pub(crate) fn load_to_start(
    file: Option<&Path>,
    environment: Environment,
    flags: &Flags,
) -> Result<Loaded, (ConfigError, LogFormat)> {
    let text = file.map(|path| read_text(path).map(|text| (path, text))).transpose();
    let text = text.map_err(|error| (error, log_format(None, &environment)))?;
    let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
    let loaded = from_text(None, file, environment.clone(), flags);
    loaded.map_err(|error| (error, log_format(file.map(|(_, text)| text), &environment)))
}

/// The record of commitment requests, below the storage root.
const COMMITMENTS: &str = ".tidegate/commitments.sqlite";

/// The format of the log by a file of this text and the environment, as far as they can be read.
pub(crate) fn log_format(text: Option<&str>, environment: &Environment) -> LogFormat {
    match sources::log_format(text, environment).as_deref() {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
