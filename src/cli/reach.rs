//! Which running node a command asks: found as `tidegate run` would place it.

use std::path::PathBuf;

use clap::Args;

use super::client::Client;
use super::configuration::refuse;
use super::{Exit, output};
use crate::config::{self, Flags};

/// Which node.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// Admin socket of the node [admin.socket]
    #[arg(long, value_name = "PATH", global = true, conflicts_with_all = ["config", "storage"])]
    socket: Option<PathBuf>,
    /// Configuration file of the node
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Storage root of the node [storage.root]
    #[arg(long, value_name = "DIR", global = true)]
    storage: Option<String>,
}

impl Reach {
    /// Someone to ask it; or why not, which has been told.
    pub(super) fn client(self) -> Result<Client, Exit> {
        self.socket().map(Client::new)
    }

    /// Where the node's socket is.
    fn socket(self) -> Result<PathBuf, Exit> {
        if let Some(socket) = self.socket {
            return Ok(socket);
        }
        let flags = Flags { storage: self.storage, ..Flags::default() };
        let loaded = config::load(self.config.as_deref(), config::process_environment(), &flags);
        loaded.map_err(|error| refuse(&error))?.settings.admin_socket.ok_or_else(|| {
            output::complain(
                "the admin socket of this node is off (admin.socket): set it to \"auto\" to query the node",
            );
            Exit::Failed
        })
    }
}
