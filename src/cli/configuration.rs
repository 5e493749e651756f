//! Loads the configuration of a command.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::{logging, output};
use crate::config::{self, ConfigError, Flags, LogFormat};

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// Configuration file (TOML); without it the built-in defaults and the environment apply
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Loads the configuration for `command`, or prints its errors.
pub(super) fn with_config(file: Option<PathBuf>, flags: Flags, command: impl FnOnce(config::Loaded) -> Exit) -> Exit {
    match config::load(file.as_deref(), config::process_environment(), &flags) {
        Ok(loaded) => command(loaded),
        Err(error) => refuse(&error),
    }
}

/// Loads the configuration and starts a node with it, or tells its errors in the format of the log.
pub(super) fn start(file: Option<PathBuf>, flags: Flags, run: impl FnOnce(config::Loaded) -> Exit) -> Exit {
    match config::load_to_start(file.as_deref(), config::process_environment(), &flags) {
        Ok(loaded) => run(loaded),
        Err((error, LogFormat::Text)) => refuse(&error),
        Err((error, LogFormat::Json)) => {
            error.mistakes().iter().for_each(|mistake| logging::not_started(LogFormat::Json, mistake));
            Exit::Misused
        }
    }
}

/// Prints that there is no valid configuration.
pub(super) fn refuse(error: &ConfigError) -> Exit {
    output::complain(&error.to_string());
    Exit::Misused
}
