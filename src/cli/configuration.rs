//! Loads the configuration of a command.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::output;
use crate::config::{self, ConfigError, Flags};

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

/// Prints that there is no valid configuration.
pub(super) fn refuse(error: &ConfigError) -> Exit {
    output::complain(&error.to_string());
    Exit::Misused
}
