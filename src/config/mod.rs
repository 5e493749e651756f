//! Configuration: built-in defaults < file < environment < flags, composed into the settings types each room owns.
//!
//! `sources` layers what was given, `read` lays it over the defaults of `raw`, which mirrors the file, and `compose` checks
//! every bound and builds [`Settings`]. Nothing stops at the first mistake: a [`ConfigError`] lists all of them.

mod access;
mod admin;
mod audit;
mod changes;
mod checks;
mod compose;
mod human;
mod masked;
mod problem;
mod raw;
mod read;
mod reference;
mod sources;
#[cfg(test)]
mod template_tests;
mod tls;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_actors::NodeSettings;

use crate::admin::AdminSettings;

pub(crate) use changes::Changes;
pub(crate) use human::{period_text, size_text};
pub(crate) use masked::masked;
pub(crate) use raw::Raw;
pub(crate) use reference::reference;
pub(crate) use sources::{Environment, Flags, process_environment};
pub(crate) use tls::{ClientAuth, OwnCertificate, RevocationList, Tls};

use crate::audit::Target;
use problem::Problem;

/// The commented template: every key with its default. A test holds it equal to [`Raw::default`].
pub(crate) const TEMPLATE: &str = include_str!("../../conf/tidegate.toml");

/// Settings that cannot be wrong any more.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) node: NodeSettings,
    /// The certificate that TLS peers see; `None`: no TLS.
    pub(crate) certificate: Option<OwnCertificate>,
    /// Whom TLS peers' certificates are looked up in.
    pub(crate) revocation_lists: Vec<RevocationList>,
    /// How long associations get to finish when the node is asked to stop.
    pub(crate) shutdown_grace: Duration,
    /// Where the admin surface listens; `None` = off.
    pub(crate) admin: Option<AdminSettings>,
    /// Path of the admin socket; `None` = off.
    pub(crate) admin_socket: Option<PathBuf>,
    pub(crate) log: LogSettings,
    /// Where audit messages go; `None`: nowhere.
    pub(crate) audit: Option<Target>,
}

/// What is logged, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) level: tracing::Level,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A valid configuration: as written, and as each room takes it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) raw: Raw,
    pub(crate) settings: Settings,
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
    #[error("configuration is not valid\n{}", problem::list(.0))]
    Invalid(Vec<Problem>),
}

/// Reads the sources, lays each over the ones before it, and checks the result.
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

/// The same, of a file that has been read: its path and its text.
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
