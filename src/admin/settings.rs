//! The settings of the surface.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::operators::OperatorName;
use crate::config::Tls;

/// Address of the surface, and authentication of its clients.
#[derive(Clone, Debug)]
pub(crate) struct AdminSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) door: Door,
    /// Where the node leaves its own token.
    pub(crate) storage_root: PathBuf,
}

/// Authentication of clients. It can change while the node runs.
#[derive(Clone)]
pub(crate) struct Door {
    /// The token that clients must present; `None`: reading is open to the clients that can connect, and the node makes a token for the rest.
    pub(crate) token: Option<String>,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// The names of certificates that may change something.
    pub(crate) operators: Vec<OperatorName>,
}

impl std::fmt::Debug for Door {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "masked");
        f.debug_struct("Door")
            .field("token", &token)
            .field("tls", &self.tls)
            .field("operators", &self.operators)
            .finish()
    }
}

impl Door {
    /// Certificates count as different: whether the files have changed is not known here.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.token == other.token && self.operators == other.operators && self.tls.is_none() && other.tls.is_none()
    }
}
