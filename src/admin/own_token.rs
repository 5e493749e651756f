//! The token that a node makes for itself if none is configured. A user who can read the node's own directory in the storage root may operate
//! the node.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use rustls::crypto::ring;
use tidegate_actors::patience::within;
use tokio::task::spawn_blocking;

use crate::own_directory::replace_secret;

/// Below the storage root. Only the user of the node (and root) can read it.
const FILE: &str = ".tidegate/admin.token";
const RANDOM_BYTES: usize = 24;

/// How long the surface waits for its token to be written: the disk of the storage root may hang.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A token, new at each start of the node.
#[derive(Clone)]
pub(super) struct OwnToken {
    /// `None`: the system has no random bytes.
    token: Option<String>,
    root: PathBuf,
}

impl OwnToken {
    pub(super) fn new(root: PathBuf) -> Self {
        let mut random = [0; RANDOM_BYTES];
        let filled = ring::default_provider().secure_random.fill(&mut random);
        let token = filled.ok().map(|()| {
            random.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        });
        Self { token, root }
    }

    pub(super) fn token(&self) -> Option<String> {
        self.token.clone()
    }

    /// Writes the token to its file. If that fails, the surface still answers: operators have the admin socket.
    pub(super) async fn write(&self) {
        let Self { token: Some(token), root } = self.clone() else { return };
        let complaint = match within(TIMEOUT, spawn_blocking(move || replace_secret(&root.join(FILE), &token))).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the disk does not answer".to_owned(),
        };
        tracing::warn!(
            error = complaint,
            "cannot write .tidegate/admin.token: over HTTP nobody can operate the node, the admin socket can"
        );
    }
}
