//! The storage root of a command: the one given, or that of the configuration.

use std::path::PathBuf;

use clap::Args;
use tidegate_actors::NodeSettings;

use super::Exit;
use super::configuration::refuse;
use crate::config::{self, Flags};

/// The options that select a storage root.
#[derive(Debug, Args)]
pub(super) struct RootArgs {
    /// Storage root [storage.root]
    #[arg(value_name = "DIR")]
    root: Option<PathBuf>,
    /// Configuration file, for storage.root and the keys that describe its contents
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl RootArgs {
    /// The settings in effect, with that root; or the exit code, after the error is printed.
    pub(super) fn settings(self) -> Result<NodeSettings, Exit> {
        let storage = self.root.as_deref().map(|root| root.to_string_lossy().into_owned());
        let flags = Flags { storage, ..Flags::default() };
        let loaded = config::load(self.config.as_deref(), config::process_environment(), &flags);
        let mut settings = loaded.map_err(|error| refuse(&error))?.settings.node;
        if let Some(root) = self.root {
            // The path as given, UTF-8 or not.
            settings.storage.root = root;
        }
        Ok(settings)
    }
}
