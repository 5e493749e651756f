//! The token that a node makes for itself where none is configured: who can read the storage root of the node may operate it.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::crypto::ring;
use tidegate_actors::patience::within;
use tokio::task::spawn_blocking;

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

    /// Leaves the token below the storage root. If it cannot be written, the node serves without: the admin socket remains.
    pub(super) async fn leave(&self) {
        let Self { token: Some(token), root } = self.clone() else { return };
        let complaint = match within(TIMEOUT, spawn_blocking(move || leave(&root, &token))).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the disk does not answer".to_owned(),
        };
        tracing::warn!(
            error = complaint,
            "no token of the admin surface in .tidegate/admin.token: only the admin socket can change something"
        );
    }
}

/// Takes the place of the token of the last start.
fn leave(root: &Path, token: &str) -> io::Result<()> {
    let file = root.join(FILE);
    let new = file.with_extension("token.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    writeln!(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?, "{token}")?;
    fs::rename(new, file)
}
