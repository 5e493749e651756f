//! The running node that a command asks: its socket is where `tidegate run` would put it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tidegate_actors::{CatalogueSettings, NodeSettings};

use super::client::Client;
use super::configuration::refuse;
use super::{Exit, output};
use crate::config::{self, ConfigError, Environment, Flags};

/// The options that select a node.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// Admin socket of the node [admin.socket]
    #[arg(long, value_name = "PATH", global = true, conflicts_with_all = ["config", "storage"])]
    socket: Option<PathBuf>,
    /// Configuration file of the node; without it and --storage, the node of this directory, else that of /etc/tidegate/tidegate.toml
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Storage root of the node [storage.root]
    #[arg(long, value_name = "DIR", global = true)]
    storage: Option<String>,
    /// How long the node may take for an answer [environment: TIDEGATE_TIMEOUT; default: 3s]
    #[arg(long, value_name = "TIME", global = true, value_parser = timeout)]
    timeout: Option<Duration>,
}

/// The configuration file of the packaged node.
const PACKAGED: &str = "/etc/tidegate/tidegate.toml";
/// The environment variable of that flag.
const TIMEOUT_VARIABLE: &str = "TIDEGATE_TIMEOUT";
/// A healthy node answers within milliseconds, whatever the state of its disk.
const TIMEOUT: Duration = Duration::from_secs(3);

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_allowed = (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&timeout);
    if is_allowed { Ok(timeout) } else { Err("must be 100ms to 1h".to_owned()) }
}

impl Reach {
    /// The client of the node, or the error, which is printed.
    pub(super) fn client(self) -> Result<Client, Exit> {
        let of_environment = std::env::var(TIMEOUT_VARIABLE).ok().map(|text| timeout(&text)).transpose();
        let of_environment = of_environment.map_err(|error| {
            output::complain(&format!("{TIMEOUT_VARIABLE}: {error}"));
            Exit::Misused
        })?;
        let timeout = self.timeout.or(of_environment).unwrap_or(TIMEOUT);
        Ok(Client::new(self.sockets()?, timeout))
    }

    /// The timeout that the command line gives.
    pub(super) fn asked_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The storage roots that can be the node's, with their catalogues, the likeliest first; none if only its socket is named.
    pub(super) fn catalogues(&self) -> Result<Vec<(PathBuf, CatalogueSettings)>, Exit> {
        Ok(self.of_files(config::catalogue_of_root)?.into_iter().flatten().collect())
    }

    /// The files that can be the node's record of commitment requests, likewise.
    pub(super) fn commitments(&self) -> Result<Vec<PathBuf>, Exit> {
        self.of_files(config::commitments_file)
    }

    /// What `read` makes of each configuration that can be the node's, the likeliest first; nothing if only its socket is named.
    fn of_files<T>(
        &self,
        read: impl Fn(Option<&Path>, Environment, &Flags) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, Exit> {
        if self.socket.is_some() {
            return Ok(Vec::new());
        }
        let flags = Flags { storage: self.storage.clone(), ..Flags::default() };
        let packaged = Path::new(PACKAGED);
        let is_named = self.config.is_some() || self.storage.is_some();
        let others = (!is_named && File::open(packaged).is_ok()).then_some(Some(packaged));
        let files = [self.config.as_deref()].into_iter().chain(others);
        files.map(|file| read(file, config::process_environment(), &flags).map_err(|error| refuse(&error))).collect()
    }

    /// Whether more than a socket is known of the node.
    pub(super) fn is_of_a_root(&self) -> bool {
        self.socket.is_none()
    }

    /// The settings of a node that does not run; or the exit code, after the error is printed. Without an
    /// option, those of this directory if a node has ever stored here, else those of the packaged one.
    pub(super) fn settings(&self) -> Result<NodeSettings, Exit> {
        let flags = Flags { storage: self.storage.clone(), ..Flags::default() };
        let load = |file: Option<&Path>| {
            let loaded = config::load(file, config::process_environment(), &flags);
            loaded.map(|loaded| loaded.settings.node).map_err(|error| refuse(&error))
        };
        let settings = load(self.config.as_deref())?;
        let is_named = self.config.is_some() || self.storage.is_some();
        let packaged = Path::new(PACKAGED);
        let is_used = settings.storage.root.join(".tidegate").exists();
        if is_named || is_used || File::open(packaged).is_err() { Ok(settings) } else { load(Some(packaged)) }
    }

    /// The paths at which the node's socket can be, the likeliest first. Without an option, that is the node of this directory or of the
    /// environment, and then the packaged one.
    fn sockets(self) -> Result<Vec<PathBuf>, Exit> {
        if let Some(socket) = self.socket {
            return Ok(vec![socket]);
        }
        let is_named = self.config.is_some() || self.storage.is_some();
        let flags = Flags { storage: self.storage, ..Flags::default() };
        let mut sockets = configured(self.config.as_deref(), &flags)?;
        let packaged = Path::new(PACKAGED);
        if is_named || !packaged.exists() {
            return Ok(sockets);
        }
        match File::open(packaged) {
            Ok(_) => {
                for path in configured(Some(packaged), &flags)? {
                    if !sockets.contains(&path) {
                        sockets.push(path);
                    }
                }
            }
            Err(error) if sockets.iter().all(|path| path.symlink_metadata().is_err()) => {
                output::complain(&format!(
                    "cannot read {PACKAGED}: {error}; run this as root or as a member of the group that may read it, or name another \
                     node with --config or --storage"
                ));
                return Err(Exit::Unanswered);
            }
            Err(_) => {}
        }
        Ok(sockets)
    }
}

/// The paths that a configuration gives, or the error, which is printed.
fn configured(file: Option<&Path>, flags: &Flags) -> Result<Vec<PathBuf>, Exit> {
    let socket = config::admin_socket(file, config::process_environment(), flags).map_err(|error| refuse(&error))?;
    let socket = socket.ok_or_else(|| {
        output::complain("the admin socket of this node is off (admin.socket): set it to \"auto\" to query the node");
        Exit::Unanswered
    })?;
    Ok(socket.candidates())
}
