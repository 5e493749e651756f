//! The settings of the surface.

use std::net::SocketAddr;

use crate::config::Tls;

/// Address of the surface, and authentication of its clients.
#[derive(Clone, Debug)]
pub(crate) struct AdminSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) door: Door,
}

/// Authentication of clients. It can change while the node runs.
#[derive(Clone)]
pub(crate) struct Door {
    /// The token that clients must present; `None`: none.
    pub(crate) token: Option<String>,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Tls>,
}

impl std::fmt::Debug for Door {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "masked");
        f.debug_struct("Door").field("token", &token).field("tls", &self.tls).finish()
    }
}

impl Door {
    /// Certificates count as different: whether the files have changed is not known here.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.token == other.token && self.tls.is_none() && other.tls.is_none()
    }
}
